"""Whether a model is genuine: the record, the file, its spec, its structure, and a first run (docs/adr/0150).

In the order of the steps: whoever looks at a file first made sure that it is the one that somebody answers for.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Final, NamedTuple

from gateway.crypto.keys import PublicKey
from gateway.detection.port import LoadedModel
from gateway.detection.scorer import prove
from gateway.detection.spec import ModelSpec
from gateway.vault.bundle import MODEL_BYTES
from gateway.vault.genuine import Seen, check_shapes, look_at
from gateway.vault.publisher_record import (
    RECORD_BYTES_MAX,
    SIGNATURE_FILE_MAX,
    SPEC_BYTES_MAX,
    Record,
    read_spec_file,
    verify_record,
)
from gateway.vault.publisher_words import PublishRefusal, PublishRefused

PIECE_BYTES: Final = 1 << 20
SIGNATURE_SUFFIX: Final = ".sig"


class ModelFiles(NamedTuple):
    """What training wrote, and who trained. The signature lies beside the card, under its name and ``.sig``."""

    model: Path
    spec: Path
    card: Path
    trainer: PublicKey

    @property
    def signature(self) -> Path:
        """Where the record's signature lies."""
        return self.card.with_name(self.card.name + SIGNATURE_SUFFIX)


class Genuine(NamedTuple):
    """A model that may be published. ``pieces`` are digests of its MiBs: nothing else is ever encrypted."""

    path: Path
    record: Record
    spec: ModelSpec
    seen: Seen
    pieces: tuple[bytes, ...]


async def check_genuine(files: ModelFiles, model_id: str = "", version: int = 0, most: int = MODEL_BYTES) -> Genuine:
    """Check everything that can be checked before anybody is asked for anything.

    Args:
        files: what is to be published.
        model_id: as what; empty: what the record says. The record has to agree.
        version: likewise; 0: what the record says.
        most: the largest model that gateways open.

    Raises:
        PublishRefused: with the reason.
    """
    card = _read(files.card, RECORD_BYTES_MAX)
    record = verify_record(card, _read_optional(files.signature), files.trainer)
    if (model_id or record.model_id, version or record.version) != (record.model_id, record.version):
        raise PublishRefused(
            PublishRefusal.RECORD_MISMATCH,
            f"the training record is of {record.model_id} version {record.version}",
            "publish it as that, or export and sign the model with the id and version that you mean",
        )
    data = await asyncio.to_thread(_model, files.model, record, most)
    spec = read_spec_file(_read(files.spec, SPEC_BYTES_MAX), record)
    seen = await asyncio.to_thread(look_at, data)
    check_shapes(seen, spec)
    loaded = LoadedModel(bytes(32), record.model_id, record.version, spec, data)
    if (problem := await prove(loaded)) is not None:
        raise PublishRefused(
            PublishRefusal.SMOKE_TEST,
            f"the model does not pass its smoke test here: {problem}",
            "look at the spec's smoke test and the versions of LiteRT, in the card and here; then export it again",
        )
    pieces = range(0, len(data), PIECE_BYTES)
    digests = tuple(sha256(data[at : at + PIECE_BYTES]).digest() for at in pieces)
    return Genuine(files.model, record, spec, seen, digests)


def changed(path: Path) -> PublishRefused:
    """The refusal of a file that is not any more what it was."""
    return PublishRefused(
        PublishRefusal.MODEL_CHANGED,
        f"{path} changed while it was read",
        "let nobody write to it, and run this again",
    )


def _model(path: Path, record: Record, most: int) -> bytes:
    """The model, which is the one of the record. Every check is of these bytes, whoever writes to the file then."""
    data = _read(path, most)
    if not data:
        raise _bad_file(f"{path} is empty")
    if len(data) != record.size or not compare_digest(sha256(data).digest(), record.sha256):
        raise PublishRefused(
            PublishRefusal.MODEL_DIGEST,
            f"{path} is not the file that the training record names",
            "name the .tflite that was exported with this card; one that was altered since is not published",
        )
    return data


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise _bad_file(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > most:
        raise _bad_file(f"{path} has more than {most} bytes")
    return data


def _read_optional(path: Path) -> bytes | None:
    return _read(path, SIGNATURE_FILE_MAX) if path.exists() else None


def _bad_file(problem: str) -> PublishRefused:
    return PublishRefused(
        PublishRefusal.MODEL_FILE, problem, "name a file that you may read, of a size that is allowed"
    )
