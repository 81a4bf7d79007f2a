"""docs/spec/envelope.md shows what the code takes: examples are made anew, details are all there."""

import json
import re
from pathlib import Path

import pytest
from envelope_kit import SAID, b64, cose, digest, headers, jws_header, jws_members, protected_map, sig_structure
from nacl.signing import SigningKey

from gateway.crypto.keys import parse_public_key, verify
from gateway.envelope.decoding import decode
from gateway.message import Alg, Envelope

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "spec" / "envelope.md").read_text()
EXAMPLES = dict(re.findall(r"^```text example (\S+)\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL))
KEY = SigningKey(bytes(range(32)))


def made():
    """The examples, by an encoder and a signer that share nothing with the gateway's."""
    said = SAID.but(
        content_format=110,
        session=bytes.fromhex("8d5ab20e71c3f649"),
        seq=1,
        payload=b'[{"n":"temperature","u":"Cel","v":21.5}]',
    )
    protected = protected_map(headers(said))
    signing_input = sig_structure(protected, said.payload)
    header = json.dumps(jws_header(said), separators=(",", ":"))
    members = jws_members(header.encode(), said)
    jws_input = f"{members['protected']}.{members['payload']}".encode()
    members["signature"] = b64(KEY.sign(jws_input).signature)
    return {
        "seed": bytes(KEY).hex(),
        "public-key": bytes(KEY.verify_key).hex(),
        "payload": said.payload.decode(),
        "cose-protected": protected.hex(),
        "cose-signing-input": signing_input.hex(),
        "cose": cose(said.but(signature=KEY.sign(signing_input).signature)).hex(),
        "cose-digest": digest(signing_input).hex(),
        "jws-protected": header,
        "jws": json.dumps(members, separators=(",", ":")),
        "jws-digest": digest(jws_input).hex(),
    }


MADE = made()


def test_the_page_has_every_example_and_no_other():
    assert set(EXAMPLES) == set(MADE)


@pytest.mark.parametrize("name", MADE)
def test_the_example_is_made_byte_for_byte(name):
    assert EXAMPLES[name].replace("\n", "") == MADE[name]


@pytest.mark.parametrize("encoding", ["cose", "jws"])
def test_the_gateway_takes_the_example_and_its_signature_holds(encoding):
    text = EXAMPLES[encoding].replace("\n", "")
    envelope = decode(bytes.fromhex(text) if encoding == "cose" else text.encode(), None, max_bytes=65536)
    assert isinstance(envelope, Envelope)
    assert envelope.payload.decode() == EXAMPLES["payload"]
    assert envelope.digest.hex() == EXAMPLES[f"{encoding}-digest"]
    key = parse_public_key(Alg.ED25519, bytes.fromhex(EXAMPLES["public-key"]))
    assert verify(key, envelope.signing_input, envelope.signature)


def test_the_page_names_every_detail_of_malformed():
    sources = "".join(path.read_text() for path in (ROOT / "gateway" / "envelope").glob("*.py"))
    details = set(re.findall(r'(?:Malformed\(|RejectReason\.MALFORMED, )"([^"]+)"', sources))
    assert len(details) > 20
    assert {detail for detail in details if detail not in PAGE} == set()
