"""The table of faults: the page has it as the tests do, every fault is tried, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from field_faults import FAULTS, NOT_STARTED, STARTED
from field_kit import never_started_again

from gateway.doctor.table import kinds
from gateway.ops.exitcodes import ExitCode

HERE = Path(__file__).parent
OPERATIONS = HERE.parents[1] / "docs" / "operations"
ROW = re.compile(
    r"^\| ([^|`][^|]*) \| `([a-z_.]+)` \| ([^|]+) \| `([a-z.-]+)` \| ([^|]+) \| `([a-z_.]+)` \|$", re.MULTILINE
)


def shown(fault, reasons):
    """A fault's status as the page writes it."""
    if isinstance(fault.status, ExitCode):
        return f"exit code {int(fault.status)}"
    return f"`{fault.status}`" if fault.status in reasons else f"warning: *{fault.status}*"


def reasons():
    return set(re.findall(r"^\| `([a-z-]+)` \|", (OPERATIONS / "health.md").read_text(), re.MULTILINE))


def events():
    return set(re.findall(r"^\| `([a-z_.]+)` \|", (OPERATIONS / "events.md").read_text(), re.MULTILINE))


def test_the_page_has_the_table_of_the_tests():
    rows = ROW.findall((OPERATIONS / "faults.md").read_text())
    page = [(what, event, status, finding, back) for what, event, status, finding, _heals, back in rows]
    known = reasons()
    assert page == [
        (fault.what, fault.event, shown(fault, known), fault.finding, fault.back) for fault in FAULTS.values()
    ]


def test_what_the_table_names_is_documented():
    documented, known, found = events(), reasons(), kinds()
    for fault in FAULTS.values():
        assert {fault.event, fault.back} <= documented
        assert found[fault.finding].remedy
        assert isinstance(fault.status, ExitCode) or " " in fault.status or fault.status in known


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_tried(name):
    tests = "".join(path.read_text() for path in HERE.glob("test_field_*.py") if path != Path(__file__))
    tried = rf'told\(gateway, "{name}"|refuses_to_start\(gateway, "{name}"|FAULTS\["{name}"\]'
    assert re.search(tried, tests)


def test_a_gateway_that_cannot_start_is_started_again_where_that_may_help_and_nowhere_else():
    codes = {fault.status for fault in FAULTS.values() if fault.event == NOT_STARTED}
    assert codes & never_started_again() == {ExitCode.CONFIG, ExitCode.REGISTRY, ExitCode.SECRET}
    assert codes - never_started_again() == {ExitCode.UNAVAILABLE}
    assert all(fault.back == STARTED for fault in FAULTS.values() if fault.event == NOT_STARTED)
