"""libcoap's client and server against the transport: another implementation's reading of the same RFCs."""

import asyncio
import socket

import pytest
from coap_harness import RECEIPT, FakeIntake, RawClient, eventually
from support.libcoap import coap_client, tool

from gateway.config.model import LimitsConfig, ObserveConfig
from gateway.message import Accepted, Encoding, Pushback, PushbackReason, Refused, RejectReason
from gateway.transport.coap_wire import CON, RST, empty

pytestmark = pytest.mark.libcoap


@pytest.fixture
def envelope(tmp_path):
    def write(size):
        path = tmp_path / f"envelope-{size}"
        path.write_bytes(b"\xd2" + bytes(i * 7 % 251 for i in range(size - 1)))
        return path

    return write


async def post(running, path, *more, format_="18"):
    return await coap_client("-m", "post", "-t", format_, "-f", path, *more, f"{running.uri}/v1/up")


@pytest.mark.parametrize("host", ["::1", "127.0.0.1", "::"])
async def test_a_message_gets_its_receipt(gateway, envelope, host):
    running = await gateway(host=host)
    path = envelope(300)
    out, err = await post(running, path)
    assert (out.rstrip(b"\n"), err) == (RECEIPT, "")
    assert [(raw.payload, raw.declared) for raw in running.intake.taken] == [(path.read_bytes(), Encoding.COSE)]


@pytest.mark.parametrize("size", [1025, 5000, 65536])
async def test_a_long_message_travels_in_blocks(gateway, envelope, size):
    running = await gateway()
    path = envelope(size)
    out, err = await post(running, path)
    assert (out.rstrip(b"\n"), err) == (RECEIPT, "")
    assert [raw.payload for raw in running.intake.taken] == [path.read_bytes()]


async def test_small_blocks_are_served_too(gateway, envelope):
    running = await gateway(intake=FakeIntake(Accepted(bytes(range(33, 126)) * 2)))
    path = envelope(300)
    out, err = await post(running, path, "-b", "64")
    assert (out.rstrip(b"\n"), err) == (bytes(range(33, 126)) * 2, "")
    assert [raw.payload for raw in running.intake.taken] == [path.read_bytes()]


async def test_a_message_over_the_limit_is_4_13_before_it_is_all_there(gateway, envelope):
    running = await gateway(limits=LimitsConfig(message_bytes=4096))
    _, err = await post(running, envelope(5000))
    assert err == "4.13 too-large\n"
    assert running.intake.taken == []
    assert running.counts["requests"] < 5


async def test_the_long_receipt_of_a_long_message_comes_in_blocks(gateway, envelope):
    receipt = bytes(i % 90 + 33 for i in range(3000))
    running = await gateway(intake=FakeIntake(Accepted(receipt)))
    out, err = await post(running, envelope(3000))
    assert (out.rstrip(b"\n"), err) == (receipt, "")
    assert len(running.intake.taken) == 1


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Refused(RejectReason.BAD_SIGNATURE), "4.01 bad-signature\n"),
        (Refused(RejectReason.DEVICE_REVOKED), "4.03 device-revoked\n"),
        (Refused(RejectReason.RATE_LIMITED, None, 2), "4.29 rate-limited\n"),
        (Pushback(PushbackReason.MINER_UNKNOWN, 2), "5.03 miner-unknown\n"),
    ],
)
async def test_a_refusal_is_read_as_code_and_reason(gateway, envelope, outcome, expected):
    running = await gateway(intake=FakeIntake(outcome))
    out, err = await post(running, envelope(100))
    assert (out, err) == (b"", expected)


async def test_a_wrong_format_path_or_method_is_told(gateway, envelope):
    running = await gateway()
    assert (await post(running, envelope(100), format_="60"))[1].startswith("4.15")
    assert (await coap_client("-m", "get", f"{running.uri}/v1/up"))[1].startswith("4.05")
    assert (await coap_client("-m", "get", f"{running.uri}/v1/down"))[1].startswith("4.04")


async def test_the_resources_are_listed(gateway):
    running = await gateway()
    out, err = await coap_client("-m", "get", f"{running.uri}/.well-known/core")
    assert (out.rstrip(b"\n"), err) == (b'</v1/up>;rt="securenet.up";ct="18 50"', "")


@pytest.mark.parametrize("size", [100, 3000])
async def test_the_client_answers_an_echo_challenge_by_itself(gateway, envelope, size):
    running = await gateway(limits=LimitsConfig(coap_peer_rate_per_s=0.001, coap_peer_burst=2))
    path = envelope(size)
    for _ in range(4):
        out, err = await post(running, path)
        assert (out.rstrip(b"\n"), err) == (RECEIPT, "")
    assert running.counts["echo_asked"] >= 2
    assert [raw.payload for raw in running.intake.taken] == [path.read_bytes()] * 4


async def test_a_lost_datagram_is_repeated_and_the_message_is_taken_once(gateway, envelope):
    running = await gateway(intake=FakeIntake(delay_s=3.0))  # longer than the client waits before it repeats
    path = envelope(100)
    out, err = await post(running, path, "-l", "1")
    assert (out.rstrip(b"\n"), err) == (RECEIPT, "")
    assert len(running.intake.taken) == 1


async def test_a_non_confirmable_post_is_answered(gateway, envelope):
    running = await gateway()
    out, err = await post(running, envelope(100), "-N")
    assert (out.rstrip(b"\n"), err) == (RECEIPT, "")


async def answers_ping(port):
    """Return when a server answers at the port: coap-client gives up at the first ICMP error."""
    peer = RawClient(port)
    async with asyncio.timeout(10):
        while True:
            peer.send(empty(CON, 1))
            try:
                assert (await peer.receive(0.5)).mtype == RST
                break
            except (ConnectionRefusedError, TimeoutError):
                await asyncio.sleep(0.02)
    peer.close()


@pytest.fixture
async def device():
    """libcoap's server as a device: resources are made by PUT and can be observed."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        tool("coap-server-notls"), "-A", "::1", "-p", str(port), "-d", "4", stderr=asyncio.subprocess.DEVNULL
    )
    uri = f"coap://[::1]:{port}/envelope"
    await answers_ping(port)

    async def serve(path):
        out, err = await coap_client("-m", "put", "-t", "18", "-f", path, "-B", "5", uri)
        assert (out, err) == (b"", "")

    yield uri, serve
    process.kill()
    await process.wait()


@pytest.mark.parametrize("size", [200, 3000])
async def test_an_observed_resource_is_followed(gateway, envelope, device, size):
    uri, serve = device
    await serve(envelope(size))
    running = await gateway(observe=(ObserveConfig(uri=uri, device="meter-7"),))
    await eventually(lambda: len(running.intake.taken) == 1)
    await serve(envelope(size + 1))
    await eventually(lambda: len(running.intake.taken) == 2)
    assert [raw.payload for raw in running.intake.taken] == [envelope(s).read_bytes() for s in (size, size + 1)]
    assert {(raw.device, raw.fleet, raw.peer, raw.transport) for raw in running.intake.taken} == {
        ("meter-7", None, "::1", "coap")
    }
    assert running.transport.status().detail.endswith("1 of 1 observations held")
