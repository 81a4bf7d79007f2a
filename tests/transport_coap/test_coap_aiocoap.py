"""aiocoap's client and server against the transport, plain, and its log under a flood."""

import asyncio
import logging
import random

import aiocoap
import pytest
from aiocoap import resource
from coap_harness import RECEIPT, FakeIntake, Gateway, RawClient, dotted, eventually
from structlog.testing import capture_logs

from gateway.config.model import LimitsConfig, ObserveConfig
from gateway.message import Accepted, Encoding, Pushback, PushbackReason, Refused, RejectReason
from gateway.transport import coap_observe
from gateway.transport.coap_wire import CON, Datagram, decode, encode
from gateway.transport.port import LinkState


@pytest.fixture
async def client():
    context = await aiocoap.Context.create_client_context(transports=["udp6"])

    async def post(running, payload, **options):
        request = aiocoap.Message(code=aiocoap.POST, uri=f"{running.uri}/v1/up", payload=payload, **options)
        async with asyncio.timeout(20):
            return await context.request(request).response

    yield post
    await context.shutdown()


@pytest.mark.parametrize("size", [100, 1025, 20_000])
async def test_aiocoap_posts_and_reads_the_receipt(gateway, client, size):
    running = await gateway()
    payload = b"\xd2" + bytes(i % 256 for i in range(size - 1))
    answer = await client(running, payload, content_format=18)
    assert (dotted(answer.code), answer.payload, answer.opt.content_format) == ("2.04", RECEIPT, 18)
    assert [(raw.payload, raw.declared) for raw in running.intake.taken] == [(payload, Encoding.COSE)]


async def test_aiocoap_reads_a_long_receipt(gateway, client):
    receipt = bytes(i % 256 for i in range(5000))
    running = await gateway(intake=FakeIntake(Accepted(receipt)))
    assert (await client(running, b"\xd2")).payload == receipt
    assert (await client(running, b"\xd2" * 3000)).payload == receipt
    assert len(running.intake.taken) == 2


async def test_aiocoap_is_told_that_a_message_is_too_large(gateway, client):
    running = await gateway(limits=LimitsConfig(message_bytes=2000))
    answer = await client(running, b"\xd2" * 3000)
    assert (dotted(answer.code), answer.payload, answer.opt.size1) == ("4.13", b"too-large", 2000)


async def test_aiocoap_is_challenged_and_may_answer_with_the_echo_it_was_given(gateway, client):
    running = await gateway(limits=LimitsConfig(coap_peer_rate_per_s=0.001, coap_peer_burst=2))
    assert [dotted((await client(running, b"\xd2")).code) for _ in range(2)] == ["2.04", "2.04"]
    challenge = await client(running, b"\xd2")  # without OSCORE, aiocoap leaves the Echo to its caller
    assert (dotted(challenge.code), len(challenge.opt.echo)) == ("4.01", 22)
    assert dotted((await client(running, b"\xd2", echo=challenge.opt.echo)).code) == "2.04"


async def test_many_at_once_are_all_answered(gateway, client):
    running = await gateway(intake=FakeIntake(lambda raw: Accepted(b"receipt of " + raw.payload), delay_s=0.01))
    bodies = [b"\xd2%d" % i for i in range(100)]
    answers = await asyncio.gather(*(client(running, body) for body in bodies))
    assert [answer.payload for answer in answers] == [b"receipt of " + body for body in bodies]


class Meter(resource.ObservableResource):
    """A device's resource: what it says is set from outside."""

    def __init__(self):
        super().__init__()
        self.payload = b"\xd2first"
        self.options = {"content_format": 18}
        self.observers = 0

    async def render_get(self, _request):
        return aiocoap.Message(payload=self.payload, **self.options)

    def update_observation_count(self, newcount):
        self.observers = newcount

    def say(self, payload):
        self.payload = payload
        self.updated_state()


@pytest.fixture
async def device():
    contexts = []

    async def serve(meter, port=0):
        site = resource.Site()
        site.add_resource(["envelope"], meter)
        context = await aiocoap.Context.create_server_context(site, bind=("::1", port), transports=["udp6"])
        contexts.append(context)
        socket = context.request_interfaces[0].token_interface.message_interface.transport.get_extra_info("socket")
        return context, socket.getsockname()[1]

    yield serve
    for context in contexts:
        if context.request_interfaces:
            await context.shutdown()


def observing(port, **options):
    return {"observe": (ObserveConfig(uri=f"coap://[::1]:{port}/envelope", device="meter-7"),), **options}


async def test_notifications_are_messages_of_the_configured_device(gateway, device):
    meter = Meter()
    _, port = await device(meter)
    running = await gateway(**observing(port))
    await eventually(lambda: len(running.intake.taken) == 1)
    for i in range(3):
        meter.say(b"\xd2%d" % i)
        await eventually(lambda i=i: len(running.intake.taken) == 2 + i)
    assert [raw.payload for raw in running.intake.taken] == [b"\xd2first", b"\xd20", b"\xd21", b"\xd22"]
    assert {(raw.device, raw.peer, raw.declared) for raw in running.intake.taken} == {
        ("meter-7", "::1", Encoding.COSE)
    }
    assert running.counts["observe_registered"] == 1


@pytest.mark.parametrize(("format_", "declared"), [(50, Encoding.JWS), (60, Encoding.OTHER), (None, None)])
async def test_the_content_format_of_a_notification_is_what_it_declares(gateway, device, format_, declared):
    meter = Meter()
    meter.options = {} if format_ is None else {"content_format": format_}
    _, port = await device(meter)
    running = await gateway(**observing(port))
    await eventually(lambda: running.intake.taken)
    assert running.intake.taken[0].declared is declared


async def test_an_observation_that_goes_stale_is_registered_again(gateway, device, monkeypatch):
    monkeypatch.setattr(coap_observe, "SLACK_S", 0.1)
    monkeypatch.setattr(coap_observe, "FIRST_WAIT_S", 0.05)
    meter = Meter()
    meter.options = {"content_format": 18, "max_age": 0}
    _, port = await device(meter)
    running = await gateway(**observing(port))
    await eventually(lambda: running.counts["observe_registered"] >= 2, 20)
    assert running.counts["observe_lost"] >= 1
    tokens = running.transport._endpoint.context.request_interfaces[0]
    assert len(tokens.outgoing_requests) <= 1


async def test_a_device_that_comes_up_later_is_found(gateway, device):
    meter = Meter()
    context, port = await device(meter)
    await context.shutdown()
    context.request_interfaces.clear()
    running = await gateway(**observing(port))
    await asyncio.sleep(0.2)
    assert running.transport.status().state is LinkState.UP
    assert running.transport.status().detail.endswith("0 of 1 observations held")
    await device(meter, port)
    await eventually(lambda: running.intake.taken, 30)


async def test_a_notification_that_is_pushed_back_is_tried_again(gateway, device):
    outcomes = iter([Pushback(PushbackReason.PUSHBACK, 0), Accepted(RECEIPT)])
    running = await gateway(**observing((await device(Meter()))[1]), intake=FakeIntake(lambda _: next(outcomes)))
    await eventually(lambda: len(running.intake.taken) == 2)
    assert [raw.payload for raw in running.intake.taken] == [b"\xd2first"] * 2
    assert running.counts["observe_retried"] == 1


async def test_a_notification_that_is_never_taken_is_given_up(gateway, device, monkeypatch):
    monkeypatch.setattr(coap_observe, "RETRY_S", 0.01)
    running = await gateway(**observing((await device(Meter()))[1]), intake=FakeIntake(takes=False))
    await eventually(lambda: running.counts["observe_given_up"] == 1)
    assert running.intake.refused == coap_observe.MOST_TRIES


async def test_the_newest_of_two_that_wait_is_the_one_that_is_tried_again(gateway, device, monkeypatch):
    monkeypatch.setattr(coap_observe, "RETRY_S", 0.5)
    meter = Meter()
    running = await gateway(**observing((await device(meter))[1]), intake=FakeIntake(takes=False))
    await eventually(lambda: running.intake.refused == 1)
    meter.say(b"\xd2newer")
    await eventually(lambda: running.counts["observe_overtaken"] == 1)
    running.intake.takes = True
    await eventually(lambda: running.intake.taken)
    assert [raw.payload for raw in running.intake.taken] == [b"\xd2newer"]


async def test_a_refusal_of_a_notification_has_nobody_to_go_to(gateway, device):
    running = await gateway(
        **observing((await device(Meter()))[1]), intake=FakeIntake(Refused(RejectReason.IDENTITY_MISMATCH))
    )
    await eventually(lambda: running.intake.taken)
    assert running.counts["observe_retried"] == 0


async def test_a_device_that_serves_without_end_is_cut_off(gateway, device):
    class Endless(resource.Resource):  # aiocoap serves only unobservable resources in blocks
        async def render_get(self, _request):
            return aiocoap.Message(payload=b"\xd2" * 10_000)

    running = await gateway(**observing((await device(Endless()))[1]), limits=LimitsConfig(message_bytes=2048))
    await eventually(lambda: running.counts["observe_too_large"] == 1)
    assert running.intake.taken == []


async def test_an_error_of_the_device_is_counted(gateway, device):
    meter = Meter()

    async def refuse(_request):
        return aiocoap.Message(code=aiocoap.FORBIDDEN)

    meter.render_get = refuse
    running = await gateway(**observing((await device(meter))[1]))
    await eventually(lambda: running.counts["observe_refused_by_device"] == 1)
    assert running.intake.taken == []


def mutants(count):
    """Datagrams that are nearly right, and some that are nothing at all. The seed is fixed: a failure comes again."""
    rng = random.Random(9052)
    good = [
        encode(Datagram(CON, 2, 1, b"tok", [(11, b"v1"), (11, b"up"), (12, b"\x12"), (27, b"\x0e")], b"\xd2" * 64)),
        encode(Datagram(CON, 1, 2, b"", [(11, b".well-known"), (11, b"core"), (15, b"rt=x")], b"")),
        encode(Datagram(CON, 69, 3, b"obs", [(6, b"\x01")], b"\xd2")),
        encode(Datagram(CON, 2, 4, b"o", [(9, b"\x09\x01\x02"), (11, b"v1")], b"\x00" * 40)),
        encode(Datagram(CON, 2, 5, b"e", [(11, b".well-known"), (11, b"edhoc")], b"\xf5\x00\x02" + b"\x01" * 37)),
    ]
    for _ in range(count):
        data = bytearray(rng.choice(good))
        data[2:4] = rng.randbytes(2)
        for _ in range(rng.randint(0, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(1, len(data)) :]
        yield bytes(data) if rng.random() < 0.9 else rng.randbytes(rng.randint(0, 80))


async def test_random_datagrams_never_stop_the_server(gateway, device):
    _, port = await device(Meter())
    running = await gateway(**observing(port))
    await eventually(lambda: running.intake.taken)
    faults = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    attacker, honest = (RawClient(running.transport.port) for _ in range(2))
    with capture_logs() as lines:
        for i, data in enumerate(mutants(4000)):
            attacker.send(data)
            if i % 50 == 0:
                await asyncio.sleep(0)
    answer = await honest.ask(payload=b"\xd2honest")
    assert (dotted(answer.code), answer.payload) == ("2.04", RECEIPT)
    assert running.intake.taken[-1].payload == b"\xd2honest"
    assert faults == []
    assert running.transport.status().state is LinkState.UP
    assert running.counts["malformed_datagrams"] > 100
    assert len(lines) <= 1
    for each in (attacker, honest):
        each.close()


async def test_the_library_never_quotes_the_network_in_our_log(gateway, device, caplog):
    _, port = await device(Meter())
    running = await gateway(**observing(port))
    await eventually(lambda: running.intake.taken)
    with caplog.at_level(logging.DEBUG), capture_logs() as lines:
        logging.getLogger("coap-server").warning("from %s: %s", "evil\npeer", "text")
        logging.getLogger("coap-server").error("again %s", "evil")
    assert lines == [
        {
            "event": "coap.library_complained",
            "log_level": "warning",
            "times": 1,
            "last_at": f"test_coap_aiocoap:{line_of('evil')}",
        }
    ]
    assert running.counts["library_warnings"] == 2
    assert not any("evil" in record.getMessage() for record in caplog.records)


def line_of(text):
    with open(__file__, encoding="utf-8") as source:  # noqa: PTH123 -- one line, read once
        return next(number for number, line in enumerate(source, 1) if f"{text}\\npeer" in line)


async def test_a_fault_of_an_observation_task_reaches_the_supervisor(device, monkeypatch):
    _, port = await device(Meter())
    running = Gateway(**observing(port))

    async def breaks(_self, _context):
        raise RuntimeError("ours")

    monkeypatch.setattr(coap_observe.Observation, "run", breaks)
    task = asyncio.create_task(running.transport.run(running.intake))
    with pytest.raises(ExceptionGroup):
        await task
    assert running.transport.port is None


async def test_the_library_decodes_what_we_encode():
    answer = encode(Datagram(CON, 69, 7, b"tok", [(12, b"\x12"), (14, b"\x05"), (252, b"e" * 22)], b"x"))
    message = aiocoap.Message.decode(answer)
    assert (message.opt.content_format, message.opt.max_age, message.opt.echo) == (18, 5, b"e" * 22)
    assert decode(answer).payload == message.payload
