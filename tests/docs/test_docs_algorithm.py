"""docs/spec/algorithm.md against the checks: its example is decided again, its reasons and numbers are the code's."""

import re

import pytest
from docs_page import ROOT

from gateway.checks.duplicate import SESSIONS, WINDOW, ReplayWindow, Standing, verify_age, verify_not_duplicate
from gateway.config.model import LimitsConfig
from gateway.message import PushbackReason, RejectReason

PAGE = (ROOT / "docs" / "spec" / "algorithm.md").read_text(encoding="utf-8")
NOW_S = 1_760_000_000.0
LIMITS = LimitsConfig()


def table(title):
    """The rows of the table below a heading, as lists of cells."""
    section = PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return rows[1:]


def decided():
    """The example's messages, decided as step 5 does it: window, journal, age."""
    example = re.search(r"```text example decisions\n(.*?)```", PAGE, re.DOTALL)
    window, journal = ReplayWindow(), {}
    for line in example[1].splitlines()[1:]:
        name, seq, iat, body, told = line.split()
        identity, issued_at = (bytes.fromhex(name), int(seq)), float(iat)
        standing = window.standing(*identity, issued_at)
        refused = verify_not_duplicate(standing, body.encode(), journal.get(identity)) or verify_age(
            issued_at, NOW_S, max_age_s=LIMITS.max_age_s, max_ahead_s=LIMITS.max_ahead_s
        )
        if refused is None:
            assert standing is Standing.FRESH
            window.accept(*identity, issued_at)
            journal[identity] = body.encode()
        yield line, told, "accepted" if refused is None else refused.reason.value


@pytest.mark.parametrize(("line", "told", "made"), list(decided()))
def test_the_example_is_decided_as_the_page_has_it(line, told, made):
    assert told == made, line


def test_the_example_shows_every_reason_of_step_5():
    *_, reasons = table("The steps")[-1]
    assert set(re.findall(r"`([a-z-]+)`", reasons)) == {made for _, _, made in decided()} - {"accepted"}


def test_the_steps_have_every_reason_once():
    reasons = [reason for row in table("The steps") for reason in re.findall(r"`([a-z-]+)`", row[-1])]
    assert len(reasons) == len(set(reasons))
    assert set(reasons) == {each.value for each in (*RejectReason, *PushbackReason)} - {"pushback"}


def test_a_device_is_told_what_to_do_with_every_reason_that_it_can_mend():
    named = {
        reason for row in table("What a device does with an answer") for reason in re.findall(r"`([a-z-]+)`", row[0])
    }
    assert named <= {each.value for each in (*RejectReason, *PushbackReason)}
    assert named >= {"duplicate", "rate-limited", "pushback", "in-future", "too-old", "sequence-reused"}


def test_the_numbers_of_the_page_are_the_codes():
    assert f"the {WINDOW:,} below it" in PAGE
    assert f"the newest {SESSIONS} sessions" in PAGE
    assert f"`limits.max_age_s` ({LIMITS.max_age_s:,} s)" in PAGE
    assert f"`limits.max_ahead_s` ({LIMITS.max_ahead_s} s)" in " ".join(PAGE.split())
    for rate, burst in (("mqtt_peer_rate_per_s", "mqtt_peer_burst"), ("coap_peer_rate_per_s", "coap_peer_burst")):
        told = f"{rate}` ({getattr(LIMITS, rate):g}, at once `{burst}` {getattr(LIMITS, burst):,})"
        assert told in " ".join(PAGE.split())
    told = f"`device_rate_per_s` ({LIMITS.device_rate_per_s:g}, at once `device_burst` {LIMITS.device_burst})"
    assert told in " ".join(PAGE.split())
