import hashlib
import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from vault_kit import (
    DATA_KEY,
    HYBRID,
    MODEL_ID,
    PLAIN,
    PRIVATE_KEYS,
    PUBLISHER,
    RECIPIENTS,
    VERSION,
    manifest_of,
    secret,
    signed,
)

from gateway.crypto.keys import parse_public_key
from gateway.message import Alg
from gateway.vault.bundle import Named, Opening, admit_manifest, data_key, open_bundle
from gateway.vault.cipher import CHUNK_BYTES, HEADER_BYTES
from gateway.vault.manifest import Plaintext, manifest_sha256
from gateway.vault.refusal import ModelRefusal, ModelRefused
from gateway.vault.wrap import wrap_for

MODEL = b"a model of forty-two bytes, give or take."
CIPHERTEXT = secret(MODEL)
MANIFEST = manifest_of(MODEL, CIPHERTEXT)
ENVELOPE, NAMED = signed(MANIFEST)


def opened(envelope=ENVELOPE, ciphertext=CIPHERTEXT, gateway=PLAIN, **changes):
    """The bundle, opened; the manifest is taken as named unless ``named`` says otherwise."""
    pieces = [ciphertext] if isinstance(ciphertext, bytes) else ciphertext
    arguments = {
        "named": Named(MODEL_ID, VERSION, manifest_sha256(envelope)),
        "publisher": PUBLISHER,
        "private_key": PRIVATE_KEYS[gateway],
        "gateway_id": gateway,
    }
    return open_bundle(envelope, pieces, **(arguments | changes))


def refusal(*arguments, **changes):
    with pytest.raises(ModelRefused) as caught:
        opened(*arguments, **changes)
    return caught.value.reason


def refusal_of_ciphertext(manifest, ciphertext):
    opening = Opening(manifest, DATA_KEY)

    def all_of_it():
        opening.update(ciphertext)
        return opening.finish()

    with pytest.raises(ModelRefused) as caught:
        all_of_it()
    return caught.value.reason


def remade(model=MODEL, ciphertext=CIPHERTEXT, **changes):
    """The envelope of a manifest that its publisher made otherwise."""
    return signed(manifest_of(model, ciphertext, **changes))[0]


@pytest.mark.parametrize("gateway", [PLAIN, HYBRID])
def test_a_recipient_opens_the_bundle(gateway):
    bundle = opened(gateway=gateway)
    assert (bundle.plaintext, bundle.manifest, bundle.manifest_sha256) == (MODEL, MANIFEST, NAMED.manifest_sha256)


@pytest.mark.parametrize("size", [1, CHUNK_BYTES - 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 1])
@pytest.mark.parametrize("piece", [7000, 16384, 1 << 20])
def test_the_ciphertext_may_come_in_any_pieces(size, piece):
    model = hashlib.shake_256(b"m").digest(size)
    ciphertext = secret(model)
    pieces = [ciphertext[at : at + piece] for at in range(0, len(ciphertext), piece)]
    assert opened(remade(model, ciphertext), pieces).plaintext == model


def test_every_bit_of_the_manifest_counts_and_the_reason_has_a_name():
    reasons = set()
    for at in range(len(ENVELOPE)):
        for change in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            altered = bytearray(ENVELOPE)
            altered[at] ^= change
            reasons.add(refusal(bytes(altered)))
    assert reasons == {ModelRefusal.MANIFEST_MALFORMED, ModelRefusal.MANIFEST_SIGNATURE}


def test_every_bit_of_the_manifest_counts_already_for_its_name_on_the_chain():
    for at in range(len(ENVELOPE)):
        altered = bytearray(ENVELOPE)
        altered[at] ^= 1
        assert refusal(bytes(altered), named=NAMED) is ModelRefusal.MANIFEST_DIGEST


def test_every_value_of_every_byte_of_the_ciphertext_counts_and_the_reason_has_a_name():
    for at in range(len(CIPHERTEXT)):
        expected = ModelRefusal.KEY_COMMITMENT if at < HEADER_BYTES else ModelRefusal.CIPHERTEXT_ALTERED
        for change in range(1, 256):
            altered = bytearray(CIPHERTEXT)
            altered[at] ^= change
            assert refusal_of_ciphertext(MANIFEST, bytes(altered)) is expected


def test_every_byte_of_a_ciphertext_of_three_chunks_counts():
    model = hashlib.shake_256(b"m").digest(2 * CHUNK_BYTES + 100)
    ciphertext = secret(model)
    manifest = manifest_of(model, ciphertext)
    for at in itertools.chain(
        range(200), range(200, len(ciphertext), 17), range(len(ciphertext) - 150, len(ciphertext))
    ):
        altered = bytearray(ciphertext)
        altered[at] ^= 0x40
        expected = ModelRefusal.KEY_COMMITMENT if at < HEADER_BYTES else ModelRefusal.CIPHERTEXT_ALTERED
        assert refusal_of_ciphertext(manifest, bytes(altered)) is expected


def test_a_byte_less_at_any_end_is_refused():
    for end in range(len(CIPHERTEXT)):
        assert refusal(ciphertext=CIPHERTEXT[:end]) is ModelRefusal.CIPHERTEXT_TRUNCATED


def test_a_byte_that_is_missing_or_too_much_in_the_middle_is_refused():
    for at in range(len(CIPHERTEXT)):
        reasons = {
            refusal(ciphertext=CIPHERTEXT[:at] + CIPHERTEXT[at + 1 :]),
            refusal(ciphertext=CIPHERTEXT[:at] + b"\x00" + CIPHERTEXT[at:]),
        }
        assert ModelRefusal.CIPHERTEXT_EXTENDED in reasons
        assert reasons <= {
            ModelRefusal.CIPHERTEXT_EXTENDED,
            ModelRefusal.CIPHERTEXT_TRUNCATED,
            ModelRefusal.KEY_COMMITMENT,
        }


def test_an_endless_source_is_left_after_as_many_bytes_as_the_manifest_names():
    asked = []

    def endless():
        yield CIPHERTEXT
        while True:
            asked.append(1)
            yield bytes(1000)

    assert refusal(ciphertext=endless()) is ModelRefusal.CIPHERTEXT_EXTENDED
    assert len(asked) == 1


def test_a_gateway_without_a_wrap_is_no_recipient():
    assert refusal(gateway_id="gw-3") is ModelRefusal.NOT_A_RECIPIENT
    assert refusal(remade(wrapped={})) is ModelRefusal.NOT_A_RECIPIENT


def test_a_key_that_is_not_the_recipients_does_not_open():
    assert refusal(private_key=X25519PrivateKey.from_private_bytes(b"\x01" * 32)) is ModelRefusal.WRAP_FAILED
    assert refusal(private_key=PRIVATE_KEYS[HYBRID]) is ModelRefusal.WRAP_FAILED


def test_a_wrap_of_another_gateway_version_or_ciphertext_does_not_open():
    digest = hashlib.sha256(CIPHERTEXT).digest()
    for model_id, version, sha256 in (
        ("pump-vibratiom", VERSION, digest),
        (MODEL_ID, VERSION - 1, digest),
        (MODEL_ID, VERSION, bytes(32)),
    ):
        assert refusal(remade(wrapped=wrap_for(RECIPIENTS, DATA_KEY, model_id, version, sha256))) is (
            ModelRefusal.WRAP_FAILED
        )
    swapped = wrap_for({HYBRID: RECIPIENTS[PLAIN]}, DATA_KEY, MODEL_ID, VERSION, digest)
    assert refusal(remade(wrapped={PLAIN: swapped[HYBRID]})) is ModelRefusal.WRAP_FAILED


def test_another_publisher_is_refused():
    other = parse_public_key(
        Alg.ED25519, bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    )
    assert refusal(publisher=other) is ModelRefusal.MANIFEST_SIGNATURE


def test_a_good_manifest_of_another_model_or_version_is_refused():
    for changes in ({"model_id": "pump-vibratiom"}, {"version": VERSION - 1}):
        assert refusal(remade(**changes)) is ModelRefusal.MANIFEST_MISMATCH


def test_a_ciphertext_of_another_key_version_or_model_fails_its_commitment():
    for other in (
        secret(MODEL, key=b"\x45" * 32),
        secret(MODEL, version=VERSION - 1),
        secret(MODEL, model_id="pump-vibratiom"),
    ):
        assert refusal(remade(ciphertext=other), other) is ModelRefusal.KEY_COMMITMENT


def test_the_same_model_encrypted_anew_is_not_the_ciphertext_that_was_named():
    again = secret(MODEL, salt=b"\x56" * 24)
    assert refusal(ciphertext=again) is ModelRefusal.CIPHERTEXT_DIGEST


def test_a_publisher_who_names_another_model_is_refused():
    wrong = Plaintext(len(MODEL), hashlib.sha256(b"another").digest())
    assert refusal(remade(plaintext=wrong)) is ModelRefusal.PLAINTEXT_DIGEST


def test_a_model_larger_than_the_gateway_takes_is_refused_before_a_byte_of_it_is_asked_for():
    def never():
        raise AssertionError
        yield b""

    assert refusal(ciphertext=never(), max_bytes=len(MODEL) - 1) is ModelRefusal.TOO_LARGE
    assert opened(max_bytes=len(MODEL)).plaintext == MODEL


def test_the_parts_do_what_the_whole_does():
    manifest = admit_manifest(ENVELOPE, PUBLISHER, NAMED)
    opening = Opening(manifest, data_key(manifest, PRIVATE_KEYS[PLAIN], PLAIN))
    for at in range(len(CIPHERTEXT)):
        opening.update(CIPHERTEXT[at : at + 1])
    assert opening.finish() == MODEL


def test_a_refusal_says_its_reason_and_what_was_looked_at():
    with pytest.raises(ModelRefused, match="not-a-recipient: no key is wrapped for this gateway"):
        opened(gateway_id="gw-3")
