"""The registry file: every rule of docs/spec/registry.md by name."""

import json
import tempfile
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from gateway.message import Alg
from gateway.registry.file import FileRegistry, RegistryError, load_registry
from gateway.registry.line import MAX_LINE_BYTES, LineRefused, parse_line
from gateway.registry.port import Device, RegistryCounts, Status

ED25519 = bytes(SigningKey(b"\x0d" * 32).verify_key)
# SEC 2 §2.4.2: the base point of P-256, uncompressed.
P256 = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
P = 2**255 - 19


def b64(data):
    return b64encode(data).decode()


def device(device_id="dev-1", **changes):
    line = {"kind": "device", "id": device_id, "fleet": "plant", "alg": "Ed25519", "public_key": b64(ED25519)}
    return {**line, "status": "active", **changes}


def miner(miner_id="gw-1", **changes):
    return {**device(miner_id), "kind": "miner", "log": f"securenet/plant/{miner_id}", **changes}


def without(line, name):
    return {key: value for key, value in line.items() if key != name}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "registry.jsonl"


def write(path, *lines):
    path.write_bytes(
        b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    )
    return path


def test_devices_and_miners_come_back_as_they_were_written(path):
    snapshot = load_registry(
        write(
            path,
            device(),
            device("dev-2", alg="ES256", public_key=b64(P256), fleet="ward", status="revoked"),
            device("dev-3", status="suspended"),
            miner(),
        )
    )
    assert snapshot.device("dev-1") == Device("dev-1", "plant", (Alg.ED25519, ED25519), Status.ACTIVE)
    assert snapshot.device("dev-2") == Device("dev-2", "ward", (Alg.ES256, P256), Status.REVOKED)
    assert snapshot.miner("gw-1").log == "securenet/plant/gw-1"
    assert snapshot.counts == RegistryCounts(devices=3, active=1, suspended=1, revoked=1, miners=1)
    assert [each.id for each in snapshot.devices()] == ["dev-1", "dev-2", "dev-3"]
    assert snapshot.device("gw-1") is None
    assert snapshot.miner("dev-1") is None
    assert snapshot.device("nobody") is None


def test_blank_lines_crlf_and_a_missing_last_line_break_do_no_harm(path):
    write(path, b"\n \t\r\n", json.dumps(device()).encode() + b"\r\n", b"\n", json.dumps(miner()).encode())
    assert load_registry(path).counts.devices == 1


def test_an_empty_file_is_an_empty_registry(path):
    assert load_registry(write(path)).counts == RegistryCounts(0, 0, 0, 0, 0)


REFUSED = {
    "no JSON": b"{\n",
    "a JSON array": b"[]\n",
    "two objects on a line": json.dumps(device("b")).encode() * 2 + b"\n",
    "not UTF-8": b'{"kind": "\xff"}\n',
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(device("b")).encode() + b"\n",
    "a member twice": b'{"kind": "device", "kind": "device"}\n',
    "a member twice, escaped": b'{"kind": "device", "\\u006bind": "device"}\n',
    "nested too deeply": b"[" * 4000 + b"\n",
    "a number of 4,000 digits": b"1" * 4000 + b"\n",
    "a line too long": b" " * MAX_LINE_BYTES + json.dumps(device("b")).encode() + b"\n",
    "kind missing": without(device("b"), "kind"),
    "kind unknown": device("b", kind="gateway"),
    "kind no string": device("b", kind=["device"]),
    "id missing": without(device("b"), "id"),
    "id empty": device(""),
    "id too long": device("x" * 65),
    "id with a slash": device("a/b"),
    "id with a line break": device("a\n"),
    "id not ASCII": device("gerät"),
    "id a number": device(7),
    "id reserved: gateway": device("gateway"),
    "id reserved: .": device("."),
    "id reserved: ..": device(".."),
    "fleet too long": device("b", fleet="x" * 33),
    "fleet reserved": device("b", fleet="gateway"),
    "fleet null": device("b", fleet=None),
    "alg unknown": device("b", alg="EdDSA"),
    "alg in lower case": device("b", alg="ed25519"),
    "status unknown": device("b", status="Active"),
    "status missing": without(device("b"), "status"),
    "a device with a log": device("b", log="securenet/plant/b"),
    "a miner without a log": without(miner("b"), "log"),
    "a log with a space": miner("b", log="a b"),
    "an empty log": miner("b", log=""),
    "an unknown member": device("b", note="hello"),
    "key without padding": device("b", public_key=b64(ED25519).rstrip("=")),
    "key in base64url": device("b", public_key=b64(b"\xfb" * 32).replace("+", "-").replace("/", "_")),
    "key with a line break": device("b", public_key=b64(ED25519) + "\n"),
    "key not canonical base64": device("b", public_key=b64(ED25519)[:-2] + "p="),
    "key of 31 bytes": device("b", public_key=b64(ED25519[:31])),
    "key of the other algorithm": device("b", alg="ES256"),
    "key compressed": device("b", alg="ES256", public_key=b64(b"\x02" + P256[1:33])),
    "key hybrid": device("b", alg="ES256", public_key=b64(b"\x07" + P256[1:])),
    "key off P-256": device("b", alg="ES256", public_key=b64(P256[:-1] + b"\xf4")),
    "key at infinity": device("b", alg="ES256", public_key=b64(b"\x04" + bytes(64))),
    "key off Ed25519": device("b", public_key=b64((2).to_bytes(32, "little"))),
    "key of order 1": device("b", public_key=b64((1).to_bytes(32, "little"))),
    "key of order 4": device("b", public_key=b64(bytes(32))),
    "key not canonical": device("b", public_key=b64((P + 3).to_bytes(32, "little"))),
    "an id twice": device("dev-1"),
    "a miner with the id of a device": miner("dev-1"),
}


@pytest.mark.parametrize("bad", REFUSED.values(), ids=REFUSED.keys())
def test_one_line_that_does_not_hold_refuses_the_file_by_its_number(path, bad):
    write(path, device("dev-1"), b"\n", bad, device("dev-9"))
    with pytest.raises(RegistryError) as caught:
        load_registry(path)
    assert caught.value.line == 3
    assert caught.value.hint
    assert str(caught.value).isprintable()


def test_a_key_of_mixed_order_is_not_refused(path):
    """FORMATS.md §1 refuses small order, and that is all: a subgroup test would refuse more."""
    from nacl.bindings import crypto_core_ed25519_add  # noqa: PLC0415 -- for this one point

    order_8 = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
    mixed = crypto_core_ed25519_add(ED25519, order_8)
    assert load_registry(write(path, device(public_key=b64(mixed)))).device("dev-1").key.data == mixed


def test_the_first_bad_line_is_named(path):
    off_curve = b64((2).to_bytes(32, "little"))
    lines = [device(f"d-{number}") for number in range(1100)]
    lines[3]["public_key"] = lines[1050]["public_key"] = off_curve
    lines[7]["status"] = "gone"
    with pytest.raises(RegistryError) as caught:
        load_registry(write(path, *lines))
    assert (caught.value.line, "off the curve" in caught.value.problem) == (4, True)


def test_a_missing_file_and_a_directory_are_refused_as_a_whole(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(RegistryError) as caught:
            load_registry(path)
        assert caught.value.line == 0


def test_a_bad_reload_keeps_the_snapshot_in_force_and_a_good_one_swaps_it(path):
    registry = FileRegistry(write(path, device()))
    with pytest.raises(RuntimeError, match="not loaded"):
        _ = registry.snapshot
    first = registry.load()
    write(path, device(), b"junk\n")
    result = registry.reload()
    assert (result.ok, result.error.line) == (False, 2)
    assert registry.snapshot is result.snapshot is first
    write(path, device(status="revoked"))
    assert registry.reload().ok
    assert registry.snapshot.device("dev-1").status is Status.REVOKED
    assert first.device("dev-1").status is Status.ACTIVE


def test_a_failed_first_load_leaves_nothing_in_force(path):
    registry = FileRegistry(write(path, b"junk\n"))
    with pytest.raises(RegistryError):
        registry.load()
    with pytest.raises(RuntimeError):
        _ = registry.snapshot


def test_many_devices_stay_small_in_memory(path):
    """A device costs its dict entry, its id, and its key with two bytes in front; no object of its own."""
    snapshot = load_registry(write(path, *(device(f"d-{number}") for number in range(2000))))
    packed = list(snapshot._devices.values())
    assert {type(value) for value in packed} == {bytes}
    assert {len(value) for value in packed} == {34}
    assert len(snapshot._traits) == 1


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (REFUSED["key not canonical base64"], "canonical base64"),
        (REFUSED["key in base64url"], "not base64"),
        (REFUSED["key of order 4"], "small order"),
        (REFUSED["key not canonical"], "non-canonical"),
        (REFUSED["a member twice, escaped"], "stands twice"),
        (REFUSED["an id twice"], "stands twice"),
        (REFUSED["a line too long"], "longer than"),
        (REFUSED["id reserved: gateway"], "is not an id"),
    ],
)
def test_the_problem_is_the_one_that_was_made(path, bad, words):
    with pytest.raises(RegistryError, match=words):
        load_registry(write(path, device("dev-1"), bad))


def attempt(expected, call, *arguments):
    """What ``call`` returned, or the ``expected`` exception; any other one gets through."""
    try:
        return call(*arguments)
    except expected as error:
        return error


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)
NEARLY = st.builds(
    lambda base, changes, gone: {k: v for k, v in {**base, **changes}.items() if k not in gone},
    st.sampled_from([device(), miner()]),
    st.dictionaries(st.sampled_from([*miner(), "x"]), VALUES | st.sampled_from(["device", "miner", b64(P256)])),
    st.sets(st.sampled_from([*miner()]), max_size=1),
)


@given(st.binary(max_size=200) | NEARLY.map(lambda line: json.dumps(line).encode()))
def test_any_line_is_parsed_blank_or_refused_and_nothing_else(line):
    outcome = attempt(LineRefused, parse_line, line)
    if isinstance(outcome, LineRefused):
        assert outcome.problem.isprintable()
        assert outcome.hint.isprintable()
    else:
        assert outcome is None or len(outcome.key) == (32 if outcome.alg is Alg.ED25519 else 65)


@given(st.lists(st.binary(max_size=100) | NEARLY.map(lambda line: json.dumps(line).encode()), max_size=4))
def test_any_file_is_a_snapshot_or_a_registry_error(lines):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "registry.jsonl"
        path.write_bytes(b"\n".join(lines))
        outcome = attempt(RegistryError, load_registry, path)
    if isinstance(outcome, RegistryError):
        assert 1 <= outcome.line <= b"\n".join(lines).count(b"\n") + 1
    else:
        assert outcome.counts.devices + outcome.counts.miners <= len(lines)
