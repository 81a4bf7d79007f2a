"""OSCORE and EDHOC end to end, with aiocoap as the device."""

import asyncio
import builtins
import json

import aiocoap
import cbor2
import pytest
from aiocoap import defaults
from coap_harness import RECEIPT, FakeIntake, Gateway, RawClient, dotted, eventually

from gateway.config.model import LimitsConfig, ObserveConfig
from gateway.message import Refused, RejectReason
from gateway.transport import coap_socket
from gateway.transport.coap import CoapTransport
from gateway.transport.coap_oscore import MOST_EDHOC_CONTEXTS, OscoreError, load_credentials
from gateway.transport.coap_wire import NON, POST, Datagram, encode
from gateway.transport.port import LinkState

edhoc = pytest.importorskip("aiocoap.edhoc", reason="the extra oscore is not installed")

SECRET = {"secret_hex": "0102030405060708090a0b0c0d0e0f10", "salt_hex": "9e7ca92223786340"}


def context(folder, sender, recipient):
    folder.mkdir()
    (folder / "secret.json").write_text(json.dumps(SECRET))
    (folder / "settings.json").write_text(json.dumps({"sender-id_hex": sender, "recipient-id_hex": recipient}))


@pytest.fixture
def oscore_file(tmp_path):
    context(tmp_path / "meter-7", "01", "02")
    path = tmp_path / "oscore.json"
    path.write_text(json.dumps({":meter-7": {"oscore": {"basedir": "meter-7"}}}))
    return path


@pytest.fixture
async def client(tmp_path):
    context(tmp_path / "device", "02", "01")
    under_test = await aiocoap.Context.create_client_context(transports=["oscore", "udp6"])
    under_test.client_credentials.load_from_dict({"coap://*": {"oscore": {"basedir": str(tmp_path / "device")}}})

    async def ask(uri, payload=b"\xd2", code=aiocoap.POST, **options):
        async with asyncio.timeout(20):
            return await under_test.request(aiocoap.Message(code=code, uri=uri, payload=payload, **options)).response

    yield ask
    await under_test.shutdown()
    for item in under_test.client_credentials.values():
        if getattr(item, "lockfile", None):
            item._destroy()


@pytest.mark.parametrize("size", [100, 5000])
async def test_a_protected_message_gets_its_receipt(gateway, client, oscore_file, size):
    running = await gateway(oscore_file=oscore_file)
    payload = b"\xd2" + b"x" * (size - 1)
    answer = await client(f"{running.uri}/v1/up", payload, content_format=18)
    assert (dotted(answer.code), answer.payload, answer.opt.content_format) == ("2.04", RECEIPT, 18)
    assert type(answer.remote).__name__ == "OSCOREAddress"
    assert [(raw.payload, raw.peer) for raw in running.intake.taken] == [(payload, "::1")]


async def test_a_protected_refusal_and_a_protected_list_are_read(gateway, client, oscore_file):
    running = await gateway(oscore_file=oscore_file, intake=FakeIntake(Refused(RejectReason.TOO_OLD)))
    answer = await client(f"{running.uri}/v1/up")
    assert (dotted(answer.code), answer.payload) == ("4.09", b"too-old")
    answer = await client(f"{running.uri}/.well-known/core", b"", aiocoap.GET)
    assert answer.payload.startswith(b"</v1/up>")


async def test_a_protected_peer_is_not_asked_for_an_echo(gateway, client, oscore_file):
    limits = LimitsConfig(coap_peer_rate_per_s=0.001, coap_peer_burst=2)
    running = await gateway(oscore_file=oscore_file, limits=limits)
    for _ in range(5):
        assert dotted((await client(f"{running.uri}/v1/up")).code) == "2.04"
    assert running.counts["echo_asked"] == 0


async def test_a_protected_message_that_the_house_does_not_answer_is_pushed_back(gateway, client, oscore_file):
    running = await gateway(oscore_file=oscore_file, intake=FakeIntake(silent=True), reply_timeout_s=0.3)
    answer = await client(f"{running.uri}/v1/up")
    assert (dotted(answer.code), answer.payload) == ("5.03", b"pushback")
    assert running.counts["replies_timed_out"] == 1


async def test_protected_messages_that_were_answered_leave_nothing_behind(gateway, client, oscore_file):
    running = await gateway(oscore_file=oscore_file)
    for _ in range(3):
        await client(f"{running.uri}/v1/up")
    await eventually(lambda: not running.transport._site.pending._queue)


async def test_plain_messages_are_served_beside_protected_ones(gateway, oscore_file):
    running = await gateway(oscore_file=oscore_file)
    peer = RawClient(running.transport.port)
    assert dotted((await peer.ask()).code) == "2.04"
    unknown = await peer.ask(options=[(9, b"\x09\x00\x77")], payload=b"\x00" * 20)
    assert dotted(unknown.code) == "4.01"
    assert len(running.intake.taken) == 1
    peer.close()


async def test_a_flood_of_forged_protected_messages_costs_a_bounded_memory(gateway, oscore_file, monkeypatch):
    monkeypatch.setattr(coap_socket, "MOST_LIBRARY_MESSAGES", 50)
    running = await gateway(oscore_file=oscore_file)
    peer = RawClient(running.transport.port)
    for _ in range(200):
        await peer.ask(options=[(9, b"\x09\x00\x77")], payload=b"\x00" * 20)
    tokens = running.transport._endpoint.context.request_interfaces[-1]
    assert len(tokens.token_interface._known) == 50
    assert (tokens.token_interface._recent_messages, tokens.incoming_requests) == ({}, {})
    peer.mid -= 1
    assert dotted((await peer.ask(options=[(9, b"\x09\x00\x77")], payload=b"\x00" * 20)).code) == "4.01"
    peer.close()


@pytest.mark.parametrize("option", [b"\x09\x00\x77", b"\x09\x00\x02", b"\x08\x02"])
async def test_a_forged_message_that_gets_no_answer_is_not_remembered(gateway, oscore_file, option):
    running = await gateway(oscore_file=oscore_file)
    tokens = running.transport._endpoint.context.request_interfaces[-1]
    peer = RawClient(running.transport.port)
    for number in range(20):
        request = Datagram(NON, POST, number, bytes([number]), [(9, option)], bytes(20))
        peer.send(encode(request))
    assert await peer.nothing()
    assert len(tokens.token_interface._known) == 20
    assert tokens.incoming_requests == {}
    peer.close()


async def test_sequence_numbers_survive_a_restart(gateway, client, oscore_file):
    first = await gateway(oscore_file=oscore_file)
    await client(f"{first.uri}/v1/up")
    port = first.transport.port
    await first.stop()
    kept = json.loads((oscore_file.parent / "meter-7" / "sequence.json").read_text())
    assert kept["received"] != "unknown"
    second = await gateway(oscore_file=oscore_file, port=port)
    assert dotted((await client(f"{second.uri}/v1/up")).code) == "2.04"
    assert len(second.intake.taken) == 1


async def test_after_a_crash_the_replay_window_is_recovered_by_echo(gateway, client, oscore_file):
    first = await gateway(oscore_file=oscore_file)
    await client(f"{first.uri}/v1/up")
    sequence = oscore_file.parent / "meter-7" / "sequence.json"
    crashed = sequence.read_bytes()
    assert b"unknown" in crashed
    port = first.transport.port
    await first.stop()
    sequence.write_bytes(crashed)  # what a kill would have left
    second = await gateway(oscore_file=oscore_file, port=port)
    assert dotted((await client(f"{second.uri}/v1/up")).code) == "2.04"
    assert len(second.intake.taken) == 1


async def test_a_resource_is_observed_under_oscore_when_a_credential_names_it(gateway, tmp_path, oscore_file):
    from aiocoap import resource  # noqa: PLC0415 -- this test alone serves
    from aiocoap.oscore_sitewrapper import OscoreSiteWrapper  # noqa: PLC0415 -- likewise

    class Meter(resource.ObservableResource):
        async def render_get(self, request):
            return aiocoap.Message(payload=type(request.remote).__name__.encode())

    context(tmp_path / "device", "02", "01")
    site, meter, credentials = resource.Site(), Meter(), load_credentials_of_device(tmp_path)
    site.add_resource(["envelope"], meter)
    server = await aiocoap.Context.create_server_context(
        OscoreSiteWrapper(site, credentials), bind=("::1", 0), transports=["udp6"]
    )
    interface = server.request_interfaces[0].token_interface.message_interface
    port = interface.transport.get_extra_info("socket").getsockname()[1]
    oscore_file.write_text(json.dumps({f"coap://[::1]:{port}/*": {"oscore": {"basedir": "meter-7"}}}))
    entry = ObserveConfig(uri=f"coap://[::1]:{port}/envelope", device="meter-7")
    running = await gateway(oscore_file=oscore_file, observe=(entry,))
    await eventually(lambda: running.intake.taken)
    meter.updated_state()
    await eventually(lambda: len(running.intake.taken) == 2)
    assert [raw.payload for raw in running.intake.taken] == [b"OSCOREAddress"] * 2
    assert running.intake.taken[0].peer == "::1"
    await running.stop()
    await server.shutdown()
    credentials.close()


def load_credentials_of_device(tmp_path):
    path = tmp_path / "device.json"
    path.write_text(json.dumps({":gateway": {"oscore": {"basedir": "device"}}}))
    return load_credentials(path.read_bytes(), tmp_path)


# EDHOC


def edhoc_identities(port):
    """Credentials of both sides: static keys (method 3), suite 2, credentials by key id."""
    keys = {name: edhoc.CoseKeyForEdhoc.generate() for name in ("gateway", "device")}
    ccs = {name: key.as_ccs(kid=name[:1].encode(), subject="") for name, key in keys.items()}

    def side(own, peer):
        return {
            "suite": 2,
            "method": 3,
            "own_cred_style": "by-key-id",
            "own_cred": ccs[own],
            "private_key": keys[own].secret_to_map(),
            "peer_cred": ccs[peer],
        }

    return {f"coap://[::1]:{port}/*": {"edhoc-oscore": side("gateway", "device")}}, side("device", "gateway")


async def edhoc_pair(gateway, tmp_path):
    probe = await gateway()
    port = probe.transport.port
    await probe.stop()
    server, device = edhoc_identities(port)
    path = tmp_path / "edhoc.cbor"
    path.write_bytes(cbor2.dumps(server))
    running = await gateway(oscore_file=path, port=port)
    client = await aiocoap.Context.create_client_context(transports=["oscore", "udp6"])
    client.client_credentials.load_from_dict({f"coap://[::1]:{port}/*": {"edhoc-oscore": device}})
    return running, client


async def test_a_handshake_by_edhoc_leads_to_a_protected_message(gateway, tmp_path):
    running, client = await edhoc_pair(gateway, tmp_path)
    for body in (b"\xd2one", b"\xd2two"):
        async with asyncio.timeout(20):
            request = aiocoap.Message(code=aiocoap.POST, uri=f"{running.uri}/v1/up", payload=body)
            answer = await client.request(request).response
        assert (dotted(answer.code), answer.payload) == ("2.04", RECEIPT)
        assert type(answer.remote).__name__ == "OSCOREAddress"
    assert [raw.payload for raw in running.intake.taken] == [b"\xd2one", b"\xd2two"]
    await client.shutdown()


async def test_unfinished_handshakes_make_room_for_the_next(gateway, tmp_path):
    import lakers  # noqa: PLC0415 -- comes with the extra

    running, client = await edhoc_pair(gateway, tmp_path)
    attacker = RawClient(running.transport.port)
    for _ in range(MOST_EDHOC_CONTEXTS + 20):
        message_1 = lakers.EdhocInitiator().prepare_message_1(bytes([1]), None)
        answer = await attacker.ask(path=(".well-known", "edhoc"), payload=b"\xf5" + message_1)
        assert dotted(answer.code) == "2.04"
    attacker.close()
    async with asyncio.timeout(20):
        request = aiocoap.Message(code=aiocoap.POST, uri=f"{running.uri}/v1/up", payload=b"\xd2")
        assert (await client.request(request).response).payload == RECEIPT
    await client.shutdown()


async def test_without_oscore_edhoc_is_not_found(gateway):
    running = await gateway()
    peer = RawClient(running.transport.port)
    assert dotted((await peer.ask(path=(".well-known", "edhoc"))).code) == "4.04"
    peer.close()


# What does not hold


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must be an object"),
        ("[]", "must be an object"),
        ('{":a": {"oscore": {}}}', "does not hold"),
        ('{":a": {"unknown": {}}}', "does not hold"),
        ('{":a": {"oscore": {"basedir": "nowhere"}}}', "does not hold"),
    ],
)
async def test_a_file_that_does_not_hold_is_named(tmp_path, text, says):
    path = tmp_path / "oscore.json"
    path.write_text(text)
    running = Gateway(oscore_file=path)
    with pytest.raises(OscoreError, match=says):
        await running.start(until=None)
    assert running.transport.status().state is LinkState.DOWN
    assert "does not hold" in running.transport.status().detail or "object" in running.transport.status().detail
    assert not (tmp_path / "nowhere").exists()


async def test_a_credential_has_no_place_for_relative_paths(oscore_file):
    with pytest.raises(OscoreError, match="meter-7 in it must be an absolute path"):
        load_credentials(oscore_file.read_bytes(), None)
    content = json.dumps({":meter-7": {"oscore": {"basedir": str(oscore_file.parent / "meter-7")}}})
    load_credentials(content.encode(), None).close()


async def test_diagnostic_notation_is_read(oscore_file):
    notation = b'{":meter-7": {"oscore": {"basedir": "meter-7"}} / a comment /}'
    credentials = load_credentials(notation, oscore_file.parent)
    assert list(credentials) == [":meter-7"]
    credentials.close()


async def test_a_context_in_use_by_another_process_is_refused(oscore_file):
    held = load_credentials(oscore_file.read_bytes(), oscore_file.parent)
    with pytest.raises(OscoreError, match="does not hold"):
        load_credentials(oscore_file.read_bytes(), oscore_file.parent)
    held.close()
    load_credentials(oscore_file.read_bytes(), oscore_file.parent).close()


async def test_without_the_extra_the_error_says_what_to_install(oscore_file, monkeypatch):
    real = builtins.__import__

    def without_lakers(name, *rest):
        if name == "lakers":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_lakers)
    assert defaults.oscore_missing_modules() == ["lakers-python"]
    running = Gateway(oscore_file=oscore_file)
    with pytest.raises(OscoreError, match=r'pip install "securenet-gateway\[oscore\]"'):
        await running.start(until=None)


async def test_the_constructor_opens_no_context(oscore_file):
    Gateway(oscore_file=oscore_file)
    assert CoapTransport.name == "coap"
    assert not (oscore_file.parent / "meter-7" / "lock").exists()
