"""The runbook knows every alert, reason, hold and refusal; it names no command, event or page that does not exist."""

from __future__ import annotations

import re

import pytest
from docs_page import OPERATIONS, ROOT

from gateway.anchor.holds import HoldReason
from gateway.message import PushbackReason, RejectReason
from gateway.ops.exitcodes import ExitCode
from gateway.ops.health import JOURNAL_BLOCKED, LOG_DAMAGED
from gateway.transport.port import LinkState

RUNBOOK = OPERATIONS / "runbook.md"
MINE = ("runbook", "backup", "replace", "upgrade", "first-hour", "README")
CHECKS = set(re.findall(r"^### ([a-z]+)$", (OPERATIONS / "doctor.md").read_text(), re.MULTILINE))
ALERTS = (ROOT / "config" / "prometheus" / "securenet-alerts.yml").read_text()
RULES = re.findall(r"- alert: (\w+)$.*?runbook_url: (\S+)$", ALERTS, re.DOTALL | re.MULTILINE)


def text_of(name):
    return (OPERATIONS / f"{name}.md").read_text()


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def section(anchor):
    """The text below a heading, up to the next."""
    parts = re.split(r"^#{2,3} (.+)$", RUNBOOK.read_text(), flags=re.MULTILINE)
    return {title.lower().replace(" ", "-"): body for title, body in zip(parts[1::2], parts[2::2], strict=True)}[
        anchor
    ]


def first_cells(anchor):
    return set(re.findall(r"^\| `([^`]+)` \|", section(anchor), re.MULTILINE))


def test_the_alerts_are_all_read():
    assert len(RULES) == ALERTS.count("- alert:") == ALERTS.count("runbook_url:") > 20


@pytest.mark.parametrize(("alert", "url"), RULES)
def test_every_alert_leads_to_its_section(alert, url):
    path, _, anchor = url.partition("#")
    assert ROOT / path == RUNBOOK
    assert anchor == alert.lower()
    body = section(anchor)
    assert "**Symptom.**" in body
    assert "**Causes.**" in body or "**Do.**" in body or "securenet " in body


def test_every_section_of_an_alert_has_its_alert():
    named = {alert.lower() for alert, _ in RULES}
    assert {anchor for anchor in anchors(RUNBOOK.read_text()) if anchor.startswith("securenet")} == named


def test_every_refusal_is_explained():
    assert first_cells("why-a-message-is-refused") == {reason.value for reason in RejectReason}


def test_every_hold_is_explained():
    assert first_cells("why-nothing-is-anchored") == {reason.value for reason in HoldReason}


def test_every_reason_of_readiness_is_explained():
    links = {f"{name}-{state.value}" for name in ("mqtt", "coap") for state in LinkState if state is not LinkState.UP}
    pushback = {reason.value for reason in PushbackReason}
    assert first_cells("why-nothing-is-taken") == links | pushback | {JOURNAL_BLOCKED, LOG_DAMAGED}


def test_every_exit_code_that_systemd_does_not_try_again_is_explained():
    unit = (ROOT / "systemd" / "securenet-gateway.service").read_text()
    codes = re.search(r"^RestartPreventExitStatus=(.*)$", unit, re.MULTILINE)
    assert codes is not None
    shown = {int(code) for code in re.findall(r"^\| (\d+) \|", section("it-does-not-start"), re.MULTILINE)}
    assert shown == {int(code) for code in codes[1].split()} | {ExitCode.UNAVAILABLE}


@pytest.mark.parametrize("name", MINE)
def test_every_event_and_every_finding_of_the_page_is_documented(name):
    text = text_of(name)
    events = set(re.findall(r"^\| `([a-z_.]+)` \|", text_of("events"), re.MULTILINE))
    findings = set(re.findall(r"^\| `([a-z-]+\.[a-z0-9-]+)` \|", text_of("doctor"), re.MULTILINE))
    rooms = {event.partition(".")[0] for event in events} | {finding.partition(".")[0] for finding in findings}
    settings = configuration_keys()
    for word in re.findall(r"`([a-z]+\.[a-z_-]+)`", text):
        if word.partition(".")[0] in rooms and word not in settings:
            assert word in events | findings, word


def configuration_keys():
    section, names = "", set()
    for line in (ROOT / "config/gateway.example.toml").read_text().splitlines():
        if table := re.match(r"#?\s*\[+([a-z]+)", line):
            section = table[1]
        elif setting := re.match(r"#?\s*([a-z_0-9]+) = ", line):
            names.add(f"{section}.{setting[1]}")
    return names


@pytest.mark.parametrize("name", MINE)
def test_every_key_of_the_configuration_on_the_page_exists(name):
    settings = configuration_keys()
    sections = {setting.partition(".")[0] for setting in settings}
    events = set(re.findall(r"^\| `([a-z_.]+)` \|", text_of("events"), re.MULTILINE))
    findings = set(re.findall(r"^\| `([a-z-]+\.[a-z0-9-]+)` \|", text_of("doctor"), re.MULTILINE))
    for word in re.findall(r"`([a-z]+\.[a-z_0-9]+)(?: = [^`]*)?`", text_of(name)):
        if word.partition(".")[0] in sections and word not in events | findings:
            assert word in settings, word


@pytest.mark.parametrize("name", MINE)
def test_every_link_of_the_page_leads_somewhere(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(name)):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        page = OPERATIONS / path if path else OPERATIONS / f"{name}.md"
        assert page.exists(), target
        if anchor:
            assert anchor in anchors(page.read_text()), target


def test_the_index_names_every_page():
    named = set(re.findall(r"\]\(([a-z-]+\.md)", text_of("README")))
    there = {page.name for page in OPERATIONS.glob("*.md")} - {"README.md"}
    assert there <= named, there - named
