"""The judge of the demo: it must be able to find each thing that the demo promises not to happen."""

import json
from base64 import b64encode

import pytest

from gateway.cli.demo_audit import audit
from gateway.cli.demo_parts import DemoError
from gateway.journal import EntryRow, QuarantineEntry, QuarantineRow
from gateway.message import Score
from gateway.receipt import ReceiptWriter, receipt_payload
from gateway.tlog.entry import MessageEntry, message_entry

NOW_MS = 1_732_165_200_123
SESSION = b"session!"
DIGESTS = [bytes([number]) * 32 for number in range(8)]
RECEIPTS = ReceiptWriter("securenet/demo/demo-gw")


class FakeReader:
    """A journal whose log holds the messages with these digests, in this order."""

    def __init__(self, digests=(), refused=()):
        self._entries = [
            EntryRow(index, message_entry(MessageEntry(NOW_MS, digest, "dev", SESSION, index, *Score())))
            for index, digest in enumerate(digests)
        ]
        self._refused = [
            QuarantineEntry(number, QuarantineRow(NOW_MS, reason, "mqtt", peer, device, "", b""))
            for number, (reason, peer, device) in enumerate(refused, 1)
        ]

    def size(self):
        return len(self._entries)

    def entries(self, start, end):
        return iter(self._entries[start:end])

    def quarantine(self, after=0, limit=512):
        return [row for row in self._refused if row.id > after][:limit]


def receipt(digest, index):
    return b64encode(RECEIPTS.assemble(receipt_payload(digest, index, NOW_MS, None, digest), b"s" * 64)).decode()


def line(digest, kind="honest", expected=("accepted",), outcome="accepted", **changes):
    row = {"device": "dev", "digest": digest.hex(), "kind": kind, "expected": list(expected), "outcome": outcome}
    return {**row, "via": "mqtt", "acked_ms": NOW_MS, "receipt": None, **changes}


@pytest.fixture
def judge(tmp_path):
    def run(reader, *lines):
        path = tmp_path / "record.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in lines))
        return audit(path, reader)

    return run


def attack(digest, reason, **changes):
    return line(digest, kind="forged", expected=(reason,), device="enemy", **{"outcome": reason, **changes})


def test_what_was_promised_and_kept_is_no_finding(judge):
    found = judge(
        FakeReader(DIGESTS[:2], [("bad-signature", "enemy", "enemy")]),
        line(DIGESTS[0], receipt=receipt(DIGESTS[0], 0)),
        line(DIGESTS[1], receipt=receipt(DIGESTS[1], 1), via="coap"),
        attack(DIGESTS[2], "bad-signature", outcome="silent"),
    )
    assert found.samples() == found.wrong_reasons == found.not_shown == []
    assert found.provable == {"mqtt": 0, "coap": 1}
    assert found.scenarios["forged"].seen == {"bad-signature": 1}


def test_a_receipt_for_a_message_that_is_not_there_is_a_loss(judge):
    assert len(judge(FakeReader(), line(DIGESTS[0], receipt=receipt(DIGESTS[0], 0))).lost) == 1


def test_a_receipt_for_another_index_is_a_loss(judge):
    assert len(judge(FakeReader(DIGESTS[:2]), line(DIGESTS[0], receipt=receipt(DIGESTS[0], 1))).lost) == 1


def test_an_acknowledged_honest_message_without_receipt_that_is_not_there_is_a_loss(judge):
    assert len(judge(FakeReader(), line(DIGESTS[0], outcome="unanswered")).lost) == 1


def test_a_message_that_nobody_acknowledged_may_be_missing(judge):
    assert judge(FakeReader(), line(DIGESTS[0], outcome="unanswered", acked_ms=None)).lost == []


def test_an_attack_that_stands_in_the_log_was_accepted(judge):
    found = judge(FakeReader(DIGESTS[:1]), attack(DIGESTS[0], "bad-signature", outcome="silent"))
    assert len(found.hostile_accepted) == 1


def test_an_attack_that_got_a_receipt_was_accepted(judge):
    found = judge(FakeReader(), attack(DIGESTS[0], "too-old", outcome="accepted"))
    assert len(found.hostile_accepted) == 1
    assert found.wrong_reasons == ["forged"]


def test_a_replay_may_be_a_duplicate_but_not_be_accepted_again(judge):
    first = line(DIGESTS[0], kind="replayed/prelude", receipt=receipt(DIGESTS[0], 0))
    again = line(DIGESTS[0], kind="replayed", expected=("duplicate",), outcome="duplicate")
    assert judge(FakeReader(DIGESTS[:1]), first, again).hostile_accepted == []
    assert len(judge(FakeReader(DIGESTS[:1]), first, again | {"outcome": "accepted"}).hostile_accepted) == 1


def test_a_message_that_is_twice_in_the_log_is_found(judge):
    assert len(judge(FakeReader([DIGESTS[0], DIGESTS[0]]), line(DIGESTS[0])).doubled) == 1


@pytest.mark.parametrize("outcome", ["bad-signature", "rate-limited", "code-5.00"])
def test_an_honest_message_that_was_refused_is_found(judge, outcome):
    assert len(judge(FakeReader(), line(DIGESTS[0], outcome=outcome)).honest_rejected) == 1


@pytest.mark.parametrize("device", ["dev", None])
def test_an_honest_message_that_was_refused_in_silence_is_found(judge, device):
    found = judge(FakeReader(DIGESTS[:1], [("malformed", "dev", device)]), line(DIGESTS[0]))
    assert len(found.honest_rejected) == 1


def test_a_refusal_by_another_reason_than_the_formats_name_is_found(judge):
    found = judge(
        FakeReader(refused=[("malformed", "enemy", "enemy")]), attack(DIGESTS[0], "bad-signature", outcome="silent")
    )
    assert found.wrong_reasons == ["forged"]


def test_a_scenario_that_came_to_nothing_is_not_shown(judge):
    assert judge(FakeReader(), attack(DIGESTS[0], "too-old", outcome="unanswered")).not_shown == ["forged"]


def test_a_flood_that_was_never_slowed_down_is_not_shown(judge):
    flood = line(DIGESTS[0], kind="flooding", expected=("accepted", "rate-limited"))
    assert judge(FakeReader(DIGESTS[:1]), flood).not_shown == ["flooding"]


def test_a_record_that_is_none_ends_the_demo_in_words(judge, tmp_path):
    with pytest.raises(DemoError, match="record cannot be read"):
        judge(FakeReader(), {"device": "dev"})
