"""The air gap: requests and answers as files, the list of publishers, and grants by an operator's word."""

import json
from contextlib import suppress

import pytest
from authority_kit import DIGEST, NOW_MS, Told, authority, enlist, house, made
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import Authority as CertificateAuthority
from test_vault_authority_words import JSON

from gateway.vault.authority import Caller, Recipients, certificate_sha256
from gateway.vault.authority_carried import AnswerAwaited, AuthorityFiles
from gateway.vault.authority_disk import StoreRefused
from gateway.vault.authority_files import read_answer, read_request, write_answer, write_request
from gateway.vault.authority_house import public_key, signing_key
from gateway.vault.authority_publishers import load_publishers, parse_publishers, table_of
from gateway.vault.authority_told import MAX_AGE_MS, UnsafeFileGrants, write_grants
from gateway.vault.authority_words import Ask, AuthorityError, AuthorityRefused, DataKey, Refusal
from gateway.vault.hpke_key import hybrid_key, parse_hpke_pem, x25519_pem
from gateway.vault.manifest import RECIPIENTS_MAX
from gateway.vault.wrap import Kem, Recipient, parse_recipient, unwrap, wrap_info

OPERATOR = Ed25519PrivateKey.from_private_bytes(b"\x21" * 32)
OPERATOR_KEY = OPERATOR.public_key().public_bytes_raw()
GATEWAY = X25519PrivateKey.from_private_bytes(b"\x11" * 32)
GATEWAY_KEY = GATEWAY.public_key().public_bytes_raw()
REPLY = parse_hpke_pem(x25519_pem(X25519PrivateKey.from_private_bytes(b"\x31" * 32)))
HYBRID = hybrid_key(b"\x32" * 32)
ASK = Ask("kdd", 1)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    ca = CertificateAuthority(folder)
    for name in ("acme", "other"):
        ca.issue(name, name)
        (folder / f"{name}.key").chmod(0o600)
    return folder


def der(pki, name="acme"):
    return x509.load_pem_x509_certificate((pki / f"{name}.crt").read_bytes()).public_bytes(Encoding.DER)


def key(pki, name="acme"):
    return load_pem_private_key((pki / f"{name}.key").read_bytes(), password=None)


def now_ms(pki):
    certificate = x509.load_der_x509_certificate(der(pki))
    return int(certificate.not_valid_before_utc.timestamp() * 1000) + 3_600_000


class Gap:
    """An authority and a publisher with nothing between them but files that somebody carries."""

    def __init__(self, root, pki):
        self.directory, self.pki = made(root / "authority"), pki
        enlist(self.directory, "acme", der(pki), "kdd")
        with house(self.directory) as found:
            self.public = public_key(found.store)
        self.folder = root / "publisher"
        self.publisher = AuthorityFiles(self.folder, pki / "acme.crt", pki / "acme.key", self.public)

    async def carry(self, awaited, grants=None):
        with house(self.directory) as found:
            request = read_request(awaited.request.read_bytes(), now_ms(self.pki))
            who = Caller(certificate_sha256(request.certificate), "file")
            answer = await authority(self.directory, found, grants).answer(who, request.ask)
            awaited.answer.write_bytes(write_answer(answer, request, signing_key(found.store).sign))

    def awaited(self, call, *arguments):
        with pytest.raises(AnswerAwaited) as awaited:
            call(*arguments)
        return awaited.value


@pytest.fixture
def gap(tmp_path, pki):
    return Gap(tmp_path, pki)


async def test_a_key_and_its_wraps_come_over_the_gap(gap):
    awaited = gap.awaited(gap.publisher.data_key, "kdd", 1)
    before = awaited.request.read_bytes()
    assert gap.awaited(gap.publisher.data_key, "kdd", 1).request.read_bytes() == before
    await gap.carry(awaited)
    data_key = gap.publisher.data_key("kdd", 1)
    assert gap.publisher.data_key("kdd", 1) == data_key
    await gap.carry(gap.awaited(gap.publisher.wraps, "kdd", 1, DIGEST), Told(**{"gw-1": GATEWAY_KEY}))
    (found,) = gap.publisher.wraps("kdd", 1, DIGEST)
    assert unwrap(found.key, GATEWAY, wrap_info("kdd", 1, DIGEST, "gw-1")) == data_key
    for path in gap.folder.iterdir():
        assert data_key not in path.read_bytes()
        assert data_key.hex().encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0
        assert "kdd" not in path.name


async def test_an_answer_opens_for_its_request_and_nowhere_else(gap, tmp_path, pki):
    one, two = gap.awaited(gap.publisher.data_key, "kdd", 1), gap.awaited(gap.publisher.data_key, "kdd", 2)
    await gap.carry(one)
    two.answer.write_bytes(one.answer.read_bytes())
    with pytest.raises(AuthorityError, match="another request"):
        gap.publisher.data_key("kdd", 2)
    elsewhere = AuthorityFiles(tmp_path / "b", pki / "acme.crt", pki / "acme.key", gap.public)
    there = gap.awaited(elsewhere.data_key, "kdd", 1)
    there.answer.write_bytes(one.answer.read_bytes())
    with pytest.raises(AuthorityError, match="another request"):
        elsewhere.data_key("kdd", 1)
    there.request.write_bytes(one.request.read_bytes())
    with pytest.raises(AuthorityError, match="not sealed to this"):
        elsewhere.data_key("kdd", 1)


async def test_an_answer_of_another_authority_is_refused(gap, pki):
    awaited = gap.awaited(gap.publisher.data_key, "kdd", 1)
    request = read_request(awaited.request.read_bytes(), now_ms(pki))
    forged = write_answer(DataKey("kdd", 1, bytes(32)), request, Ed25519PrivateKey.generate().sign)
    awaited.answer.write_bytes(forged)
    with pytest.raises(AuthorityError, match="did not sign"):
        gap.publisher.data_key("kdd", 1)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_every_change_of_a_request_or_an_answer_is_refused(pki):
    request = write_request(ASK, REPLY.recipient, der(pki), key(pki))
    read = read_request(request, now_ms(pki))
    answer = write_answer(DataKey("kdd", 1, b"k" * 32), read, OPERATOR.sign)
    assert read_answer(answer, ASK, request, REPLY, OPERATOR_KEY).key == b"k" * 32
    for at in range(len(request) - 1):
        changed = bytearray(request)
        changed[at] ^= 1
        with suppress(AuthorityRefused):  # what is left is another certificate, and so on no list
            assert read_request(bytes(changed), now_ms(pki)).certificate != der(pki)
    for at in range(len(answer) - 1):
        changed = bytearray(answer)
        changed[at] ^= 1
        with pytest.raises(AuthorityError):
            read_answer(bytes(changed), ASK, request, REPLY, OPERATOR_KEY)


def test_requests_of_another_time_or_by_another_key_are_refused(pki):
    request = write_request(ASK, REPLY.recipient, der(pki), key(pki))
    for ms in (now_ms(pki) - 30 * 86_400_000, now_ms(pki) + 30 * 86_400_000):
        with pytest.raises(AuthorityRefused, match="expired, or not valid yet"):
            read_request(request, ms)
    stolen = write_request(ASK, REPLY.recipient, der(pki), key(pki, "other"))
    with pytest.raises(AuthorityRefused) as refused:
        read_request(stolen, now_ms(pki))
    assert refused.value.reason is Refusal.SIGNATURE
    mine = read_request(write_request(ASK, REPLY.recipient, der(pki, "other"), key(pki, "other")), now_ms(pki))
    assert mine.certificate != der(pki)


def test_a_reply_to_a_point_of_small_order_is_refused(pki):
    small = Recipient(Kem.X25519, bytes(32))
    with pytest.raises(AuthorityRefused, match="small order"):
        read_request(write_request(ASK, small, der(pki), key(pki)), now_ms(pki))


@pytest.mark.parametrize("data", [b"\x09" + bytes(40), HYBRID.public[:-1], b"\xff" * 1216])
def test_a_reply_to_what_is_no_key_is_refused(pki, data):
    with pytest.raises(AuthorityRefused, match="reply_to"):
        read_request(write_request(ASK, Recipient(Kem.MLKEM768_X25519, data), der(pki), key(pki)), now_ms(pki))


def test_an_answer_to_a_hybrid_key_opens_with_it_and_with_no_other(pki):
    request = write_request(ASK, HYBRID.recipient, der(pki), key(pki))
    answer = write_answer(DataKey("kdd", 1, b"k" * 32), read_request(request, now_ms(pki)), OPERATOR.sign)
    assert read_answer(answer, ASK, request, HYBRID, OPERATOR_KEY).key == b"k" * 32
    for other in (REPLY, hybrid_key(b"\x33" * 32)):
        with pytest.raises(AuthorityError, match="not sealed to this request's key"):
            read_answer(answer, ASK, request, other, OPERATOR_KEY)


def test_what_is_carried_by_hand_is_sealed_to_a_hybrid_key(gap, pki):
    awaited = gap.awaited(gap.publisher.data_key, "kdd", 1)
    assert read_request(awaited.request.read_bytes(), now_ms(pki)).reply_to.kem is Kem.MLKEM768_X25519


@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_no_request_no_answer_and_no_list(data):
    with pytest.raises(AuthorityRefused):
        read_request(data, NOW_MS)
    with pytest.raises(AuthorityError):
        read_answer(data, ASK, data, REPLY, OPERATOR_KEY)


def test_files_of_the_publisher_that_cannot_be_used_are_named(gap, pki, tmp_path):
    for changes in ({"certificate": pki / "acme.key"}, {"key": pki / "acme.locked"}, {"key": tmp_path / "none"}):
        files = {"certificate": pki / "acme.crt", "key": pki / "acme.key"} | changes
        (pki / "acme.locked").chmod(0o600)
        with pytest.raises(AuthorityError):
            AuthorityFiles(tmp_path / "p", **files, authority=gap.public).data_key("kdd", 1)
    gap.awaited(gap.publisher.data_key, "kdd", 1)
    (private,) = gap.folder.glob("*.private")
    private.write_bytes(b"short")
    with pytest.raises(AuthorityError, match="is no key"):
        gap.publisher.data_key("kdd", 1)


# --- grants by a file ---


def granted(tmp_path, *, sign=OPERATOR.sign, now=NOW_MS, **keys):
    found = Recipients(
        "eip155:1 block 7", from_chain=True, keys={name: parse_recipient(k) for name, k in keys.items()}
    )
    path = tmp_path / "grants.json"
    path.write_bytes(write_grants({"kdd": found}, now, sign))
    return path


async def test_a_signed_file_says_who_holds_a_grant_and_is_not_the_chain(tmp_path):
    path = granted(tmp_path, **{"gw-1": GATEWAY_KEY})
    found = await UnsafeFileGrants(path, OPERATOR_KEY, lambda: NOW_MS + 1000).recipients("kdd")
    assert found.keys == {"gw-1": parse_recipient(GATEWAY_KEY)}
    assert not found.from_chain
    assert "eip155:1 block 7" in found.source


async def test_a_file_that_is_old_unsigned_missing_or_of_another_model_says_nothing(tmp_path):
    path = granted(tmp_path, **{"gw-1": GATEWAY_KEY})
    sound = path.read_bytes()

    async def problem(model="kdd", operator=OPERATOR_KEY, now=NOW_MS):
        with pytest.raises(AuthorityRefused) as refused:
            await UnsafeFileGrants(path, operator, lambda: now).recipients(model)
        assert refused.value.reason is Refusal.NO_GRANTS
        return refused.value.detail

    assert "of another time" in await problem(now=NOW_MS + MAX_AGE_MS + 1)
    assert "of another time" in await problem(now=NOW_MS - MAX_AGE_MS - 1)
    assert "nothing of this model" in await problem("mnist")
    assert "did not sign" in await problem(operator=GATEWAY_KEY)
    for changed in (sound[:-20], b"{}", sound.replace(b"payload", b"payloed")):
        path.write_bytes(changed)
        assert "is refused" in await problem()
    path.unlink()
    assert "cannot be read" in await problem()


def test_a_file_that_no_authority_would_read_is_not_written():
    gateway = parse_recipient(GATEWAY_KEY)
    hybrid = hybrid_key(bytes(32)).recipient
    for models, gateways, key in ((1, RECIPIENTS_MAX + 1, gateway), (4, RECIPIENTS_MAX, hybrid)):
        found = Recipients("a test", from_chain=True, keys={f"gw-{number}": key for number in range(gateways)})
        with pytest.raises(AuthorityRefused, match="too-many-gateways"):
            write_grants({f"m-{number}": found for number in range(models)}, NOW_MS, OPERATOR.sign)


# --- the list ---


def test_a_list_is_read_and_written(tmp_path):
    text = table_of("acme", b"\x01" * 32, ("kdd", "mnist")) + table_of("site-b", b"\x02" * 32, ("*",))
    found = parse_publishers(text.encode())
    assert found.by_certificate[b"\x01" * 32].may_publish("mnist")
    assert not found.by_certificate[b"\x01" * 32].may_publish("nab")
    assert found.by_name["site-b"].may_publish("nab")
    colons = ":".join(["AB"] * 32)
    assert (
        b"\xab" * 32
        in parse_publishers(f'[publishers.x]\ncertificate_sha256="{colons}"\nmodels=[]'.encode()).by_certificate
    )
    with pytest.raises(StoreRefused, match="cannot be read"):
        load_publishers(tmp_path / "none.toml")


ONE = f'certificate_sha256 = "{"01" * 32}"\n'


@pytest.mark.parametrize(
    "text",
    [
        "x = 1",
        "publishers = 1",
        "[publishers.acme]\n" + ONE,
        "[publishers.acme]\n" + ONE + "models = 'kdd'",
        "[publishers.acme]\n" + ONE + "models = ['a/b']",
        "[publishers.acme]\n" + ONE + "models = [1]",
        "[publishers.acme]\n" + ONE + "models = ['kdd']\nmore = 1",
        "[publishers.'a b']\n" + ONE + "models = ['kdd']",
        "[publishers.acme]\ncertificate_sha256 = []\nmodels = ['kdd']",
        "[publishers.acme]\ncertificate_sha256 = 'zz'\nmodels = ['kdd']",
        "[publishers.acme]\ncertificate_sha256 = [1]\nmodels = ['kdd']",
        f"[publishers.a]\n{ONE}models = []\n[publishers.b]\n{ONE}models = []",
        "[publishers.acme\n",
        "\ud800",
    ],
)
def test_a_list_that_is_not_in_order_lets_nobody_in(text):
    with pytest.raises(StoreRefused, match="nobody is on it"):
        parse_publishers(text.encode("utf-8", "surrogatepass"))


@given(st.text(max_size=200))
def test_any_text_is_a_list_or_refused(text):
    try:
        parse_publishers(text.encode("utf-8", "surrogatepass"))
    except StoreRefused:
        pass
