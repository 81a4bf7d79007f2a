"""Public vectors. None is a device message: each is refused as one, its signature held to its expectation."""

import base64
import json
from pathlib import Path

import pytest

from gateway import cbor
from gateway.crypto.keys import parse_public_key, verify
from gateway.envelope import cose, jws
from gateway.envelope.decoding import decode
from gateway.message import Alg, RejectReason

VECTORS = Path(__file__).parent.parent / "vectors"
EXAMPLES = {
    path.relative_to(VECTORS / "cose").with_suffix("").as_posix(): path for path in VECTORS.glob("cose/*/*.json")
}

HOLDS = "the signature holds over our Sig_structure"
BROKEN = "the signature does not hold"
EXTERNAL = "signed with external data, which a device message never has: it does not hold"
EMPTY = "an empty protected header is signed as zero bytes (RFC 9052 §4.4); a device message never has one"
OTHER_KEY = "the key is none that can be registered"
OTHER_ALG = "a key of ours with an algorithm that is not: it does not hold"

# Every COSE_Sign1 among the examples, by name; the rest have another shape.
SIGN1 = {
    "CWT/A_3": HOLDS,
    "RFC8152/Appendix_C_2_1": HOLDS,
    "countersign1/signed1-01": HOLDS,
    "ecdsa-examples/ecdsa-sig-01": HOLDS,
    "ecdsa-examples/ecdsa-sig-02": OTHER_KEY,
    "ecdsa-examples/ecdsa-sig-03": OTHER_KEY,
    "ecdsa-examples/ecdsa-sig-04": OTHER_ALG,
    "eddsa-examples/eddsa-sig-01": HOLDS,
    "eddsa-examples/eddsa-sig-02": OTHER_KEY,
    "sign1-tests/sign-fail-01": HOLDS,  # what fails is its tag
    "sign1-tests/sign-fail-02": BROKEN,
    "sign1-tests/sign-fail-03": BROKEN,
    "sign1-tests/sign-fail-04": BROKEN,
    "sign1-tests/sign-fail-06": BROKEN,
    "sign1-tests/sign-fail-07": BROKEN,
    "sign1-tests/sign-pass-01": EMPTY,
    "sign1-tests/sign-pass-02": EXTERNAL,
    "sign1-tests/sign-pass-03": HOLDS,  # untagged, which a device message may not be
}
FIRST_BYTE = "the first byte is neither that of a COSE_Sign1 nor that of a JWS"
UNPROTECTED = "the unprotected header is not the empty map"
HEADERS = "not a map of the required headers or claims, no more and no fewer"


def octets(jwk, name):
    if f"{name}_hex" in jwk:
        return bytes.fromhex(jwk[f"{name}_hex"])
    return base64.urlsafe_b64decode(jwk[name] + "=" * (-len(jwk[name]) % 4))


def key_of(jwk):
    """The key of a vector, None when it is of another curve."""
    if jwk["crv"] == "P-256":
        return parse_public_key(Alg.ES256, b"\x04" + octets(jwk, "x") + octets(jwk, "y"))
    return parse_public_key(Alg.ED25519, octets(jwk, "x")) if jwk["crv"] == "Ed25519" else None


def items(data):
    """The four items of a COSE_Sign1, tagged as the example pleases."""
    return cbor.decode(data[data.index(b"\x84") :], max_depth=4, deterministic=False)


def test_every_sign1_example_has_its_expectation():
    names = {name for name, path in EXAMPLES.items() if "sign0" in json.loads(path.read_text())["input"]}
    assert names == set(SIGN1)


@pytest.mark.parametrize("name", SIGN1)
def test_the_signature_of(name):
    example = json.loads(EXAMPLES[name].read_text())
    protected, _, payload, signature = items(bytes.fromhex(example["output"]["cbor"]))
    signing_input = cose.sig_structure(cbor.encode(protected), cbor.encode(payload))
    expectation = SIGN1[name]
    if expectation in (HOLDS, OTHER_KEY, OTHER_ALG):
        assert signing_input.hex() == example["intermediates"]["ToBeSign_hex"].lower()
    key = key_of(example["input"]["sign0"]["key"])
    assert (key is None) == (expectation is OTHER_KEY)
    if key is not None:
        assert verify(key, signing_input, signature) == (expectation is HOLDS)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_it_is_no_device_message(name):
    data = bytes.fromhex(json.loads(EXAMPLES[name].read_text())["output"]["cbor"])
    refused = decode(data, None, max_bytes=65536)
    assert refused.reason is RejectReason.MALFORMED
    if data[0] != 0xD2:
        assert refused.detail == FIRST_BYTE
    elif name == "CWT/A_3":
        assert refused.detail == HEADERS
    else:
        assert refused.detail == UNPROTECTED


@pytest.mark.parametrize("name", ["rfc7515-a3", "rfc8037-a4"])
def test_the_jws_of(name):
    vector = json.loads((VECTORS / "jose" / f"{name}.json").read_text())
    members = vector["jws"]
    protected, header = jws.base64url(members["protected"])
    payload, _ = jws.base64url(members["payload"])
    _, signature = jws.base64url(members["signature"])
    key = key_of(vector["jwk"])
    assert json.loads(header) == {"alg": {Alg.ES256: "ES256", Alg.ED25519: "EdDSA"}[key.alg]}
    assert verify(key, jws.jws_signing_input(protected, payload), signature)
    assert not verify(key, jws.jws_signing_input(protected, payload) + b"x", signature)
    assert decode(json.dumps(members).encode(), None, max_bytes=65536).detail == "a member is unknown or missing"
