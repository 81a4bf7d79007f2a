"""What passes between the gateway and its scoring process, as bytes (pure).

A request is ``length (4) || operation (1) || body``, an answer ``length (4) || body``; integers are big-endian. The
peer is our own child over a private pipe. Models and their specs travel as CBOR, messages and scores as fixed fields,
because there are thousands a second.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from itertools import starmap
from typing import Any, Final, NamedTuple

from gateway import cbor
from gateway.detection.port import LoadedModel, UnscoredReason
from gateway.detection.spec import (
    Column,
    ColumnKind,
    InputSpec,
    ModelSpec,
    OutputKind,
    OutputSpec,
    Record,
    Selector,
    SmokeTest,
    TensorInput,
)
from gateway.message import Score, Verdict, VerifiedMessage

NO_MODEL_RAN: Final = 0xFFFF
"""The place of no model."""

FRAME_BYTES_MAX: Final = 1 << 29

_LENGTH: Final = struct.Struct(">I")
_REQUEST: Final = struct.Struct(">IB")
_COUNT: Final = struct.Struct(">I")
_ASIDE: Final = struct.Struct(">IQ")
_MESSAGE: Final = struct.Struct(">HHdqI")
_RESULT: Final = struct.Struct(">BHHd")
_FAULT: Final = struct.Struct(">I")
_SPEC_DEPTH: Final = 12

_VERDICTS: Final = tuple(Verdict)
_REASONS: Final = tuple(UnscoredReason)
_VERDICT_CODE: Final = {verdict: code for code, verdict in enumerate(_VERDICTS)}
_REASON_CODE: Final = {reason: code for code, reason in enumerate(_REASONS)}


class Operation(IntEnum):
    """What the scoring process is asked."""

    LOAD = 0
    SCORE = 1


class Message(NamedTuple):
    """What detection needs of a message."""

    device_id: str
    content_format: int
    issued_at: float
    received_ms: int
    payload: bytes


class Result(NamedTuple):
    """What the process says of one message: a verdict with its model's place, or the reason why there is none.

    ``detail`` is the label's place for ``classified`` and the reason's code for ``unscored``.
    """

    verdict: int
    model: int
    detail: int
    score: float


def request(operation: Operation, body: bytes) -> bytes:
    """Frame a request."""
    return _REQUEST.pack(len(body) + 1, operation) + body


def answer(body: bytes) -> bytes:
    """Frame an answer."""
    return _LENGTH.pack(len(body)) + body


def frame_length(prefix: bytes) -> int:
    """Read a frame's length. Not taken from ``gateway.crypto``: its keys would cost this child eight megabytes.

    Raises:
        ValueError: it is over ``FRAME_BYTES_MAX``; the stream is not ours.
    """
    (length,) = _LENGTH.unpack(prefix)
    if length > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {length} bytes")
    return int(length)


def pack_models(models: Iterable[LoadedModel], aside: int = 0) -> bytes:
    """Write models with their specs; those that are put aside without their data: they only keep their places."""
    return cbor.encode(
        [
            [*model[:3], _plain(model.spec), b"" if aside >> place & 1 else bytes(model.data)]
            for place, model in enumerate(models)
        ]
    )


def unpack_models(body: bytes) -> list[LoadedModel]:
    """Read what ``pack_models`` wrote."""
    models: Any = cbor.decode(body, max_depth=_SPEC_DEPTH)
    return [LoadedModel(digest, name, version, _spec(spec), data) for digest, name, version, spec, data in models]


def pack_refusals(refusals: Sequence[str | None]) -> bytes:
    """Write why each model was refused, None for those that were not."""
    return cbor.encode(list(refusals))


def unpack_refusals(body: bytes) -> list[str | None]:
    """Read what ``pack_refusals`` wrote."""
    refusals: Any = cbor.decode(body, max_depth=1)
    return list(refusals)


def pack_batch(messages: Sequence[VerifiedMessage], refused: Sequence[str], aside: int) -> bytes:
    """Write a batch: the models that are put aside as bits, devices that were refused, messages."""
    parts = [_ASIDE.pack(len(refused), aside)]
    for device_id in refused:
        name = device_id.encode()
        parts += (bytes((len(name),)), name)
    for raw, envelope in messages:
        name, payload = envelope.device_id.encode(), envelope.payload
        head = _MESSAGE.pack(len(name), envelope.content_format, envelope.issued_at, raw.received_ms, len(payload))
        parts += (head, name, payload)
    return b"".join(parts)


def unpack_batch(body: bytes) -> tuple[int, list[str], list[Message]]:
    """Read what ``pack_batch`` wrote: aside, refused, messages."""
    count, aside = _ASIDE.unpack_from(body)
    at, refused, messages = _ASIDE.size, [], []
    for _ in range(count):
        end = at + 1 + body[at]
        refused.append(body[at + 1 : end].decode())
        at = end
    end = len(body)
    while at < end:
        length, content_format, issued_at, received_ms, size = _MESSAGE.unpack_from(body, at)
        name_at = at + _MESSAGE.size
        payload_at = name_at + length
        at = payload_at + size
        name = body[name_at:payload_at].decode()
        messages.append(Message(name, content_format, issued_at, received_ms, body[payload_at:at]))
    return aside, refused, messages


def code_of(verdict: Verdict) -> int:
    """How a result names a verdict."""
    return _VERDICT_CODE[verdict]


def unscored(reason: UnscoredReason) -> Result:
    """The result of a message that has no verdict."""
    return Result(_VERDICT_CODE[Verdict.UNSCORED], NO_MODEL_RAN, _REASON_CODE[reason], 0.0)


def scored(verdict: Verdict, model: int, score: float, label: int | None) -> Result:
    """The result of a message that has one."""
    return Result(_VERDICT_CODE[verdict], model, label or 0, score)


def pack_results(results: Iterable[Result], faults: Sequence[int]) -> bytes:
    """Write the results of a batch, and the places of the models that raised in it."""
    return b"".join((_COUNT.pack(len(faults)), *map(_FAULT.pack, faults), *starmap(_RESULT.pack, results)))


def unpack_results(body: bytes, models: Sequence[LoadedModel]) -> tuple[list[Score], list[UnscoredReason], list[int]]:
    """Read what ``pack_results`` wrote.

    Returns:
        A score a message; the reasons of those that are unscored; the places of the models that raised.
    """
    (count,) = _COUNT.unpack_from(body)
    at = _COUNT.size + count * _FAULT.size
    faults = [place for (place,) in _FAULT.iter_unpack(body[_COUNT.size : at])]
    scores, reasons = [], []
    for code, model, detail, score in _RESULT.iter_unpack(memoryview(body)[at:]):
        verdict = _VERDICTS[code]
        if verdict is Verdict.UNSCORED:
            reasons.append(_REASONS[detail])
            scores.append(_UNSCORED)
            continue
        ran = models[model]
        label = ran.spec.outputs.labels[detail] if verdict is Verdict.CLASSIFIED else None
        scores.append(Score(verdict, ran.manifest_sha256, score, label))
    return scores, reasons, faults


_UNSCORED: Final = Score()


def _plain(value: object) -> object:
    """Take a named tuple apart, into what CBOR can write."""
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _spec(plain: Any) -> ModelSpec:  # noqa: ANN401 -- what CBOR read, from our own parent
    inputs, outputs, smoke, selector = plain
    columns, tensor, window, shape = inputs
    kind, threshold, labels = outputs
    return ModelSpec(
        InputSpec(
            tuple(map(_column, columns)),
            None if tensor is None else TensorInput(*tensor),
            window,
            tuple(shape),
        ),
        OutputSpec(OutputKind(kind), threshold, tuple(labels)),
        SmokeTest(tuple(smoke[0]), tuple(smoke[1]), smoke[2]),
        Selector(*map(tuple, selector)),
    )


def _column(plain: Any) -> Column:  # noqa: ANN401 -- likewise
    name, kind, missing, low, high, log1p, mean, scale, vocabulary, record = plain
    kept = None if record is None else Record(*record)
    return Column(name, ColumnKind(kind), missing, low, high, log1p, mean, scale, tuple(vocabulary), kept)
