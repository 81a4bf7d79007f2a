"""The transport over a real socket: what a device sees of FORMATS.md §4."""

import asyncio
import socket

import pytest
from coap_harness import RECEIPT, FakeIntake, Gateway, RawClient, cose_format, dotted, eventually

from gateway.config.model import LimitsConfig
from gateway.message import Accepted, Duplicate, Encoding, Pushback, PushbackReason, Refused, RejectReason
from gateway.transport.coap_wire import ACK, CON, NON, RST, Block, Datagram, encode
from gateway.transport.port import LinkState


@pytest.fixture
def client():
    made = []

    def make(gateway, host="::1"):
        made.append(RawClient(gateway.transport.port, host))
        return made[-1]

    yield make
    for one in made:
        one.close()


def option(datagram, number):
    return next((value for each, value in datagram.options if each == number), None)


@pytest.mark.parametrize("outcome", [Accepted(RECEIPT), Duplicate(RECEIPT)])
async def test_an_accepted_message_is_answered_with_its_receipt(gateway, client, outcome):
    running = await gateway(intake=FakeIntake(outcome))
    answer = await client(running).ask(options=[cose_format()], payload=b"\xd2envelope")
    assert (dotted(answer.code), answer.payload, option(answer, 12)) == ("2.04", RECEIPT, b"\x12")
    assert (answer.mtype, answer.mid, answer.token) == (ACK, 101, b"t")
    raw = running.intake.taken[0]
    assert raw._replace(reply=None) == (
        b"\xd2envelope",
        "coap",
        "::1",
        1_700_000_000_000,
        None,
        None,
        None,
        Encoding.COSE,
    )


async def test_a_v4_peer_is_named_by_its_v4_address(gateway, client):
    running = await gateway(host="127.0.0.1")
    answer = await client(running, "127.0.0.1").ask()
    assert dotted(answer.code) == "2.04"
    assert running.intake.taken[0].peer == "127.0.0.1"


@pytest.mark.parametrize(("value", "declared"), [(None, None), (b"\x12", Encoding.COSE), (b"\x32", Encoding.JWS)])
async def test_the_content_format_is_what_was_declared(gateway, client, value, declared):
    running = await gateway()
    await client(running).ask(options=[] if value is None else [(12, value)])
    assert running.intake.taken[0].declared is declared


@pytest.mark.parametrize("value", [b"", b"\x3c", b"\x28", b"\x13", b"\x01\x12", b"\x00\x00\x12"])
async def test_any_other_content_format_is_4_15_without_payload(gateway, client, value):
    running = await gateway()
    answer = await client(running).ask(options=[(12, value)])
    assert (dotted(answer.code), answer.payload, answer.options) == ("4.15", b"", [])
    assert running.intake.taken == []


@pytest.mark.parametrize("code", [1, 3, 4, 5, 6, 7, 8, 31])
async def test_other_methods_are_4_05(gateway, client, code):
    answer = await client(await gateway()).ask(code=code)
    assert dotted(answer.code) == "4.05"


@pytest.mark.parametrize("path", [(), ("v1",), ("v1", "up", ""), ("v1", "up", "x"), ("V1", "up"), ("v1", "down")])
async def test_other_paths_are_4_04(gateway, client, path):
    answer = await client(await gateway()).ask(path=path)
    assert dotted(answer.code) == "4.04"


@pytest.mark.parametrize("reason", RejectReason)
async def test_a_refusal_reaches_the_device_as_code_and_reason(gateway, client, reason):
    running = await gateway(intake=FakeIntake(Refused(reason, RECEIPT, 3)))
    answer = await client(running).ask()
    assert answer.payload == reason.value.encode()
    assert answer.code >> 5 == 4
    assert option(answer, 12) is None
    assert option(answer, 14) == (b"\x03" if reason is RejectReason.RATE_LIMITED else None)


@pytest.mark.parametrize("reason", PushbackReason)
async def test_pushback_is_5_03_with_max_age(gateway, client, reason):
    running = await gateway(intake=FakeIntake(Pushback(reason, 9)))
    answer = await client(running).ask()
    assert (dotted(answer.code), answer.payload, option(answer, 14)) == ("5.03", reason.value.encode(), b"\x09")


async def test_a_full_intake_is_5_03_pushback(gateway, client):
    running = await gateway(intake=FakeIntake(takes=False))
    answer = await client(running).ask()
    assert (dotted(answer.code), answer.payload, option(answer, 14)) == ("5.03", b"pushback", b"\x05")
    assert running.counts["pushed_back"] == 1


async def test_without_a_decision_the_answer_is_5_03_and_a_late_one_is_harmless(gateway, client):
    running = await gateway(intake=FakeIntake(silent=True))
    peer = client(running)
    empty_ack = await peer.ask()
    assert (empty_ack.mtype, empty_ack.code) == (ACK, 0)
    running.offset_s = 21.0
    answer = await peer.receive()
    assert (dotted(answer.code), answer.payload, answer.mtype, answer.token) == ("5.03", b"pushback", CON, b"t")
    peer.send(encode(Datagram(ACK, 0, answer.mid, b"", [], b"")))
    running.intake.taken[0].reply(Accepted(RECEIPT))
    assert await peer.nothing()
    assert running.counts["replies_timed_out"] == running.counts["replies_late"] == 1


async def test_a_slow_answer_comes_by_itself_after_an_empty_acknowledgement(gateway, client):
    running = await gateway(intake=FakeIntake(delay_s=0.8))
    peer = client(running)
    empty_ack = await peer.ask(token=b"slow")
    assert (empty_ack.mtype, empty_ack.code, empty_ack.mid, empty_ack.token) == (ACK, 0, 101, b"")
    answer = await peer.receive()
    assert (answer.mtype, dotted(answer.code), answer.token, answer.payload) == (CON, "2.04", b"slow", RECEIPT)
    assert running.transport._layer.owed == 1
    peer.send(encode(Datagram(ACK, 0, answer.mid, b"", [], b"")))
    await eventually(lambda: running.transport._layer.owed == 0)


async def test_a_repeated_message_gets_the_same_answer_and_reaches_the_house_once(gateway, client):
    running = await gateway()
    peer = client(running)
    first = await peer.ask()
    peer.mid -= 1
    assert await peer.ask() == first
    assert len(running.intake.taken) == 1
    assert running.counts["repeated_messages"] == 1


async def test_a_repeated_message_that_is_still_undecided_is_acknowledged_and_reaches_the_house_once(gateway, client):
    running = await gateway(intake=FakeIntake(delay_s=0.3))
    peer = client(running)
    message = encode(Datagram(CON, 2, 5, b"t", [(11, b"v1"), (11, b"up")], b"\xd2"))
    peer.send(message)
    await eventually(lambda: running.intake.taken)
    peer.send(message)
    assert await peer.receive() == Datagram(ACK, 0, 5, b"", [], b"")
    answer = await peer.receive()
    assert (answer.mtype, answer.payload) == (CON, RECEIPT)
    assert len(running.intake.taken) == 1


async def test_a_non_confirmable_message_is_answered_likewise(gateway, client):
    answer = await client(await gateway()).ask(mtype=NON)
    assert (answer.mtype, dotted(answer.code), answer.payload) == (NON, "2.04", RECEIPT)


async def test_no_response_is_honoured(gateway, client):
    running = await gateway()
    peer = client(running)
    answer = await peer.ask(options=[(258, b"\x02")])
    assert (answer.mtype, answer.code) == (ACK, 0)
    peer.send(encode(Datagram(NON, 2, 1, b"", [(11, b"v1"), (11, b"up"), (258, b"\x1a")], b"\xd2")))
    await eventually(lambda: len(running.intake.taken) == 2)
    assert await peer.nothing()


async def test_a_critical_option_that_is_unknown_is_4_02_and_a_non_confirmable_one_is_ignored(gateway, client):
    running = await gateway()
    peer = client(running)
    assert dotted((await peer.ask(options=[(1, b"etag")])).code) == "4.02"
    assert dotted((await peer.ask(options=[(9, b"\x01")])).code) == "4.02"  # OSCORE, which is off
    peer.send(encode(Datagram(NON, 2, 1, b"", [(11, b"v1"), (11, b"up"), (65003, b"")], b"\xd2")))
    assert await peer.nothing()
    assert running.intake.taken == []


@pytest.mark.parametrize("number", [35, 39])
async def test_a_proxy_is_not_here(gateway, client, number):
    assert dotted((await client(await gateway()).ask(options=[(number, b"coap")])).code) == "5.05"


@pytest.mark.parametrize(("accept", "code"), [(b"\x12", "2.04"), (b"\x32", "4.06"), (b"", "4.06")])
async def test_a_receipt_can_only_be_had_as_cose(gateway, client, accept, code):
    assert dotted((await client(await gateway()).ask(options=[(17, accept)])).code) == code


async def test_the_resources_are_listed(gateway, client):
    peer = client(await gateway())
    core = (".well-known", "core")
    answer = await peer.ask(code=1, path=core, payload=b"")
    assert (dotted(answer.code), option(answer, 12)) == ("2.05", b"\x28")
    assert answer.payload == b'</v1/up>;rt="securenet.up";ct="18 50"'
    assert (
        await peer.ask(code=1, path=core, options=[(15, b"rt=securenet.*")], payload=b"")
    ).payload == answer.payload
    assert (await peer.ask(code=1, path=core, options=[(15, b"rt=other")], payload=b"")).payload == b""
    assert dotted((await peer.ask(code=2, path=core)).code) == "4.05"
    assert dotted((await peer.ask(code=1, path=core, options=[(17, b"\x32")])).code) == "4.06"
    piece = await peer.ask(code=1, path=core, options=[(23, b"\x10")], payload=b"")  # number 1, 16 bytes
    assert (piece.payload, option(piece, 23)) == (answer.payload[16:32], b"\x18")


async def test_a_ping_and_an_unexpected_message_are_reset(gateway, client):
    peer = client(await gateway())
    for data in (
        encode(Datagram(CON, 0, 7, b"", [], b"")),
        encode(Datagram(CON, 69, 7, b"tok", [], b"what nobody asked for")),
        encode(Datagram(CON, 0x20, 7, b"", [], b"")),
        b"\x4f\x02\x00\x07",
    ):
        peer.send(data)
        assert await peer.receive() == Datagram(RST, 0, 7, b"", [], b"")
    peer.send(encode(Datagram(ACK, 2, 7, b"", [], b"")))
    peer.send(encode(Datagram(RST, 0, 9, b"", [], b"")))
    peer.send(b"\x5f\x02\x00\x07")
    assert await peer.nothing()


def blocks(payload, size=64):
    szx = size.bit_length() - 5
    for start in range(0, len(payload), size):
        yield Block(start // size, start + size < len(payload), szx), payload[start : start + size]


def block_option(number, block):
    return number, block.value.to_bytes(3, "big")


async def test_a_body_in_blocks_is_one_message(gateway, client):
    running = await gateway()
    peer = client(running)
    payload = b"\xd2" + bytes(range(200)) * 4
    for block, piece in blocks(payload):
        answer = await peer.ask(options=[cose_format(), block_option(27, block)], payload=piece)
        assert dotted(answer.code) == ("2.31" if block.more else "2.04")
        assert option(answer, 27) == block.value.to_bytes(max(1, (block.value.bit_length() + 7) // 8), "big")
    assert [raw.payload for raw in running.intake.taken] == [payload]
    assert answer.payload == RECEIPT


async def test_a_body_that_grows_too_large_is_4_13_at_once(gateway, client):
    running = await gateway(limits=LimitsConfig(message_bytes=256))
    peer = client(running)
    codes = []
    for block, piece in list(blocks(b"\xd2" * 400))[:5]:
        answer = await peer.ask(options=[block_option(27, block)], payload=piece)
        codes.append(dotted(answer.code))
    assert codes == ["2.31", "2.31", "2.31", "4.13", "4.13"]
    announced = await peer.ask(
        options=[block_option(27, Block(0, more=True, szx=2)), (60, b"\x01\x01")], payload=b"x" * 64
    )
    assert (dotted(announced.code), announced.payload, option(announced, 60)) == ("4.13", b"too-large", b"\x01\x00")
    assert running.intake.taken == []
    assert running.counts["too_large"] == 3


async def test_a_body_of_exactly_the_limit_is_taken(gateway, client):
    running = await gateway(limits=LimitsConfig(message_bytes=256))
    peer = client(running)
    for block, piece in blocks(b"\xd2" * 256):
        answer = await peer.ask(options=[block_option(27, block)], payload=piece)
    assert dotted(answer.code) == "2.04"


async def test_blocks_that_do_not_fit_are_refused(gateway, client):
    peer = client(await gateway())
    gap = await peer.ask(options=[block_option(27, Block(3, more=True, szx=2))], payload=b"x" * 64)
    short = await peer.ask(options=[block_option(27, Block(0, more=True, szx=2))], payload=b"x" * 63)
    reserved = await peer.ask(options=[block_option(27, Block(0, more=False, szx=7))])
    assert [dotted(each.code) for each in (gap, short, reserved)] == ["4.08", "4.00", "4.00"]


async def test_a_receipt_is_served_in_pieces_to_who_wants_it_so(gateway, client):
    receipt = bytes(range(100))
    peer = client(await gateway(intake=FakeIntake(Accepted(receipt))))
    got = b""
    for num in range(4):
        answer = await peer.ask(
            options=[block_option(23, Block(num, more=False, szx=1))], payload=b"\xd2" if num == 0 else b""
        )
        assert (dotted(answer.code), option(answer, 12)) == ("2.04", b"\x12")
        got += answer.payload
    assert got == receipt
    beyond = await peer.ask(options=[block_option(23, Block(4, more=False, szx=1))], payload=b"")
    assert dotted(beyond.code) == "4.00"


async def test_a_piece_of_nothing_is_4_08(gateway, client):
    answer = await client(await gateway()).ask(options=[block_option(23, Block(1, more=False, szx=1))], payload=b"")
    assert dotted(answer.code) == "4.08"


async def test_a_large_datagram_is_taken_whole(gateway, client):
    running = await gateway()
    payload = b"\xd2" + b"x" * 20_000
    assert dotted((await client(running).ask(payload=payload)).code) == "2.04"
    assert running.intake.taken[0].payload == payload


async def test_over_half_its_budget_a_peer_must_show_its_address(gateway, client):
    running = await gateway(limits=LimitsConfig(coap_peer_rate_per_s=0.001, coap_peer_burst=10))
    peer = client(running)
    codes = [dotted((await peer.ask()).code) for _ in range(6)]
    assert codes == ["2.04"] * 6
    challenge = await peer.ask()
    echo = option(challenge, 252)
    assert (dotted(challenge.code), challenge.payload, len(echo)) == ("4.01", b"", 22)
    assert dotted((await peer.ask(options=[(252, b"\0" * 22)])).code) == "4.01"
    assert len(running.intake.taken) == 6
    assert dotted((await peer.ask(options=[(252, echo)])).code) == "2.04"
    running.offset_s = 61.0
    assert dotted((await peer.ask(options=[(252, echo)])).code) == "4.01"
    assert running.counts["echo_asked"] == 3


async def test_a_body_in_blocks_shows_its_address_once(gateway, client):
    running = await gateway(limits=LimitsConfig(coap_peer_rate_per_s=0.001, coap_peer_burst=2))
    peer = client(running)
    assert [dotted((await peer.ask()).code) for _ in range(2)] == ["2.04"] * 2
    pieces = list(blocks(b"\xd2" * 150))
    challenge = await peer.ask(options=[block_option(27, pieces[0][0])], payload=pieces[0][1])
    assert dotted(challenge.code) == "4.01"
    codes = []
    for block, piece in pieces:
        extra = [(252, option(challenge, 252))] if block.num == 0 else []
        codes.append(dotted((await peer.ask(options=[block_option(27, block), *extra], payload=piece)).code))
    assert codes == ["2.31", "2.31", "2.04"]


async def test_after_stop_intake_new_messages_are_pushed_back_and_old_ones_answered(gateway, client):
    running = await gateway(intake=FakeIntake(silent=True))
    peer, late = client(running), client(running)
    asked = asyncio.create_task(peer.ask())
    await eventually(lambda: running.intake.taken)
    running.transport.stop_intake()
    refused = await late.ask()
    assert (dotted(refused.code), refused.payload) == ("5.03", b"pushback")
    closing = asyncio.create_task(running.transport.close())
    await asyncio.sleep(0.15)
    assert not closing.done()
    running.intake.taken[0].reply(Accepted(RECEIPT))
    assert (await asked).payload == RECEIPT
    await closing
    await running.task
    assert running.transport.status().state is LinkState.STOPPED


async def test_a_taken_port_is_down_with_a_reason_and_tried_again():
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as holder:
        holder.bind(("::1", 0))
        port = holder.getsockname()[1]
        running = Gateway(port=port)
        await running.start(until=LinkState.DOWN)
        assert running.transport.status().detail == f"cannot bind [::1]:{port}: Address already in use"
        assert running.counts["bind_failures"] >= 1
    await eventually(lambda: running.transport.status().state is LinkState.UP)
    assert running.transport.port == port
    await running.stop()


async def test_a_second_gateway_cannot_share_the_port(gateway):
    running = await gateway()
    second = Gateway(port=running.transport.port)
    await second.start(until=LinkState.DOWN)
    await second.stop()
    assert second.transport.status().state is LinkState.STOPPED


async def test_an_address_that_is_not_ours_is_down_not_a_crash():
    for host in ("2001:db8::1", "no such host"):
        running = Gateway(host=host)
        await running.start(until=LinkState.DOWN)
        assert "cannot bind" in running.transport.status().detail
        await running.stop()


async def test_closing_before_running_is_possible():
    running = Gateway()
    await running.transport.close()
    await running.transport.run(running.intake)
    assert running.transport.status().state is LinkState.STOPPED
