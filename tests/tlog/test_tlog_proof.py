"""The proof file and its text: what is written is read, and what is read otherwise is refused by name."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st
from tlog_world import DEVICE_KEY, Log, proof_of

from gateway.crypto.keys import PublicKey
from gateway.message import Alg
from gateway.tlog import proof, tlog_proof
from gateway.tlog.checkpoint import CheckpointError
from gateway.tlog.proof import ProofError, ProofFailure
from gateway.tlog.tlog_proof import TlogProofError

PLAIN = proof_of()
ANCHORED = proof_of(anchored=8)
TEXT = PLAIN.tlog_proof.text


def test_the_text_has_the_shape_of_the_specification():
    lines = TEXT.split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 3"]
    assert [len(base64.b64decode(line)) for line in lines[2:6]] == [32] * 4
    assert lines[6] == ""
    assert "\n".join(lines[7:]).encode() == PLAIN.tlog_proof.note


@given(st.integers(1, 300), st.data())
def test_a_tlog_proof_is_read_back_as_written(size, data):
    index = data.draw(st.integers(0, size - 1))
    log = Log(b"entry", index, size)
    made = tlog_proof.prove(log, index, log.note(size))._replace(extra=data.draw(st.none() | st.binary(max_size=9)))
    assert tlog_proof.decode(made.text) == made
    assert tlog_proof.decode(made.text).text == made.text


HASH = base64.b64encode(bytes(32)).decode()
NOTE = PLAIN.tlog_proof.note.decode()
FIRST = tlog_proof.FORMAT
REFUSED_TEXTS = {
    "nothing": "",
    "another version": TEXT.replace("@v1", "@v2"),
    "no first line": TEXT.partition("\n")[2],
    "no blank line": TEXT.replace("\n\n", "\n"),
    "no index": f"{FIRST}\n\n{NOTE}",
    "a hash for the index": f"{FIRST}\n{HASH}\n\n{NOTE}",
    "a bare number": f"{FIRST}\n3\n\n{NOTE}",
    "a leading zero": f"{FIRST}\nindex 03\n\n{NOTE}",
    "a negative index": f"{FIRST}\nindex -3\n\n{NOTE}",
    "Arabic digits": f"{FIRST}\nindex \u0663\n\n{NOTE}",
    "an index of 64 bits": f"{FIRST}\nindex {1 << 63}\n\n{NOTE}",
    "extra behind the index": f"{FIRST}\nindex 3\nextra AA==\n\n{NOTE}",
    "extra twice": f"{FIRST}\nextra AA==\nextra AA==\nindex 3\n\n{NOTE}",
    "extra that is no base64": f"{FIRST}\nextra !\nindex 3\n\n{NOTE}",
    "extra alone": f"{FIRST}\nextra AA==\n\n{NOTE}",
    "a hash without padding": f"{FIRST}\nindex 3\n{HASH[:-1]}\n\n{NOTE}",
    "a hash of 31 bytes": f"{FIRST}\nindex 3\n{base64.b64encode(bytes(31)).decode()}\n\n{NOTE}",
    "64 hashes": f"{FIRST}\nindex 3\n{(HASH + chr(10)) * 64}\n{NOTE}",
    "carriage returns": TEXT.replace("\n", "\r\n"),
    "a lone surrogate": f"{FIRST}\nindex 3\n\n{NOTE}\ud800",
    "too long": f"{FIRST}\nextra {'A' * (1 << 18)}\nindex 3\n\n{NOTE}",
}


@pytest.mark.parametrize("name", REFUSED_TEXTS)
def test_what_is_no_tlog_proof_is_refused(name):
    with pytest.raises(TlogProofError):
        tlog_proof.decode(REFUSED_TEXTS[name])


def test_the_checkpoint_in_a_tlog_proof_is_read_as_strictly():
    assert tlog_proof.decode(f"{FIRST}\nindex 3\n\n{NOTE}").hashes == ()
    with pytest.raises(CheckpointError):
        tlog_proof.decode(TEXT[:-1])


@pytest.mark.parametrize("anchored", [None, 4, 8, 11, 300])
def test_a_proof_file_is_read_back_as_written(anchored):
    made = proof_of(anchored=anchored)
    data = proof.dump(made)
    assert proof.parse(data) == made
    assert proof.dump(proof.parse(data)) == data
    assert json.loads(data) == proof.build(made)


def test_the_members_are_those_of_the_format():
    document = proof.build(ANCHORED)
    assert list(document) == [
        *("type", "envelope", "entry", "tlog_proof", "device_key", "log_key", "consistency", "anchor"),
    ]
    assert document["type"] == "securenet.proof/1"
    assert document["device_key"] == {"alg": "Ed25519", "key": base64.b64encode(DEVICE_KEY.data).decode()}
    assert document["anchor"]["contract"] == "0x" + "c0" * 20
    assert document["anchor"]["size"] == 8
    assert document["log_key"].startswith("securenet/fleet-a/gw-1+")


def test_a_p256_key_is_carried_as_its_65_bytes():
    point = ec.derive_private_key(7, ec.SECP256R1()).public_key().public_numbers()
    made = PLAIN._replace(
        device_key=PublicKey(Alg.ES256, b"\x04" + point.x.to_bytes(32, "big") + point.y.to_bytes(32, "big"))
    )
    assert proof.parse(proof.dump(made)).device_key == made.device_key


def changed(path, value):
    document = json.loads(json.dumps(proof.build(ANCHORED)))
    target = document
    for name in path[:-1]:
        target = target[name]
    if value is ...:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return json.dumps(document).encode()


OFF_CURVE = base64.b64encode(b"\x02" + bytes(31)).decode()
REFUSED_FILES = {
    "too long": (b" " * (proof.PROOF_BYTES_MAX + 1), "proof-too-large"),
    "nothing": (b"", "proof-not-json"),
    "no UTF-8": (b"\xff", "proof-not-json"),
    "a byte order mark": (b"\xef\xbb\xbf" + proof.dump(PLAIN), "proof-not-json"),
    "two documents": (b"{}{}", "proof-not-json"),
    "nested deeply": (b"[" * 100_000, "proof-not-json"),
    "thousands of digits": (b"9" * 5000, "proof-not-json"),
    "a list": (b"[]", "proof-members"),
    "null": (b"null", "proof-members"),
    "a member twice": (b'{"type":"securenet.proof/1",' + proof.dump(PLAIN)[1:], "proof-members"),
    "a member twice, escaped": (b'{"\\u0074ype":"securenet.proof/1",' + proof.dump(PLAIN)[1:], "proof-members"),
    "a member too many": (changed(["more"], 1), "proof-members"),
    "a member too few": (changed(["anchor"], ...), "proof-members"),
    "another type": (changed(["type"], "securenet.proof/2"), "proof-value"),
    "NaN": (b'{"type":NaN}', "proof-value"),
    "a float": (changed(["anchor", "size"], 8.0), "proof-value"),
    "an envelope that is no text": (changed(["envelope"], 5), "proof-value"),
    "an envelope in base64url": (changed(["envelope"], "-_-_"), "proof-value"),
    "an envelope without padding": (changed(["envelope"], "AAA"), "proof-value"),
    "an entry with a newline": (changed(["entry"], "AAAA\n"), "proof-value"),
    "an entry with a lone surrogate": (changed(["entry"], "\ud800"), "proof-value"),
    "no tlog-proof": (changed(["tlog_proof"], "index 3"), "tlog-proof-malformed"),
    "a tlog-proof with a lone surrogate": (changed(["tlog_proof"], TEXT + "\ud800"), "tlog-proof-malformed"),
    "a broken checkpoint": (changed(["tlog_proof"], TEXT[:-1]), "tlog-proof-malformed"),
    "a device key that is a text": (changed(["device_key"], "AAAA"), "proof-members"),
    "a device key with more": (changed(["device_key", "id"], "x"), "proof-members"),
    "an unknown algorithm": (changed(["device_key", "alg"], "RS256"), "proof-value"),
    "an algorithm that is a list": (changed(["device_key", "alg"], []), "proof-value"),
    "a key of 31 bytes": (changed(["device_key", "key"], base64.b64encode(bytes(31)).decode()), "proof-value"),
    "a key of small order": (changed(["device_key", "key"], base64.b64encode(bytes(32)).decode()), "proof-value"),
    "a key off the curve": (
        changed(["device_key", "key"], OFF_CURVE),
        "proof-value",
    ),
    "a key of the other algorithm": (changed(["device_key", "alg"], "ES256"), "proof-value"),
    "a log key that is none": (changed(["log_key"], "a+b+c"), "proof-value"),
    "consistency that is a text": (changed(["consistency"], "AAAA"), "proof-value"),
    "a short hash": (changed(["consistency"], ["AAAA"]), "proof-value"),
    "a hundred and twenty-eight hashes": (changed(["consistency"], [HASH] * 128), "proof-value"),
    "consistency with nothing": (changed(["anchor"], None), "proof-value"),
    "an anchor that is a text": (changed(["anchor"], "0x"), "proof-members"),
    "an anchor with less": (changed(["anchor", "log_id"], ...), "proof-members"),
    "upper-case hex": (changed(["anchor", "root"], "0x" + "AB" * 32), "proof-value"),
    "hex without 0x": (changed(["anchor", "root"], "ab" * 33), "proof-value"),
    "0x twice": (changed(["anchor", "contract"], "0x0x" + "ab" * 19), "proof-value"),
    "short hex": (changed(["anchor", "tx_hash"], "0x" + "ab" * 31), "proof-value"),
    "hex with a space": (changed(["anchor", "contract"], "0x" + "ab" * 19 + "a "), "proof-value"),
    "a number for hex": (changed(["anchor", "root"], 5), "proof-value"),
    "a text for a number": (changed(["anchor", "chain_id"], "1"), "proof-value"),
    "true for a number": (changed(["anchor", "block_number"], True), "proof-value"),
    "a negative size": (changed(["anchor", "size"], -1), "proof-value"),
    "a size of 64 bits": (changed(["anchor", "size"], 1 << 63), "proof-value"),
}


@pytest.mark.parametrize("name", REFUSED_FILES)
def test_what_is_no_proof_file_is_refused_by_name(name):
    data, failure = REFUSED_FILES[name]
    with pytest.raises(ProofError) as refused:
        proof.parse(data)
    assert refused.value.failure == ProofFailure(failure)


def test_the_changes_above_are_all_that_is_wrong_with_those_files():
    assert proof.parse(changed(["anchor", "size"], 8)) == ANCHORED
    assert proof.parse(b" \n" + proof.dump(PLAIN)) == PLAIN


@given(st.binary(max_size=60))
@example(b'{"type":"securenet.proof/1"}')
def test_arbitrary_bytes_never_raise_anything_but_proof_error(data):
    with pytest.raises(ProofError):
        proof.parse(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda v: st.lists(v, max_size=3)
)


@given(st.sampled_from(list(proof.build(ANCHORED))), JSON)
def test_any_other_value_of_any_member_never_raises_anything_but_proof_error(name, value):
    try:
        read = proof.parse(changed([name], value))
    except ProofError:
        return
    assert proof.build(read)[name] == value
