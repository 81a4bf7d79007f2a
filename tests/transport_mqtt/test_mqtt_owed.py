"""What is owed: receipts across connections, and no cycle that keeps a payload in memory."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st
from mqttium import PublishRejectedError
from mqttium.errors import MQTTError
from mqttium.types import Message

from gateway.message import Accepted, RawMessage
from gateway.transport.mqtt_link import COUNTERS, MqttLink
from gateway.transport.mqtt_receipts import OwedReceipt, OwedReceipts


class Sent:
    """As much of the library's receipt as is looked at."""

    def __init__(self) -> None:
        self.done = False
        self.fault: BaseException | None = None

    def is_done(self) -> bool:
        return self.done

    def exception(self) -> BaseException | None:
        assert self.done
        return self.fault


def owed(number: int, size: int = 8) -> OwedReceipt:
    return OwedReceipt("t", (b"%d" % number).ljust(size), None)


FATES = st.lists(st.sampled_from(["confirmed", "refused", "open", "lost"]), max_size=30)


@given(FATES)
def test_after_a_connection_exactly_what_was_not_settled_waits_again_and_in_order(fates: list[str]) -> None:
    receipts = OwedReceipts()
    assert receipts.wait(owed(99))
    sent = [Sent() for _ in fates]
    dropped = sum(receipts.sent(owed(number), each) for number, each in enumerate(sent))
    for each, fate in zip(sent, fates, strict=True):
        each.done = fate != "open"
        each.fault = {"refused": PublishRejectedError("PUBACK", 0x87), "lost": MQTTError("closed")}.get(fate)
    dropped += receipts.settle()
    again, no_more = receipts.take_back()
    unsettled = [number for number, fate in enumerate(fates) if fate in {"open", "lost"}]
    assert [int(each.receipt) for each in receipts.waiting] == [*unsettled, 99]
    assert (again, no_more) == (len(unsettled), 0)
    assert dropped <= fates.count("refused")
    if not unsettled:
        assert dropped == fates.count("refused")


def test_a_receipt_is_sent_again_once_for_it_may_be_what_ends_the_connections() -> None:
    receipts = OwedReceipts()
    receipts.sent(owed(1), Sent())
    assert receipts.take_back() == (1, 0)
    again = receipts.waiting[0]
    receipts.sent(again, Sent())
    receipts.no_longer_waits()
    assert receipts.take_back() == (0, 1)
    assert not receipts.waiting


def test_eight_mebibytes_wait_and_no_more() -> None:
    receipts = OwedReceipts()
    assert all(receipts.wait(owed(number, (1 << 20) - 1)) for number in range(8))
    assert not receipts.wait(owed(8))
    receipts.no_longer_waits()
    assert receipts.wait(owed(8))


def test_a_broker_that_passes_one_over_does_not_make_us_remember_for_ever() -> None:
    receipts = OwedReceipts()
    dropped = receipts.sent(owed(0), Sent())
    for number in range(20_000):
        later = Sent()
        later.done = True
        dropped += receipts.sent(owed(number), later)
    assert dropped == 1
    assert receipts.take_back() == (0, 0)


class _Client:
    on_disconnect = None


async def test_a_message_and_its_reply_leave_no_cycle() -> None:
    link = MqttLink(
        _Client(),
        None,
        receipts=OwedReceipts(),
        counters=dict.fromkeys(COUNTERS, 0),
        hold=lambda: None,
        hold_every_s=1,
        wall_ms=lambda: 1,
    )
    gc.collect()
    gc.disable()
    try:
        raw: RawMessage | None = link._arrival(Message("securenet/v1/f/d/up", b"only this one")).raw()
        raw.reply(Accepted(b""))
        link._answers.clear()
        raw = None
        left = [each for each in gc.get_objects() if type(each) is RawMessage and each.payload == b"only this one"]
        assert not left
    finally:
        gc.enable()
