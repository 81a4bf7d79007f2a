"""The message layer by itself: time is a number here, the wire a list."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.transport.coap_codes import Response
from gateway.transport.coap_exchange import (
    EXCHANGE_LIFETIME_S,
    MAX_RETRANSMIT,
    MOST_SEPARATE,
    MessageLayer,
    Origin,
)
from gateway.transport.coap_wire import ACK, CON, NON, Datagram, decode

HERE = Origin(("::1", 1), "::1")
ANSWER = Response(0x44, b"receipt", 18)


def request(mid, mtype=CON):
    return Datagram(mtype, 2, mid, b"tok", [], b"")


def layer(**bounds):
    sent = []
    return MessageLayer(
        lambda _, data: sent.append(decode(data)), first_mid=65535, jitter=lambda: 0.0, **bounds
    ), sent


def test_a_quick_answer_rides_on_the_acknowledgement():
    under_test, sent = layer()
    exchange = under_test.begin(HERE, request(7), 0.0)
    under_test.answer(exchange, ANSWER, 0.1)
    under_test.tick(10.0)
    assert sent == [Datagram(ACK, 0x44, 7, b"tok", [(12, b"\x12")], b"receipt")]


def test_a_second_answer_is_not_sent():
    under_test, sent = layer()
    exchange = under_test.begin(HERE, request(7), 0.0)
    under_test.answer(exchange, ANSWER, 0.1)
    under_test.answer(exchange, Response(0x80), 0.1)
    assert len(sent) == 1


def test_a_separate_answer_is_retransmitted_with_growing_pauses_and_then_given_up():
    under_test, sent = layer()
    exchange = under_test.begin(HERE, request(7), 0.0)
    under_test.tick(0.4)
    assert sent == []
    under_test.tick(0.5)
    assert (sent[0].mtype, sent[0].code) == (ACK, 0)
    under_test.answer(exchange, ANSWER, 1.0)
    sent.clear()
    times = []
    for tenth in range(1000):
        before = len(sent)
        under_test.tick(1.0 + tenth / 10)
        times += [tenth / 10] * (len(sent) - before)
    assert times == [2.0, 6.0, 14.0, 30.0]
    assert len(times) == MAX_RETRANSMIT
    assert under_test.given_up == 1
    assert under_test.owed == 0


def test_an_acknowledged_answer_is_not_retransmitted():
    under_test, sent = layer()
    exchange = under_test.begin(HERE, request(7), 0.0)
    under_test.tick(1.0)
    under_test.answer(exchange, ANSWER, 1.0)
    assert not under_test.settle(Origin(("::1", 2), "::1"), sent[-1].mid)
    assert under_test.settle(HERE, sent[-1].mid)
    assert not under_test.settle(HERE, sent[-1].mid)
    count = len(sent)
    under_test.tick(100.0)
    assert len(sent) == count


def test_a_repetition_after_an_empty_acknowledgement_gets_it_again():
    under_test, sent = layer()
    under_test.begin(HERE, request(7), 0.0)
    under_test.tick(1.0)
    assert under_test.begin(HERE, request(7), 2.5) is None
    assert sent[0] == sent[1] == Datagram(ACK, 0, 7, b"", [], b"")


def test_a_repeated_non_confirmable_request_is_dropped():
    under_test, sent = layer()
    exchange = under_test.begin(HERE, request(7, NON), 0.0)
    under_test.answer(exchange, ANSWER, 0.0)
    assert under_test.begin(HERE, request(7, NON), 1.0) is None
    assert [(each.mtype, each.mid) for each in sent] == [(NON, 65535)]


@pytest.mark.parametrize("other", [{"token": b"new"}, {"payload": b"two"}, {"options": [(27, b"\x08")]}, {"code": 1}])
def test_another_request_under_a_message_id_is_no_repetition(other):
    under_test, sent = layer()
    first = under_test.begin(HERE, request(7), 0.0)
    under_test.answer(first, ANSWER, 0.1)
    second = under_test.begin(HERE, request(7)._replace(**other), 60.0)
    under_test.answer(second, Response(0x80), 60.1)
    assert [(each.code, each.token) for each in sent] == [(0x44, b"tok"), (0x80, other.get("token", b"tok"))]
    assert under_test.repeated == 0
    assert under_test.begin(HERE, request(7)._replace(**other), 61.0) is None
    assert len(under_test) == 1


def test_after_its_lifetime_a_message_id_is_new_again():
    under_test, _ = layer()
    under_test.begin(HERE, request(7), 0.0)
    assert under_test.begin(HERE, request(7), EXCHANGE_LIFETIME_S) is None
    assert under_test.begin(HERE, request(7), EXCHANGE_LIFETIME_S + 1) is not None
    under_test.tick(2 * EXCHANGE_LIFETIME_S + 2)
    assert len(under_test) == 0


def test_separate_answers_beyond_the_bound_are_sent_once():
    under_test, sent = layer()
    exchanges = [under_test.begin(HERE, request(mid), 0.0) for mid in range(MOST_SEPARATE + 1)]
    under_test.tick(1.0)
    for exchange in exchanges:
        under_test.answer(exchange, ANSWER, 1.0)
    assert under_test.owed == MOST_SEPARATE
    assert sent[-1].mtype == NON


def test_a_flood_of_message_ids_costs_a_bounded_number_and_bytes():
    under_test, _ = layer(most_exchanges=100, most_reply_bytes=1000)
    for i in range(5000):
        origin = Origin(("::1", i), "::1")
        under_test.answer(under_test.begin(origin, request(i & 0xFFFF), 0.0), ANSWER, 0.0)
    assert len(under_test) <= 100
    assert under_test.reply_bytes <= 1000


class Wire(RuleBasedStateMachine):
    """Whatever the order of requests, answers, acknowledgements and time: once to the house, and within bounds."""

    def __init__(self):
        super().__init__()
        self.layer, self.sent = layer(most_exchanges=4, most_reply_bytes=60)
        self.now_s = 0.0
        self.open = []

    @rule(mid=st.integers(0, 6), mtype=st.sampled_from([CON, NON]), port=st.integers(1, 2))
    def arrives(self, mid, mtype, port):
        origin = Origin(("::1", port), "::1")
        known = {key for key, each in self.layer._exchanges.items() if self.now_s - each.received_s <= 247.0}
        exchange = self.layer.begin(origin, request(mid, mtype), self.now_s)
        assert (exchange is None) == ((origin.endpoint, mid) in known)
        if exchange is not None:
            self.open.append(exchange)

    @rule(data=st.data())
    def is_answered(self, data):
        if self.open:
            exchange = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
            before = len(self.sent)
            self.layer.answer(exchange, ANSWER, self.now_s)
            assert len(self.sent) == before + 1
            assert self.sent[-1].payload == b"receipt"

    @rule(data=st.data())
    def is_acknowledged(self, data):
        if self.layer._separate:
            endpoint, mid = data.draw(st.sampled_from(sorted(self.layer._separate)))
            assert self.layer.settle(Origin(endpoint, "::1"), mid)

    @rule(seconds=st.sampled_from([0.1, 1.0, 30.0, 300.0]))
    def time_passes(self, seconds):
        self.now_s += seconds
        self.layer.tick(self.now_s)
        assert all(self.now_s - each.received_s <= 247.0 for each in self.layer._exchanges.values())

    @invariant()
    def is_bounded(self):
        assert len(self.layer) <= 4
        held = sum(len(each.reply) for each in self.layer._exchanges.values() if each.reply is not None)
        assert self.layer.reply_bytes == held <= 60


TestWire = Wire.TestCase
TestWire.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.integers(0, 255), st.integers(0, 255))
@settings(max_examples=50)
def test_no_response_suppresses_its_classes_alone(no_response, code):
    if code >> 5 not in (2, 4, 5):
        return
    under_test, sent = layer()
    exchange = under_test.begin(HERE, request(7, NON), 0.0)
    exchange.no_response = no_response
    under_test.answer(exchange, Response(code), 0.0)
    assert (sent == []) == bool(no_response & {2: 2, 4: 8, 5: 16}[code >> 5])


@pytest.mark.parametrize("mid", [0, 65535])
def test_message_ids_go_round(mid):
    sent = []
    under_test = MessageLayer(lambda _, data: sent.append(decode(data)), first_mid=mid, jitter=lambda: 0.0)
    for each in range(2):
        under_test.answer(under_test.begin(HERE, request(each, NON), 0.0), ANSWER, 0.0)
    assert [each.mid for each in sent] == [mid, (mid + 1) % 65536]
