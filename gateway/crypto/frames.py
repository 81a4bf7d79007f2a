"""The frames between the gateway and its signature worker: length-prefixed, in both directions (pure).

A request is ``length (4) || operation (1) || body``, an answer ``length (4) || body``; integers are big-endian.
The peer is our own child over a private pipe, so the only limit that matters is the frame's length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

from gateway.crypto.keys import PublicKey
from gateway.message import Alg

MAX_FRAME_BYTES = 1 << 29

_LENGTH = struct.Struct(">I")
_REQUEST = struct.Struct(">IB")
_ITEM = struct.Struct(">BHHI")
_ALGS = (Alg.ED25519, Alg.ES256)
_ALG_CODE = {alg: code for code, alg in enumerate(_ALGS)}


class Operation(IntEnum):
    """What the worker is asked: take the log key's seed, verify a batch, sign a batch."""

    LOAD_KEY = 0
    VERIFY = 1
    SIGN = 2


class Claim(NamedTuple):
    """A signature that is to be verified."""

    key: PublicKey
    signing_input: bytes
    signature: bytes


def request(operation: Operation, body: bytes) -> bytes:
    """Frame a request."""
    return _REQUEST.pack(len(body) + 1, operation) + body


def answer(body: bytes) -> bytes:
    """Frame an answer."""
    return _LENGTH.pack(len(body)) + body


def frame_length(prefix: bytes) -> int:
    """Read a frame's length.

    Raises:
        ValueError: it is over ``MAX_FRAME_BYTES``; the stream is not ours.
    """
    (length,) = _LENGTH.unpack(prefix)
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {length} bytes")
    return int(length)


def pack_claims(claims: Iterable[Claim]) -> bytes:
    """Write claims one after the other: alg, lengths, key, signature, signing input."""
    parts: list[bytes] = []
    for key, signing_input, signature in claims:
        # A signature longer than the field is refused by its length whatever its bytes are.
        signature = signature[:0xFFFF]  # noqa: PLW2901 -- clipped on purpose
        head = _ITEM.pack(_ALG_CODE[key.alg], len(key.data), len(signature), len(signing_input))
        parts += (head, key.data, signature, signing_input)
    return b"".join(parts)


def unpack_claims(body: memoryview) -> list[Claim]:
    """Read what ``pack_claims`` wrote."""
    claims: list[Claim] = []
    offset, end = 0, len(body)
    while offset < end:
        alg, key_length, signature_length, input_length = _ITEM.unpack_from(body, offset)
        key_at = offset + _ITEM.size
        signature_at = key_at + key_length
        input_at = signature_at + signature_length
        offset = input_at + input_length
        claims.append(
            Claim(
                PublicKey(_ALGS[alg], bytes(body[key_at:signature_at])),
                bytes(body[input_at:offset]),
                bytes(body[signature_at:input_at]),
            )
        )
    return claims


def pack_inputs(inputs: Sequence[bytes]) -> bytes:
    """Write signing inputs, each behind its length."""
    parts: list[bytes] = []
    for signing_input in inputs:
        parts += (_LENGTH.pack(len(signing_input)), signing_input)
    return b"".join(parts)


def unpack_inputs(body: memoryview) -> list[bytes]:
    """Read what ``pack_inputs`` wrote."""
    inputs: list[bytes] = []
    offset, end = 0, len(body)
    while offset < end:
        (length,) = _LENGTH.unpack_from(body, offset)
        offset += _LENGTH.size + length
        inputs.append(bytes(body[offset - length : offset]))
    return inputs
