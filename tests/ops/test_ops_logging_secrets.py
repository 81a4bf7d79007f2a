"""No secret and no payload comes out of a whole gateway at level debug, whatever it is sent."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import socket
import urllib.request
from pathlib import Path

import aiocoap
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.anvil import Anvil
from support.contracts_kit import Models
from support.custody import PASSPHRASE, PRIVATE, CustodyWorld, custody_gateway, until
from support.fleet import Author, Fleet, devices
from support.gateway import Gateway
from support.mosquitto import ACCOUNTS, Mosquitto, free_port

from gateway.ops.control import CONTROL_SOCKET, RequestRefusedError, request

OSCORE = {"secret_hex": "a1f2030405b60708090a0bcc0d0e0f1e", "salt_hex": "9e7ca92223786340"}
TOKEN = "page-token-c2f1b7e09d5a4c3e8b6a7f00"
MARKER = b"payload-marker-7f3a91"
HONEST = (b'"n":"temp"', b"\x81\xa2\x00\x64temp")
LOG_SEED = bytes(range(32))


def spellings(secret: bytes) -> set[bytes]:
    """The ways in which bytes could show: as they are, hexadecimal, base64 at every offset, as Python writes them."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode(), repr(secret)[2:-1].encode()}
    for offset in range(3):
        whole = base64.b64encode(bytes(offset) + secret)
        inner = whole[-(-offset * 4 // 3) : -4 if (offset + len(secret)) % 3 else None]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    escaped = json.dumps(secret.decode("latin-1"))[1:-1].encode()
    return {each for each in found | {escaped} if len(each) >= 8}


def leaks(said: bytes, secrets: dict[str, bytes]) -> list[str]:
    """The secrets that are in what was said."""
    return [name for name, secret in secrets.items() if any(each in said for each in spellings(secret))]


@pytest.mark.parametrize(
    "spelt",
    [
        LOG_SEED,
        LOG_SEED.hex().encode(),
        base64.b64encode(LOG_SEED),
        base64.urlsafe_b64encode(b"ab" + LOG_SEED),
        base64.b64encode(b"x" + LOG_SEED + b"tail"),
        repr(LOG_SEED).encode(),
    ],
)
def test_the_search_finds_what_it_looks_for(spelt):
    assert leaks(b'{"event": "x", "detail": "' + spelt + b'"}', {"seed": LOG_SEED, "other": b"q" * 32}) == ["seed"]


@pytest.fixture
def world(tmp_path):
    with Anvil() as anvil:
        yield CustodyWorld(anvil, tmp_path / "keys")


@pytest.fixture
def broker(tmp_path):
    started = Mosquitto(tmp_path / "broker").start()
    yield started
    started.stop()


def oscore_context(folder: Path, sender: str, recipient: str) -> None:
    folder.mkdir(parents=True)
    (folder / "secret.json").write_text(json.dumps(OSCORE))
    (folder / "settings.json").write_text(json.dumps({"sender-id_hex": sender, "recipient-id_hex": recipient}))


def private_file(path: Path, data: bytes) -> str:
    path.touch(mode=0o600)
    path.write_bytes(data)
    return str(path)


def hostile_datagrams(author: Author) -> list[bytes]:
    """CoAP requests nobody should send: rubbish, forgeries, a forged OSCORE message, and what is no CoAP."""
    good = author.write().envelope
    bodies = [MARKER, b"\xd2" + MARKER * 20, b'{"payload":"' + MARKER + b'"}', good[:-1] + b"\x00", good + MARKER]
    path = b"\xb2v1\x02up"
    sent = [
        b"\x40\x02" + number.to_bytes(2, "big") + path + b"\xff" + body for number, body in enumerate(bodies * 40, 1)
    ]
    forged = b"\x40\x02\x7f\x01\x93\x09\x00\x77\xff" + MARKER
    return [*sent, forged, MARKER, b"\x40\x02\x7f\x02\xbd" + MARKER]


async def protected_message(folder: Path, port: int, payload: bytes) -> None:
    """A message under OSCORE with the real secret, as a device would send it."""
    context = await aiocoap.Context.create_client_context(transports=["oscore", "udp6"])
    credentials = {"coap://*": {"oscore": {"basedir": str(folder)}}}
    context.client_credentials.load_from_dict(credentials)
    try:
        async with asyncio.timeout(20):
            uri = f"coap://127.0.0.1:{port}/v1/up"
            message = aiocoap.Message(code=aiocoap.POST, uri=uri, payload=payload, content_format=18)
            answer = await context.request(message).response
            assert str(answer.code).startswith(("2.", "4.")), answer
            assert type(answer.remote).__name__ == "OSCOREAddress"
    finally:
        await context.shutdown()
        for item in context.client_credentials.values():
            if getattr(item, "lockfile", None):
                item._destroy()


async def asked(gateway: Gateway) -> bytes:
    """Everything that a running gateway says to whoever may ask it."""
    said = [json.dumps(await gateway.status()).encode()]
    for command in ("anchor-now", "no-such-command"):
        try:
            said.append(json.dumps(await request(gateway.data / CONTROL_SOCKET, command)).encode())
        except RequestRefusedError as refused:
            said.append(str(refused).encode())
    here = ("--config", gateway.config)
    commands = (("status", *here), ("show-config", *here), ("check-config", *here), ("logs", "--file", gateway.log))
    for command in commands:
        _code, answer = await gateway.securenet(*command)
        said.append(answer.encode())
    for event in gateway.events("http.listening"):
        for path in ("/", "/metrics", "/healthz", "/readyz"):
            url = f"{event['address'].rstrip('/')}{path}"
            said.append(await asyncio.to_thread(lambda url=url: urllib.request.urlopen(url, timeout=10).read()))
    return b"\n".join(said)


@pytest.mark.slow
@pytest.mark.broker
async def test_no_secret_and_no_payload_comes_out_of_a_whole_gateway(world, broker, tmp_path):
    pytest.importorskip("aiocoap.oscore", reason="the extra oscore is not installed")
    folder, port, records = tmp_path / "gateway", free_port(socket.SOCK_DGRAM), devices(10)
    hpke = X25519PrivateKey.generate()
    oscore_context(folder / "meter-7", "01", "02")
    oscore_context(tmp_path / "device", "02", "01")
    oscore_file = private_file(
        folder / "oscore.json", json.dumps({":meter-7": {"oscore": {"basedir": "meter-7"}}}).encode()
    )
    hpke_pem = hpke.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    gateway = custody_gateway(
        world,
        folder,
        broker.port,
        records,
        gateway={"hpke_key_file": private_file(folder / "hpke.pem", hpke_pem)},
        chain={"model_registry": Models(world.chain).contract.address},
        models={"enabled": ["mnist"]},
        ipfs={"sources": ["store"], "block_store": str(tmp_path / "blocks")},
        coap={"host": "127.0.0.1", "port": port, "oscore_file": oscore_file},
        http={"port": free_port(), "token_file": private_file(folder / "token", TOKEN.encode())},
        logging={"level": "debug", "format": "json"},
    )
    secrets = {
        "seed of the log key": LOG_SEED,
        "log key as PEM": (folder / "log.pem").read_bytes().splitlines()[1],
        "broker's password": ACCOUNTS["gateway"].encode(),
        "anchoring key": PRIVATE,
        "its passphrase": PASSPHRASE,
        "HPKE key": hpke.private_bytes_raw(),
        "HPKE key as PEM": hpke_pem.splitlines()[1],
        "OSCORE's secret": bytes.fromhex(OSCORE["secret_hex"]),
        "OSCORE's salt": bytes.fromhex(OSCORE["salt_hex"]),
        "the page's token": TOKEN.encode(),
        "hostile payload": MARKER,
        "honest payload as JSON": HONEST[0],
        "honest payload as CBOR": HONEST[1],
    }
    world.fund()
    world.register_devices(records)
    world.register_miner(gateway, hpke_key=hpke.public_key().public_bytes_raw())
    world.mine()
    author = Author(records, random.Random(3))
    fleet = Fleet(records, random.Random(4), broker.port, ACCOUNTS["bench"], patience_s=5)
    said = b""
    try:
        gateway.start()
        await gateway.ready()
        async with fleet.publishing(200.0):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
                for datagram in hostile_datagrams(author):
                    out.sendto(datagram, ("127.0.0.1", port))
                    await asyncio.sleep(0.002)
            await protected_message(tmp_path / "device", port, author.write().envelope)
            await protected_message(tmp_path / "device", port, MARKER)
            broker.stop()  # the connection breaks, and the reasons for that are told too
            await until(lambda: bool(gateway.events("mqtt.down")))
            broker.start()
            await until(lambda: len(gateway.events("mqtt.up")) >= 2)
        await fleet.drain(30)
        await until(lambda: bool(gateway.events("anchor.final")), 30, world.mine)
        said = await asked(gateway)
        assert await gateway.stop() == 0
    finally:
        gateway.end()
        if fleet.published_s:
            await fleet.close()
    said += gateway.log.read_bytes()
    assert gateway.events("message.rejected"), "there was something to tell of hostile messages"
    assert gateway.events("gateway.stopped")
    assert b'"level": "debug"' in said
    assert b"bad-signature" in said
    assert leaks(said, secrets) == []
