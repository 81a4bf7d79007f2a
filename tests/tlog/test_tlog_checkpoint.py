"""Checkpoints and signed notes: the example of the specification, strict reading, the rules about signatures."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from gateway.tlog import checkpoint
from gateway.tlog.checkpoint import CheckpointError, CheckpointFailure, VerifierKey

ORIGIN = "securenet/fleet-a/gw-1"
SIGNING_KEY = SigningKey(bytes(range(32)))
KEY = VerifierKey(ORIGIN, bytes(SIGNING_KEY.verify_key))
OTHER_KEY = SigningKey(bytes(32))
ROOT = bytes(range(100, 132))
BODY = checkpoint.checkpoint_body(ORIGIN, 20_852_163, ROOT)


def signature_of(signing_key, body=BODY):
    return signing_key.sign(body).signature


NOTE = checkpoint.sign(BODY, ORIGIN, lambda body: signature_of(SIGNING_KEY, body), KEY.public_key)


def line(name, key_id, signature):
    return f"— {name} {base64.b64encode(key_id + signature).decode()}\n".encode()


def test_the_note_reads_like_the_example_of_the_specification():
    body, blank, signatures = NOTE.decode().partition("\n\n")
    assert body.split("\n") == [ORIGIN, "20852163", base64.b64encode(ROOT).decode()]
    assert blank
    assert signatures.startswith(f"— {ORIGIN} ")
    assert signatures.endswith("\n")
    assert signatures.count("\n") == 1


def test_the_example_of_tlog_checkpoint_is_read():
    note = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo"
        "+zyWE+xeMcTOAYQ8=\n"
    )
    read = checkpoint.parse(note.encode())
    assert (read.origin, read.size) == ("example.com/behind-the-sofa", 20_852_163)
    assert read.root == base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    assert read.signatures[0].key_id.hex() == "033de0ae"


def test_the_key_of_the_go_checksum_database_is_read_and_written_back():
    text = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
    key = checkpoint.parse_verifier_key(text)
    assert key.name == "sum.golang.org"
    assert key.key_id.hex() == "033de0ae"
    assert key.text == text


@given(
    st.text("abc/.-", min_size=1, max_size=40),
    st.integers(0, 2**63 - 1),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
)
def test_a_checkpoint_is_read_back_as_written(origin, size, root, seed):
    signing_key = SigningKey(seed)
    public_key = bytes(signing_key.verify_key)
    body = checkpoint.checkpoint_body(origin, size, root)
    note = checkpoint.sign(body, origin, lambda data: signing_key.sign(data).signature, public_key)
    read = checkpoint.parse(note)
    assert (read.origin, read.size, read.root, read.body, read.extensions) == (origin, size, root, body, ())
    assert checkpoint.signed_by(read, VerifierKey(origin, public_key))
    assert checkpoint.parse_verifier_key(VerifierKey(origin, public_key).text) == VerifierKey(origin, public_key)


def test_no_byte_of_a_checkpoint_can_be_changed():
    for at in range(len(NOTE)):
        for flip in (0x01, 0x20, 0x80):
            changed = NOTE[:at] + bytes([NOTE[at] ^ flip]) + NOTE[at + 1 :]
            try:
                read = checkpoint.parse(changed)
            except CheckpointError:
                continue
            assert not checkpoint.signed_by(read, KEY), (at, flip)


def test_signatures_of_unknown_keys_are_ignored():
    body, ours = NOTE.split(b"\n\n")
    theirs = line("witness.example", b"abcd", b"whatever")
    same_name = line(ORIGIN, b"\x00\x00\x00\x00", bytes(64))
    same_id = line("another.example", KEY.key_id, bytes(64))
    for note in (theirs + ours, ours + theirs, same_name + ours, ours + same_id):
        assert checkpoint.signed_by(checkpoint.parse(body + b"\n\n" + note), KEY)
    assert not checkpoint.signed_by(checkpoint.parse(body + b"\n\n" + theirs + same_name + same_id), KEY)


def test_one_signature_of_ours_that_does_not_hold_refuses_the_note():
    body, ours = NOTE.split(b"\n\n")
    for wrong in (
        bytes(64),
        signature_of(OTHER_KEY),
        signature_of(SIGNING_KEY)[:-1],
        signature_of(SIGNING_KEY) + b"\0",
    ):
        bad = line(ORIGIN, KEY.key_id, wrong)
        assert not checkpoint.signed_by(checkpoint.parse(body + b"\n\n" + ours + bad), KEY)
        assert not checkpoint.signed_by(checkpoint.parse(body + b"\n\n" + bad), KEY)


def test_a_key_speaks_for_the_log_of_its_own_name_only():
    body = checkpoint.checkpoint_body("securenet/fleet-a/gw-2", 1, ROOT)
    note = checkpoint.note(body, ORIGIN, signature_of(SIGNING_KEY, body), KEY.public_key)
    assert not checkpoint.signed_by(checkpoint.parse(note), KEY)


def test_sixteen_signatures_of_five_kilobytes_are_read():
    body, ours = NOTE.split(b"\n\n")
    cosignatures = b"".join(line(f"witness-{n}.example", b"abcd", bytes(5000)) for n in range(15))
    read = checkpoint.parse(body + b"\n\n" + cosignatures + ours)
    assert len(read.signatures) == 16
    assert checkpoint.signed_by(read, KEY)


def test_extension_lines_are_signed_and_kept():
    body = BODY + b"more\nand more\n"
    note = checkpoint.note(body, ORIGIN, signature_of(SIGNING_KEY, body), KEY.public_key)
    read = checkpoint.parse(note)
    assert read.extensions == ("more", "and more")
    assert checkpoint.signed_by(read, KEY)


ROOT_TEXT = base64.b64encode(ROOT)
SIGNATURE = NOTE.split(b"\n\n")[1]
REFUSED = {
    "too long": (bytes(128 * 1024 + 1), "note-too-large"),
    "33 signatures": (BODY + b"\n" + SIGNATURE * 33, "note-too-large"),
    "no UTF-8": (b"\xff" + NOTE, "note-malformed"),
    "a carriage return": (NOTE.replace(b"\n", b"\r\n"), "note-malformed"),
    "a tab": (b"\t" + NOTE, "note-malformed"),
    "nothing": (b"", "note-malformed"),
    "no signature": (BODY + b"\n", "note-malformed"),
    "no blank line": (BODY + SIGNATURE, "note-malformed"),
    "no last newline": (NOTE[:-1], "note-malformed"),
    "a hyphen for the dash": (BODY + b"\n" + SIGNATURE.replace("—".encode(), b"-"), "signature-line-malformed"),
    "a name with a plus": (BODY + b"\n" + line("a+b", b"abcd", bytes(64)), "signature-line-malformed"),
    "no name": (BODY + b"\n" + line("", b"abcd", bytes(64)), "signature-line-malformed"),
    "a name with a wide space": (BODY + b"\n" + line("a\u2003b", b"abcd", bytes(64)), "signature-line-malformed"),
    "no base64": (BODY + "\n— name !!!!\n".encode(), "signature-line-malformed"),
    "a key id alone": (BODY + b"\n" + line("name", b"abcd", b""), "signature-line-malformed"),
    "an unspaced line": (BODY + "\n— name\n".encode(), "signature-line-malformed"),
    "two lines": (ORIGIN.encode() + b"\n5\n\n" + SIGNATURE, "body-malformed"),
    "an empty origin": (b"\n5\n" + ROOT_TEXT + b"\n\n" + SIGNATURE, "body-malformed"),
    "an empty extension": (BODY + b"\nmore\n\n" + SIGNATURE, "body-malformed"),
    "a leading zero": (b"log\n05\n" + ROOT_TEXT + b"\n\n" + SIGNATURE, "body-malformed"),
    "a plus": (b"log\n+5\n" + ROOT_TEXT + b"\n\n" + SIGNATURE, "body-malformed"),
    "a minus": (b"log\n-5\n" + ROOT_TEXT + b"\n\n" + SIGNATURE, "body-malformed"),
    "Arabic digits": ("log\n\u0665\n".encode() + ROOT_TEXT + b"\n\n" + SIGNATURE, "body-malformed"),
    "a size of 64 bits": (b"log\n9223372036854775808\n" + ROOT_TEXT + b"\n\n" + SIGNATURE, "body-malformed"),
    "a size of many digits": (b"log\n" + b"9" * 5000 + b"\n" + ROOT_TEXT + b"\n\n" + SIGNATURE, "body-malformed"),
    "a root that is short": (b"log\n5\n" + base64.b64encode(ROOT[1:]) + b"\n\n" + SIGNATURE, "body-malformed"),
    "a root without padding": (b"log\n5\n" + ROOT_TEXT[:-1] + b"\n\n" + SIGNATURE, "body-malformed"),
    "a root with loose bits": (b"log\n5\n" + ROOT_TEXT[:-2] + b"d=\n\n" + SIGNATURE, "body-malformed"),
    "a root with a space": (b"log\n5\n " + ROOT_TEXT + b"\n\n" + SIGNATURE, "body-malformed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_checkpoint_is_refused_by_name(name):
    data, failure = REFUSED[name]
    with pytest.raises(CheckpointError) as refused:
        checkpoint.parse(data)
    assert refused.value.failure == CheckpointFailure(failure)


def test_the_cases_above_differ_from_what_is_read_in_one_thing_only():
    for good in (NOTE, BODY + b"\n" + SIGNATURE * 32, b"log\n5\n" + ROOT_TEXT + b"\n\n" + SIGNATURE):
        checkpoint.parse(good)


KEY_DATA = base64.b64encode(b"\x01" + KEY.public_key).decode()
WITNESS_DATA = base64.b64encode(b"\x04" + KEY.public_key).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        ORIGIN,
        f"{ORIGIN}+{KEY.key_id.hex()}",
        f"+{KEY.key_id.hex()}+{KEY_DATA}",
        f"{ORIGIN}+{KEY.key_id.hex().upper()}x+{KEY_DATA}",
        f"{ORIGIN}+00000000+{KEY_DATA}",
        f"{ORIGIN} +{KEY.key_id.hex()}+{KEY_DATA}",
        f"{ORIGIN}+{KEY.key_id.hex()}+{KEY_DATA}\n",
        f"{ORIGIN}+{KEY.key_id.hex()}+{KEY_DATA[:-4]}",
        f"{ORIGIN}+{KEY.key_id.hex()}+{WITNESS_DATA}",
        VerifierKey(ORIGIN, bytes(32)).text,
        VerifierKey(ORIGIN, KEY.public_key + b"x").text,
        "\ud800+00000000+" + KEY_DATA,
    ],
)
def test_what_is_no_verifier_key_is_refused(text):
    with pytest.raises(CheckpointError) as refused:
        checkpoint.parse_verifier_key(text)
    assert refused.value.failure == CheckpointFailure.KEY


@pytest.mark.parametrize(
    ("origin", "size", "root"),
    [
        ("", 1, ROOT),
        ("a b", 1, ROOT),
        ("a+b", 1, ROOT),
        ("a\nb", 1, ROOT),
        ("a", -1, ROOT),
        ("a", 1 << 63, ROOT),
        ("a", 1, b""),
    ],
)
def test_a_body_that_could_not_be_read_is_not_written(origin, size, root):
    with pytest.raises(ValueError, match=r"key's name|checkpoint"):
        checkpoint.checkpoint_body(origin, size, root)
