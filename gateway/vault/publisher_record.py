"""The training record and the spec of a model: read strictly, and the record only when it is signed (pure).

A record is the card that training writes (``NAME.card.json``). Its signature lies beside it (``NAME.card.json.sig``):
base64 of an Ed25519 signature over ``"securenet.training-record/1" || 0x00 || the file``, in one line.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Final, NamedTuple

from gateway.config.ids import is_id
from gateway.crypto.keys import SIGNATURE_BYTES, PublicKey, verify
from gateway.detection.spec import ModelSpec
from gateway.jsontext import DeepJsonError, require_shallow
from gateway.vault.fields import COUNT_MAX, TEXT_BYTES_MAX
from gateway.vault.manifest import METRICS_MAX
from gateway.vault.manifest_spec import SPEC_MEMBERS, read_spec
from gateway.vault.publisher_words import PublishRefusal, PublishRefused
from gateway.vault.refusal import ModelRefused

RECORD_BYTES_MAX: Final = 1 << 20
SPEC_BYTES_MAX: Final = 16 << 20
SIGNATURE_FILE_MAX: Final = 256

_DOMAIN: Final = b"securenet.training-record/1\x00"
_DEPTH_MAX: Final = 8
_DIGEST: Final = re.compile("[0-9a-f]{64}")
_FLOATS: Final = frozenset({"missing", "low", "high", "mean", "scale", "threshold", "tolerance", "expected"})


class Record(NamedTuple):
    """What training says of a model; ``card_sha256`` is over the record's own bytes."""

    model_id: str
    version: int
    size: int
    sha256: bytes
    spec_sha256: bytes
    training_data: bytes
    metrics: Mapping[str, float]
    card_sha256: bytes


def sign_record(data: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """The signature's file of a record.

    Raises:
        PublishRefused: ``record-malformed``: nobody signs what would be refused.
    """
    read_record(data)
    return b64encode(sign(_DOMAIN + data)) + b"\n"


def verify_record(data: bytes, signature: bytes | None, trainer: PublicKey) -> Record:
    """Read a record that its trainer signed; nothing of it is believed before.

    Args:
        data: the record's file.
        signature: the signature's file, None where there is none.
        trainer: the key that is trusted.

    Raises:
        PublishRefused: ``record-unsigned``, ``record-signature``, ``record-malformed``.
    """
    if signature is None:
        raise PublishRefused(
            PublishRefusal.RECORD_UNSIGNED,
            "the training record has no signature beside it",
            "let who trained it sign: securenet model sign CARD.json --signing-key KEY.pem",
        )
    try:
        found = b64decode(signature.removesuffix(b"\n"), validate=True)
    except (Base64Error, ValueError):
        found = b""
    if len(found) != SIGNATURE_BYTES or not verify(trainer, _DOMAIN + data, found):
        raise PublishRefused(
            PublishRefusal.RECORD_SIGNATURE,
            "the trainer's key did not sign this record",
            "is --trainer-key whose it should be? If the card was changed since, it has to be signed anew",
        )
    return read_record(data)


def read_record(data: bytes) -> Record:
    """Read a record.

    Raises:
        PublishRefused: ``record-malformed``.
    """
    card = _object(data, RECORD_BYTES_MAX, _bad_record)
    if card.get("card") != 1 or card.get("format") != "tflite":
        raise _bad_record("it is no card of a .tflite model")
    model_id, version, size = card.get("model_id"), card.get("version"), card.get("size")
    training = card.get("training")
    if not isinstance(model_id, str) or not is_id(model_id):
        raise _bad_record("model_id is 1 to 64 characters of [A-Za-z0-9._:-]")
    if (
        type(version) is not int
        or not 1 <= version <= COUNT_MAX
        or type(size) is not int
        or not 1 <= size <= COUNT_MAX
    ):
        raise _bad_record("version and size are numbers from 1 on")
    if not isinstance(training, dict) or not training.get("licence"):
        raise _bad_record("training names data, their licence and their digest")
    return Record(
        model_id,
        version,
        size,
        _digest(card.get("sha256"), "sha256"),
        _digest(card.get("spec_sha256"), "spec_sha256"),
        _digest(training.get("digest"), "training.digest"),
        _metrics(card.get("figures")),
        sha256(data).digest(),
    )


def read_spec_file(data: bytes, record: Record) -> ModelSpec:
    """Read the spec that was exported with the model: the same bytes, and one that a gateway would read.

    Raises:
        PublishRefused: ``record-mismatch``, ``spec-malformed``.
    """
    if not compare_digest(sha256(data).digest(), record.spec_sha256):
        raise PublishRefused(
            PublishRefusal.RECORD_MISMATCH,
            "the spec is not the one that the training record names",
            "name the NAME.spec.json that was exported with the model, as it was written",
        )
    members = _object(data, SPEC_BYTES_MAX, _bad_spec)
    if members.keys() != set(SPEC_MEMBERS):
        raise _bad_spec(f"it is an object of {', '.join(SPEC_MEMBERS)}")
    try:
        return read_spec(*(_as_floats(members[name], inputs=name == "smoke") for name in SPEC_MEMBERS))
    except ModelRefused as refused:
        raise _bad_spec(refused.detail) from None


def _as_floats(value: object, *, inputs: bool) -> object:
    """JSON has one kind of number: where the spec has floats, 0 is 0.0."""
    if isinstance(value, list):
        return [_as_floats(each, inputs=inputs) for each in value]
    if not isinstance(value, dict):
        return value
    floats = _FLOATS | {"inputs"} if inputs else _FLOATS
    return {
        name: _floated(each) if name in floats else _as_floats(each, inputs=inputs) for name, each in value.items()
    }


def _floated(value: object) -> object:
    if isinstance(value, list):
        return [_floated(each) for each in value]
    if type(value) is not int:
        return value
    try:
        return float(value)
    except OverflowError:
        return value  # no float: the spec's reader says so


def _metrics(figures: object) -> dict[str, float]:
    """Every figure under the name of what it was measured on."""
    found: dict[str, float] = {}
    if not isinstance(figures, list) or not figures:
        raise _bad_record("figures is an array of what was measured")
    for figure in figures:
        if not isinstance(figure, dict) or not isinstance(figure.get("on"), str) or not figure.get("protocol"):
            raise _bad_record("a figure says on what, and by which protocol")
        for name, value in figure.items():
            if isinstance(value, float) or type(value) is int:
                label = f"{figure['on']}: {name}"
                if len(label.encode("utf-8", "replace")) > TEXT_BYTES_MAX or not label.isprintable():
                    raise _bad_record(f"a figure's name has at most {TEXT_BYTES_MAX} bytes, all of them printable")
                if label in found:
                    raise _bad_record("two figures are of the same name on the same rows: name them apart")
                found[label] = float(min(max(value, -1e308), 1e308))
    if len(found) > METRICS_MAX:
        raise _bad_record(f"it has more than {METRICS_MAX} figures")
    return found


def _object(data: bytes, most: int, bad: Callable[[str], PublishRefused]) -> dict[str, Any]:
    if len(data) > most:
        raise bad(f"the file has more than {most} bytes")
    try:
        value = json.loads(require_shallow(data.decode("utf-8"), _DEPTH_MAX), parse_constant=_no_number)
    except (ValueError, DeepJsonError, RecursionError):
        raise bad("it is no JSON") from None
    if not isinstance(value, dict):
        raise bad("it is no JSON object")
    return value


def _no_number(_text: str) -> object:
    raise ValueError("no number of JSON")


def _digest(value: object, name: str) -> bytes:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise _bad_record(f"{name} is a SHA-256, 64 hexadecimal digits in lower case")
    return bytes.fromhex(value)


def _bad_record(problem: str) -> PublishRefused:
    return PublishRefused(
        PublishRefusal.RECORD_MALFORMED,
        f"the training record is refused: {problem}",
        "name the NAME.card.json that securenet-train wrote",
    )


def _bad_spec(problem: str) -> PublishRefused:
    return PublishRefused(
        PublishRefusal.SPEC_MALFORMED,
        f"no gateway would read the spec: {problem}",
        "export the model again, and name the NAME.spec.json that was written",
    )
