"""The service on loopback, over real TLS: who is let in, what they get, and what they cannot cost."""

import asyncio
import datetime as dt
import io
import ipaddress
import logging
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
import structlog
from authority_kit import DIGEST, NOW_MS, Told, authority, enlist, house, made
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.certificates import Authority as CertificateAuthority

from gateway.config.model import LoggingConfig
from gateway.ops.logging import configure_logging
from gateway.vault.authority_audit import verify
from gateway.vault.authority_client import AuthorityClient, ClientFiles
from gateway.vault.authority_disk import StoreRefused
from gateway.vault.authority_door import DoorLimits
from gateway.vault.authority_house import audit_key, opened
from gateway.vault.authority_publishers import FILE as PUBLISHERS
from gateway.vault.authority_service import Limits, ServerFiles, Service, server_context
from gateway.vault.authority_words import AuthorityError, AuthorityRefused, Refusal
from gateway.vault.wrap import unwrap, wrap_info

LOOPBACK = ipaddress.ip_address("127.0.0.1")
GENEROUS = Limits(requests_per_minute=60_000, burst=1000)
GATEWAY = X25519PrivateKey.from_private_bytes(b"\x11" * 32)


class Pki:
    """A server, publishers acme and other, and one whom nobody signed."""

    def __init__(self, folder):
        self.folder = folder
        self.ca = CertificateAuthority(folder)
        self.ca.issue("server", "authority", x509.DNSName("localhost"), x509.IPAddress(LOOPBACK))
        for name in ("acme", "other", "stranger"):
            self.ca.issue(name, name)
        foreign = CertificateAuthority(folder / "foreign", "another authority")
        foreign.issue("acme", "acme")
        self.foreign = folder / "foreign"
        self.expired()

    def expired(self):
        key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "late")])
        days = (now - dt.timedelta(days=2), now - dt.timedelta(hours=1))
        number = x509.random_serial_number()
        builder = x509.CertificateBuilder(self.ca.name, name, key.public_key(), number, *days)
        certificate = builder.sign(self.ca.key, hashes.SHA256())
        (self.folder / "late.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / "late.key").write_bytes(pem)

    def der(self, stem):
        return x509.load_pem_x509_certificate((self.folder / f"{stem}.crt").read_bytes()).public_bytes(Encoding.DER)

    def server(self):
        return ServerFiles(self.folder / "server.crt", self.folder / "server.key", self.folder / "ca.crt")

    def client(self, stem, folder=None):
        where = folder or self.folder
        return ClientFiles(where / f"{stem}.crt", where / f"{stem}.key", self.folder / "ca.crt")


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


class World:
    def __init__(self, directory, pki, found, service):
        self.directory, self.pki, self.found, self.service = directory, pki, found, service
        self.clients = ThreadPoolExecutor(8)  # the service has threads of its own

    def client(self, stem="acme", folder=None, timeout_s=10.0):
        url = f"https://localhost:{self.service.port}"
        return AuthorityClient(url, self.pki.client(stem, folder), timeout_s)

    async def ask(self, call, *arguments):
        return await asyncio.get_running_loop().run_in_executor(self.clients, call, *arguments)

    async def refused(self, call, *arguments):
        with pytest.raises(AuthorityRefused) as refused:
            await self.ask(call, *arguments)
        return refused.value.reason

    def events(self):
        told = []
        assert verify(self.directory, audit_key(self.found.store), told.append).findings == ()
        return [line.members for line in told]

    async def raw(self, data, *, stem="acme", tls=True, hold_s=0.0):
        """Bytes as they are, and what comes back until the end of the connection."""
        context = None
        if tls:
            context = ssl.create_default_context(cafile=str(self.pki.folder / "ca.crt"))
            if stem:
                context.load_cert_chain(self.pki.folder / f"{stem}.crt", self.pki.folder / f"{stem}.key")
        reader, writer = await asyncio.open_connection("localhost", self.service.port, ssl=context)
        try:
            writer.write(data)
            await asyncio.sleep(hold_s)
            async with asyncio.timeout(10):
                return await reader.read()
        except (ConnectionError, ssl.SSLError):
            return b""
        finally:
            writer.transport.abort()


@asynccontextmanager
async def served(tmp_path, pki, limits=GENEROUS, grants=None):
    directory = made(tmp_path / "authority")
    enlist(directory, "acme", pki.der("acme"), "kdd", "mnist")
    enlist(directory, "other", pki.der("other"), "*")
    enlist(directory, "late", pki.der("late"), "*")
    with house(directory) as found:
        service = Service(
            authority(directory, found, grants),
            server_context(pki.server()),
            ("127.0.0.1", 0),
            time.monotonic,
            limits,
        )
        async with service:
            running = World(directory, pki, found, service)
            with running.clients:
                yield running


@pytest.fixture
async def world(tmp_path, pki):
    key = GATEWAY.public_key().public_bytes_raw()
    async with served(tmp_path, pki, grants=Told(**{"gw-1": key, "gw-2": key})) as running:
        yield running


def post(path, body, *headers):
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


async def test_a_publisher_gets_its_key_and_the_wraps_that_open_it(world):
    client = world.client()
    key = await world.ask(client.data_key, "kdd", 1)
    assert len(key) == 32
    assert await world.ask(client.data_key, "kdd", 1) == key
    wraps = await world.ask(client.wraps, "kdd", 1, DIGEST)
    assert [each.gateway_id for each in wraps] == ["gw-1", "gw-2"]
    for each in wraps:
        assert unwrap(each.key, GATEWAY, wrap_info("kdd", 1, DIGEST, each.gateway_id)) == key
    full = await world.ask(client.wraps_in_full, "kdd", 1, DIGEST)
    assert full.grants == "a test"
    told = [(line["event"], line["publisher"], line["model"], line["detail"].get("for")) for line in world.events()]
    assert told[2:] == [
        ("issue", "acme", "kdd", None),
        ("issue", "acme", "kdd", None),
        ("wraps", "acme", "kdd", ["gw-1", "gw-2"]),
        ("wraps", "acme", "kdd", ["gw-1", "gw-2"]),
    ]


async def test_refusals_have_their_reason_and_are_in_the_audit(world):
    acme, other, stranger = (world.client(stem) for stem in ("acme", "other", "stranger"))
    await world.ask(acme.data_key, "kdd", 5)
    cases = [
        (stranger.data_key, ("kdd", 5), Refusal.NOT_ON_THE_LIST),
        (stranger.wraps, ("kdd", 5, DIGEST), Refusal.NOT_ON_THE_LIST),
        (acme.data_key, ("nab", 1), Refusal.MODEL_NOT_ALLOWED),
        (acme.wraps, ("nab", 1, DIGEST), Refusal.MODEL_NOT_ALLOWED),
        (acme.data_key, ("kdd", 4), Refusal.VERSION_NOT_RISING),
        (other.data_key, ("kdd", 5), Refusal.OF_ANOTHER_PUBLISHER),
        (other.wraps, ("kdd", 5, DIGEST), Refusal.OF_ANOTHER_PUBLISHER),
        (acme.wraps, ("mnist", 1, DIGEST), Refusal.NO_KEY),
        (acme.data_key, ("a/b", 1), Refusal.MALFORMED),
    ]
    for call, arguments, reason in cases:
        assert await world.refused(call, *arguments) is reason
    refused = [line["detail"]["reason"] for line in world.events() if line["event"] == "refused"]
    assert refused == [str(reason) for _, _, reason in cases]


async def test_whoever_is_taken_off_the_list_gets_nothing_from_then_on(world):
    client = world.client()
    await world.ask(client.data_key, "kdd", 1)
    path = world.directory / PUBLISHERS
    whole = path.read_text()
    path.write_text("")
    assert await world.refused(client.data_key, "kdd", 1) is Refusal.NOT_ON_THE_LIST
    path.write_text(whole + "publishers = 5\n")
    assert await world.refused(client.data_key, "kdd", 1) is Refusal.UNAVAILABLE
    path.unlink()
    assert await world.refused(client.data_key, "kdd", 1) is Refusal.UNAVAILABLE
    path.write_text(whole)
    await world.ask(client.data_key, "kdd", 1)


async def test_certificates_that_are_expired_foreign_or_missing_get_no_answer(world):
    for client in (world.client("late"), world.client("acme", world.pki.foreign)):
        with pytest.raises(AuthorityError, match=r"no TLS with it|cannot be asked"):
            await world.ask(client.data_key, "kdd", 1)
    assert await world.raw(post("/v1/data-key", b'{"model":"kdd","version":1}'), stem="") == b""
    assert [line["event"] for line in world.events()] == ["init", "opened"]


async def test_plain_http_and_old_tls_get_no_answer(world):
    assert b"200" not in await world.raw(post("/v1/data-key", b'{"model":"kdd","version":1}'), tls=False)
    context = ssl.create_default_context(cafile=str(world.pki.folder / "ca.crt"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("localhost", world.service.port, ssl=context)
    await world.ask(world.client().data_key, "kdd", 1)


async def test_a_service_with_another_certificate_is_told_nothing(world):
    files = world.pki.client("acme")._replace(ca=world.pki.foreign / "ca.crt")
    client = AuthorityClient(f"https://localhost:{world.service.port}", files, 10)
    with pytest.raises(AuthorityError, match="its certificate does not hold"):
        await world.ask(client.data_key, "kdd", 1)
    client = AuthorityClient(f"https://127.0.0.2:{world.service.port}", world.pki.client("acme"), 2)
    with pytest.raises(AuthorityError):
        await world.ask(client.data_key, "kdd", 1)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (post("/v1/data-key", b"x" * 4097), b"400"),
        (post("/v1/data-key", b"x" * 100_000), b"400"),
        (post("/v1/data-key", b'{"model":"kdd"}'), b"400"),
        (post("/v1/data-key", b"\xff\x00"), b"400"),
        (post("/v1/data-key", b""), b"400"),
        (post("/v1/wraps", b'{"model":"kdd","version":1}'), b"400"),
        (post("/v1/data-key", b"x", "Content-Encoding: gzip"), b"400"),
        (post("/v1/data-key/../wraps", b"{}"), b"404"),
        (post("/other", b"{}"), b"404"),
        (b"GET /v1/data-key HTTP/1.1\r\nHost: localhost\r\n\r\n", b"405"),
        (b"POST /v1/data-key HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n", b"400"),
        (b"POST /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"\x00\x01\x02 nonsense\r\n\r\n", b"400"),
    ],
)
async def test_oversized_requests_and_garbage_are_refused_and_the_service_goes_on(world, data, status):
    answer = await world.raw(data)
    assert answer.split(b" ")[1:2] in ([status], [])
    assert len(answer) < 2000
    assert len(await world.ask(world.client().data_key, "kdd", 1)) == 32


@pytest.mark.parametrize("size", [10, 4097])
async def test_a_request_that_is_refused_unread_is_in_the_audit_too(world, size):
    assert b"malformed" in await world.raw(post("/v1/data-key", b"x" * size))
    last = world.events()[-1]
    assert (last["event"], last["detail"]["reason"]) == ("refused", "malformed")


async def test_clients_that_hang_are_dropped(tmp_path, pki):
    limits = Limits(DoorLimits(handshake_s=0.3, connection_s=0.9), request_s=0.3)
    async with served(tmp_path, pki, limits) as world:
        began = time.monotonic()
        silent = await asyncio.open_connection("localhost", world.service.port)
        hung = await asyncio.gather(
            silent[0].read(),
            world.raw(b""),
            world.raw(b"POST /v1/data-key HTTP/1.1\r\n"),
            world.raw(post("/v1/data-key", b"{}").replace(b"Content-Length: 2", b"Content-Length: 20")),
            return_exceptions=True,
        )
        silent[1].close()
        assert not any(isinstance(each, TimeoutError) for each in hung)
        assert time.monotonic() - began < 5
        assert len(await world.ask(world.client().data_key, "kdd", 1)) == 32


async def test_connections_have_a_number_and_an_address_its_share(tmp_path, pki):
    limits = Limits(DoorLimits(handshake_s=1.0, connections=6, connections_of_one=3))
    async with served(tmp_path, pki, limits) as world:
        held = [socket.create_connection(("127.0.0.1", world.service.port)) for _ in range(3)]
        await asyncio.sleep(0.1)
        with pytest.raises(AuthorityError):
            await world.ask(world.client().data_key, "kdd", 1)
        for each in held:
            each.close()
        await asyncio.sleep(0.2)
        assert len(await world.ask(world.client().data_key, "kdd", 1)) == 32


async def test_a_certificate_has_so_many_requests_a_minute(tmp_path, pki):
    async with served(tmp_path, pki, Limits(requests_per_minute=1, burst=3)) as world:
        for _ in range(3):
            await world.ask(world.client().data_key, "kdd", 1)
        assert await world.refused(world.client().data_key, "kdd", 1) is Refusal.RATE_LIMITED
        await world.ask(world.client("other").data_key, "nab", 1)
        answer = await world.raw(post("/v1/data-key", b"{}"))
        assert b"429" in answer
        assert b"Retry-After: " in answer
        assert [line["event"] for line in world.events()].count("refused") == 0


async def test_no_key_is_in_any_log_or_audit_line(tmp_path, pki):
    stream = io.StringIO()
    before = structlog.get_config()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logging(LoggingConfig(level="debug", format="json"), stream)
        root.setLevel(logging.DEBUG)
        async with served(tmp_path, pki, grants=Told(**{"gw-1": GATEWAY.public_key().public_bytes_raw()})) as world:
            key = await world.ask(world.client().data_key, "kdd", 1)
            await world.ask(world.client().wraps, "kdd", 1, DIGEST)
            await world.refused(world.client("stranger").data_key, "kdd", 1)
            await world.raw(b"nonsense\r\n\r\n")
            secrets = [key, bytes(world.found.store._root), audit_key(world.found.store)]
            audit = b"".join(path.read_bytes() for path in (world.directory / "audit").iterdir())
    finally:
        structlog.configure(**before)
        root.handlers[:], root.level = handlers, level
    text = stream.getvalue()
    assert "authority.issued" in text
    for secret in secrets:
        assert secret.hex() not in text.lower()
        assert secret.hex().encode() not in audit
        assert repr(secret)[2:-1] not in text


async def test_an_audit_that_takes_nothing_lets_no_key_out(world, monkeypatch):
    def failing(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world.found.audit, "append", failing)
    assert await world.refused(world.client().data_key, "kdd", 1) is Refusal.UNAVAILABLE
    assert await world.refused(world.client("stranger").data_key, "kdd", 1) is Refusal.UNAVAILABLE


async def test_many_publishers_at_once_get_one_key(world):
    clients = [world.client() for _ in range(6)]
    keys = await asyncio.gather(*(world.ask(client.data_key, "kdd", 9) for client in clients))
    assert len(set(keys)) == 1
    assert [line["detail"].get("made") for line in world.events() if line["event"] == "issue"].count(True) == 1


async def test_an_address_that_is_taken_is_an_os_error(world):
    other = Service(None, server_context(world.pki.server()), ("127.0.0.1", world.service.port), time.monotonic)
    with pytest.raises(OSError, match="in use"):
        async with other:
            pass
    with pytest.raises(RuntimeError):
        _ = other.port


def test_files_that_are_no_certificates_are_named(tmp_path, pki):
    with pytest.raises(StoreRefused, match="cannot be read"):
        server_context(pki.server()._replace(client_ca=tmp_path / "none"))
    (tmp_path / "x").write_text("nothing")
    with pytest.raises(StoreRefused, match="not in PEM"):
        server_context(pki.server()._replace(certificate=tmp_path / "x"))
    with pytest.raises(StoreRefused):
        server_context(pki.server()._replace(key=pki.folder / "server.locked"))


@pytest.mark.parametrize(
    "url",
    [
        "http://x:1",
        "https://",
        "https://u:p@x",
        "https://x/path",
        "https://x?q=1",
        "x:1",
        "https://x:99999",
        "https://[::1",
    ],
)
def test_only_the_address_of_a_service_is_one(url, pki):
    with pytest.raises(AuthorityError, match="https://host:port"):
        AuthorityClient(url, pki.client("acme"))


def test_the_publishers_own_files_are_named_when_they_cannot_be_read(tmp_path, pki):
    for files in (
        pki.client("acme")._replace(ca=tmp_path / "none"),
        pki.client("acme")._replace(key=pki.folder / "acme.locked"),
        pki.client("acme")._replace(certificate=pki.folder / "acme.key"),
    ):
        with pytest.raises(AuthorityError, match=r"cannot be read|passphrase"):
            AuthorityClient("https://localhost:1", files).data_key("kdd", 1)


def test_a_house_says_in_its_audit_what_it_was_opened_for(tmp_path):
    directory = made(tmp_path / "authority")
    from authority_kit import WORDS  # noqa: PLC0415 -- beside its only use

    with opened(directory, WORDS, NOW_MS, "serve") as found:
        key = audit_key(found.store)
    told = []
    verify(directory, key, told.append)
    assert [line.members["detail"] for line in told][1] == {"for": "serve", "root_key": 1}
