"""docs/spec/model-receiver.md names the reasons that there are, in the order in which they are found."""

import re
from pathlib import Path

from gateway.chain.models import Result, report_access_call
from gateway.tlog.entry import MODEL_EVENTS
from gateway.vault.receiver_rules import BACK_OFF_S, NEWEST, RULES, WAITED_FOR_S, WAITS, Reason
from gateway.vault.refusal import ModelRefusal

PAGE = (Path(__file__).parents[2] / "docs" / "spec" / "model-receiver.md").read_text()
ROWS = re.findall(r"^\| (\d+) \| `([a-z-]+)` \|.*\| ([a-z ]+) \|$", PAGE, re.MULTILINE)


def test_the_page_names_every_reason_and_the_rules_in_their_order():
    named = [reason for _, reason, _ in ROWS]
    assert sorted(named) == sorted(Reason)
    assert named[: len(RULES)] == [reason for reason, _ in RULES]


def test_what_is_waited_for_is_tried_again_and_patience_is_as_written():
    again = {reason for _, reason, again in ROWS if again != "never"}
    assert again >= WAITS
    assert BACK_OFF_S == (5, 15, 60, 300, 900, 3600)
    assert WAITED_FOR_S == 300
    assert NEWEST == 4


def test_every_reason_can_be_reported_and_no_two_are_alike():
    reasons = [*Reason, *ModelRefusal]
    assert len(set(reasons)) == len(reasons)
    for reason in reasons:
        assert report_access_call("pump", 1, Result.REFUSED, reason)


def test_what_is_told_are_the_events_of_the_log():
    assert {result.name.lower() for result in Result} == MODEL_EVENTS
