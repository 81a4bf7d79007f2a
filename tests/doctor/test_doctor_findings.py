"""What the checks make of facts, and whether what they tell people to do can be done."""

import dataclasses
import re
import shlex
import typing
from pathlib import Path

import click
import pytest
from doctor_facts import FINE, ON_CHAIN, WRONG
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.main import COMMANDS, cli
from gateway.config.model import Config
from gateway.doctor import endpoints
from gateway.doctor.broker import versions
from gateway.doctor.finding import EXIT, Severity, Sheet, error, worst
from gateway.doctor.table import CHECKS, kinds

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations" / "doctor.md"
MADE_BY_THE_RUNNER = {"doctor.timed-out", "doctor.failed", "doctor.left-out"}
PROGRAMS = {
    *(
        "systemctl",
        "systemd-analyze",
        "journalctl",
        "timedatectl",
        "chronyc",
        "hwclock",
        "apt-get",
        "pip",
        "ss",
        "df",
    ),
    *("chmod", "chown", "install", "mount", "fsck", "mmc", "iostat", "ps", "sysctl", "nstat", "dmesg", "openssl"),
    *("mosquitto", "mosquitto_passwd", "dpkg", "sudo", "ls"),
}
KEYS = {
    f"{section.name}.{key.name}"
    for section in dataclasses.fields(Config)
    for key in dataclasses.fields(typing.get_type_hints(Config)[section.name])
}


def spans(remedy):
    return re.findall(r"`([^`]+)`", remedy)


def command_of(words):
    """The click command behind ``securenet …``, its arguments, and its options; a group on its own is no command."""
    assert words[0] in COMMANDS, words
    context = click.Context(cli)
    command = cli.get_command(context, words[0])
    rest = words[1:]
    while isinstance(command, click.Group):
        assert rest, f"{words} is a group: which command of it?"
        command = command.get_command(click.Context(command), rest.pop(0))
        assert command is not None, words
    return command, rest


def is_runnable(span):
    words = span.split()
    if words[0] == "sudo":
        words = words[3:] if words[1] == "-u" else words[1:]
    if words[0] != "securenet":
        assert words[0] in PROGRAMS, f"nobody knows the program of `{span}`"
        return False
    command, rest = command_of(words[1:])
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
    for word in rest:
        if word.startswith("-"):
            assert word in known, f"`{span}`: there is no {word}"
    return True


@pytest.mark.parametrize("name", kinds())
def test_every_remedy_names_what_exists(name):
    remedy = kinds()[name].remedy
    found = spans(remedy)
    assert found or "gateway.acl" in remedy, f"{name} does not say what to run or to set"
    for span in found:
        if re.fullmatch(r"[a-z]+\.[a-z_]+", span):
            assert span in KEYS, f"{name}: there is no key {span}"
        else:
            is_runnable(re.sub(r"\{\w+\}", "X", span))


def test_a_remedy_with_a_command_that_does_not_exist_is_seen():
    with pytest.raises(AssertionError):
        is_runnable("securenet anchors list")
    with pytest.raises(AssertionError):
        is_runnable("securenet doctor --everything")
    with pytest.raises(AssertionError):
        is_runnable("make-it-work now")


@pytest.mark.parametrize("name", WRONG)
def test_facts_lead_to_the_finding_and_its_remedy_is_whole(name):
    found = {each.name: each for each in WRONG[name]}
    assert name in found, found
    told = found[name]
    assert told.severity is kinds()[name].severity
    assert told.what
    assert told.remedy
    assert "{" not in told.remedy
    assert f"{told.check}.ok" not in found or told.severity <= Severity.NOTE


def test_facts_are_known_for_every_finding():
    assert set(WRONG) | MADE_BY_THE_RUNNER == set(kinds())


@pytest.mark.parametrize("check", FINE)
def test_a_sound_world_has_nothing_to_remedy(check):
    assert [each.name for each in FINE[check]] == [f"{check}.ok"]
    assert worst(FINE[check]) is Severity.OK


def test_every_check_has_a_sound_world():
    assert set(FINE) == {check.name for check in CHECKS}


def test_a_port_is_no_status_of_http():
    fault = endpoints.EndpointFact("http://127.0.0.1:42929", fault="http://127.0.0.1:42929: no connection to it")
    assert [each.name for each in endpoints.judge(ON_CHAIN, [fault], None)] == ["chain.unreachable"]
    limited = fault._replace(fault="http://127.0.0.1:80: eth_chainId: it answers HTTP 429")
    assert [each.name for each in endpoints.judge(ON_CHAIN, [limited], None)] == ["chain.rate-limited"]


def test_the_exit_code_rises_with_the_severity():
    assert [EXIT[each].name for each in Severity] == ["OK", "OK", "NEGATIVE", "UNAVAILABLE"]
    assert worst([]) is Severity.OK


def test_the_page_has_every_finding_with_its_severity():
    rows = dict(re.findall(r"^\| `([a-z]+\.[a-z0-9-]+)` \| (\w+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert rows == {name: kind.severity.word for name, kind in kinds().items()}


@given(st.text(max_size=200))
def test_what_the_network_says_cannot_leave_its_quotes_in_a_remedy(said):
    sheet = Sheet("x", {"y": error("run `ls {path}`")})
    finding = sheet.found("y", said, path=said)
    assert finding.what.isprintable()
    assert finding.remedy.isprintable()
    assert len(shlex.split(finding.remedy.strip("`").removeprefix("run `"))) == 2


@pytest.mark.parametrize(
    ("version", "flaws"),
    [
        ("1.5.7", ["MQTT 5", "CVE-2023-28366"]),
        ("2.0.11", ["CVE-2021-41039", "receive maximum", "CVE-2023-28366", "CVE-2024-8376"]),
        ("2.0.12", ["receive maximum", "CVE-2023-28366", "CVE-2024-8376"]),
        ("2.0.16", ["CVE-2023-28366", "max_queued_messages 0", "CVE-2024-8376"]),
        ("2.0.18", ["CVE-2023-28366", "CVE-2024-8376"]),
        ("2.0.20", ["CVE-2023-28366"]),
        ("2.0.21", []),
        ("2.1.2", []),
    ],
)
def test_what_is_said_of_a_mosquitto_is_what_its_change_log_says(version, flaws):
    """By its ChangeLog.txt; receive maximum and max_queued_messages 0 by running 2.0.11 to 2.0.16 as well."""
    told = versions(f"mosquitto version {version}")
    assert [word for word in flaws if not any(word in each.what for each in told)] == []
    assert len(told) == len(flaws)
