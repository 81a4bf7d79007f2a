import json

from envelope_kit import MAX_BYTES, Said, bstr, cmap, cose, f64, head, jws, jws_header, jws_members, tstr, u
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.envelope.decoding import decode
from gateway.message import Encoding, Envelope, Rejected, RejectReason

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"
RESERVED = {".", "..", "gateway"}


def ids(length):
    return st.text(ALPHABET, min_size=1, max_size=length).filter(lambda text: text not in RESERVED)


SAID = st.builds(
    Said,
    device_id=ids(64),
    fleet=ids(32),
    content_format=st.sampled_from([42, 50, 60, 110, 112]),
    issued_at=st.integers(0, 2**53 - 1) | st.floats(0, 2**53, exclude_max=True),
    session=st.binary(min_size=8, max_size=8),
    seq=st.integers(0, 2**63 - 1),
    payload=st.binary(max_size=300),
    signature=st.binary(max_size=70),
)
SIZES = st.sampled_from([1, 2, 4, 8])


def decoded(data):
    return decode(data, None, max_bytes=MAX_BYTES)


def facts_of(envelope):
    return Said(
        envelope.device_id,
        envelope.fleet,
        envelope.content_format,
        envelope.issued_at,
        envelope.session,
        envelope.seq,
        envelope.payload,
        envelope.signature,
    )


@given(SAID)
def test_cose_gives_back_what_was_said(said):
    assert facts_of(decoded(cose(said))) == said


@given(SAID)
def test_jws_gives_back_what_was_said(said):
    assert facts_of(decoded(jws(said))) == said


@given(SAID, st.permutations([1, 3, 4, 15]), st.permutations([3, 6, 7]), st.lists(SIZES, min_size=14, max_size=14))
def test_any_order_and_any_longer_head_in_the_protected_header_says_the_same(said, order, claim_order, sizes):
    longer = iter(sizes)

    def item(major, argument):
        size = next(longer)
        return head(major, argument, size if argument < 1 << 8 * size else 8)

    cti = said.session + said.seq.to_bytes(8, "big")
    claims = {
        3: item(3, len(said.fleet)) + said.fleet.encode(),
        6: u(said.issued_at, 8) if isinstance(said.issued_at, int) else f64(said.issued_at),
        7: item(2, 16) + cti,
    }
    made = {
        1: item(1, 7),
        3: item(0, said.content_format),
        4: item(2, len(said.device_id)) + said.device_id.encode(),
        15: cmap([(item(0, label), claims[label]) for label in claim_order]),
    }
    protected = cmap([(item(0, label), made[label]) for label in order], next(longer))
    data = b"\xd2\x84" + bstr(protected) + b"\xa0" + bstr(said.payload) + bstr(said.signature)
    envelope = decoded(data)
    assert facts_of(envelope) == said
    assert envelope.signing_input == b"\x84" + tstr("Signature1") + bstr(protected) + b"\x40" + bstr(said.payload)


def edits(data):
    """Bytes at a place of ``data`` taken away and others put there."""
    return st.tuples(st.integers(0, len(data)), st.integers(0, 3), st.binary(max_size=3)).map(
        lambda edit: data[: edit[0]] + edit[2] + data[edit[0] + edit[1] :]
    )


@settings(max_examples=400)
@given(st.data())
def test_an_accepted_mutation_has_the_same_signing_input_or_another_digest(data):
    original = data.draw(st.sampled_from([cose(), jws()]))
    mutated = data.draw(edits(original))
    before, after = decoded(original), decoded(mutated)
    assert isinstance(before, Envelope)
    if isinstance(after, Rejected):
        assert after.reason is RejectReason.MALFORMED
        return
    assert (before.signing_input == after.signing_input) == (before.digest == after.digest)
    if before.digest == after.digest:
        assert before._replace(signature=after.signature) == after


@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\xd2", b"\xd2\x84", b"{", b'{"protected":"']))
@example(b"", b"")
def test_decoding_never_raises_and_never_accepts_noise(noise, start):
    verdict = decoded(start + noise)
    assert isinstance(verdict, Rejected)
    assert verdict.reason is RejectReason.MALFORMED


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(jws_header())), JSON)
def test_any_json_in_a_header_gives_an_envelope_or_malformed(name, value):
    verdict = decoded(json.dumps(jws_members(jws_header() | {name: value})).encode())
    assert isinstance(verdict, Envelope) or verdict.reason is RejectReason.MALFORMED


@given(st.text(max_size=40))
def test_a_detail_never_repeats_what_the_device_wrote(text):
    for name in ("kid", "aud", "cty", "sid", "alg"):
        header = jws_header() | {name: f"\x00{text}\x00"}
        verdict = decoded(json.dumps(jws_members(header | {"x": 1} if name == "alg" else header)).encode())
        assert verdict.detail in {
            "a member is unknown or missing",
            "the device id is outside the alphabet or reserved",
            "the fleet id is outside the alphabet or reserved",
            "the content type is none of the five",
            "not base64url",
            "not base64url, or not its only form",
        }


@given(SAID)
def test_the_declared_type_changes_nothing_when_it_agrees(said):
    assert decode(cose(said), Encoding.COSE, max_bytes=MAX_BYTES) == decoded(cose(said))
    assert decode(jws(said), Encoding.JWS, max_bytes=MAX_BYTES) == decoded(jws(said))
