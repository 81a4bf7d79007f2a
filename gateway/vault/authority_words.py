"""What is asked of the key authority and what it answers (docs/spec/authority.md): strict, bounded, pure.

A request is a JSON object of exactly these members. An answer is read by the publisher as strictly: what it holds
goes into a manifest. Nothing here shows a data key: ``DataKey`` is an answer, and its repr hides it.
"""

from __future__ import annotations

import base64
import binascii
import json
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from gateway.config.ids import is_id
from gateway.jsontext import require_shallow
from gateway.vault.cipher import KEY_BYTES
from gateway.vault.manifest import RECIPIENTS_MAX
from gateway.vault.wrap import WRAPPED_BYTES, Kem, Wrapped

REQUEST_BYTES_MAX: Final = 4096
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
VERSION_MAX: Final = (1 << 63) - 1
DIGEST_BYTES: Final = 32

_DEPTH_MAX: Final = 4
_DETAIL_MAX: Final = 512
_REASON_MAX: Final = 64


class Refusal(StrEnum):
    """Why the authority does not do what it was asked; stable strings, in answers and in the audit."""

    MALFORMED = "malformed"
    """No request of this page, or too large."""
    NOT_ON_THE_LIST = "not-on-the-list"
    """The certificate is no publisher's."""
    CERTIFICATE = "certificate"
    """The certificate of a request file is expired, not yet valid, or cannot be read."""
    SIGNATURE = "signature"
    """A file was not signed by whom it names."""
    MODEL_NOT_ALLOWED = "model-not-allowed"
    """The publisher may not publish this model."""
    VERSION_NOT_RISING = "version-not-rising"
    """A higher version of this model has a key already."""
    OF_ANOTHER_PUBLISHER = "of-another-publisher"
    """The key of this version was issued to somebody else."""
    NO_KEY = "no-key"
    """Wraps are asked for, and the version has no key: ask for that first."""
    TOO_MANY_GATEWAYS = "too-many-gateways"
    """More gateways hold a grant than a manifest has room for."""
    STORE_FULL = "store-full"
    """The store holds as many keys as it may."""
    RATE_LIMITED = "rate-limited"
    """Too many requests of this certificate: come again later."""
    NO_GRANTS = "no-grants"
    """Nobody can say just now who holds a grant: the chain does not answer."""
    UNAVAILABLE = "unavailable"
    """The authority failed: its disk, its list."""


class AuthorityRefused(Exception):
    """The authority says no: ``reason`` is for machines, ``detail`` for people; no key is in either."""

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class AuthorityError(Exception):
    """The authority could not be asked, or what came back is not its answer. The message says what to do."""


class WrappedKey(NamedTuple):
    """The data key for one gateway; what a manifest lists under that gateway's id."""

    gateway_id: str
    key: Wrapped


class LeftOut(NamedTuple):
    """A gateway with a grant that got no key, and why."""

    gateway_id: str
    reason: str


class Ask(NamedTuple):
    """A request: for the data key, or, with a ciphertext's SHA-256, for the wraps."""

    model_id: str
    version: int
    ciphertext_sha256: bytes | None = None


class DataKey(NamedTuple):
    """The answer to a request for a data key."""

    model_id: str
    version: int
    key: bytes

    def __repr__(self) -> str:
        return f"DataKey({self.model_id!r}, {self.version})"


class Wraps(NamedTuple):
    """The answer to a request for wraps. ``grants`` says who said who holds a grant."""

    model_id: str
    version: int
    ciphertext_sha256: bytes
    grants: str
    wrapped: tuple[WrappedKey, ...]
    left_out: tuple[LeftOut, ...]


Answer = DataKey | Wraps


class KeySource(Protocol):
    """What a publisher needs of the authority; ``AuthorityClient`` and ``AuthorityFiles`` have it."""

    def data_key(self, model_id: str, version: int) -> bytes:
        """The key to encrypt this version with, 32 bytes; the same one each time.

        Raises:
            AuthorityRefused: the authority says no.
            AuthorityError: it cannot be asked; ``AnswerAwaited`` where a file has to be carried to it first.
        """
        ...

    def wraps(self, model_id: str, version: int, ciphertext_sha256: bytes) -> tuple[WrappedKey, ...]:
        """That key, wrapped for each gateway that holds a grant now.

        Raises:
            AuthorityRefused, AuthorityError: as ``data_key``.
        """
        ...


# --- requests ---


def encode_ask(ask: Ask) -> bytes:
    """A request as bytes."""
    members: dict[str, object] = {"model": ask.model_id, "version": ask.version}
    if ask.ciphertext_sha256 is not None:
        members["ciphertext_sha256"] = ask.ciphertext_sha256.hex()
    return to_bytes(members)


def parse_ask(data: bytes, *, wraps: bool) -> Ask:
    """Read a request for a data key, or for wraps.

    Raises:
        AuthorityRefused: ``malformed``.
    """
    if len(data) > REQUEST_BYTES_MAX:
        raise malformed(f"a request has at most {REQUEST_BYTES_MAX} bytes")
    names = ("model", "version", "ciphertext_sha256") if wraps else ("model", "version")
    values = read_members(data, "a request", names)
    digest = hexadecimal(values[2], "ciphertext_sha256", DIGEST_BYTES) if wraps else None
    return Ask(_model(values[0]), _version(values[1]), digest)


# --- answers ---


def encode_answer(answer: Answer) -> bytes:
    """An answer as bytes; with a ``DataKey``, a secret."""
    if isinstance(answer, DataKey):
        return to_bytes({"model": answer.model_id, "version": answer.version, "data_key": answer.key.hex()})
    return to_bytes(
        {
            "model": answer.model_id,
            "version": answer.version,
            "ciphertext_sha256": answer.ciphertext_sha256.hex(),
            "grants": answer.grants,
            "wrapped": [
                [each.gateway_id, int(each.key.kem), base64_text(each.key.enc), base64_text(each.key.ciphertext)]
                for each in answer.wrapped
            ],
            "left_out": [list(each) for each in answer.left_out],
        }
    )


def parse_answer(data: bytes, ask: Ask) -> Answer:
    """Read the answer to ``ask``; one to another request is refused.

    Raises:
        AuthorityError: it is none.
    """
    try:
        return _data_key(data, ask) if ask.ciphertext_sha256 is None else _wraps(data, ask, ask.ciphertext_sha256)
    except AuthorityRefused as refused:
        raise AuthorityError(
            f"the authority's answer is none of this format ({refused.detail}); is this a key authority?"
        ) from None


def encode_refusal(refused: AuthorityRefused) -> bytes:
    """A refusal as bytes."""
    detail = "".join(each if each.isprintable() else "?" for each in refused.detail)
    return to_bytes({"error": str(refused.reason), "detail": detail[:_DETAIL_MAX]})


def parse_refusal(data: bytes) -> AuthorityRefused | None:
    """Read a refusal; None when the bytes are none."""
    try:
        reason, detail = read_members(data, "a refusal", ("error", "detail"))
        return AuthorityRefused(Refusal(_text(reason, _REASON_MAX)), _text(detail, _DETAIL_MAX))
    except (AuthorityRefused, ValueError):
        return None


def _data_key(data: bytes, ask: Ask) -> DataKey:
    model, version, key = read_members(data, "an answer", ("model", "version", "data_key"))
    _require_same((model, version), (ask.model_id, ask.version))
    return DataKey(ask.model_id, ask.version, hexadecimal(key, "data_key", KEY_BYTES))


def _wraps(data: bytes, ask: Ask, digest: bytes) -> Wraps:
    names = ("model", "version", "ciphertext_sha256", "grants", "wrapped", "left_out")
    model, version, about, grants, wrapped, left_out = read_members(data, "an answer", names)
    _require_same((model, version, about), (ask.model_id, ask.version, digest.hex()))
    keys = tuple(_wrapped_key(each) for each in _array(wrapped, "wrapped"))
    if len({each.gateway_id for each in keys}) != len(keys):
        raise malformed("a gateway stands twice")
    others = tuple(_left_out(each) for each in _array(left_out, "left_out"))
    return Wraps(ask.model_id, ask.version, digest, _text(grants, _DETAIL_MAX), keys, others)


def _wrapped_key(value: object) -> WrappedKey:
    if not isinstance(value, list) or len(value) != 4:  # noqa: PLR2004 -- id, KEM, encapsulated key, ciphertext
        raise malformed("a wrapped key is [gateway, KEM, encapsulated key, ciphertext]")
    if type(value[1]) is not int or value[1] not in list(Kem):
        raise malformed("a wrapped key has a KEM of 32 or 25722")
    kem = Kem(value[1])
    sealed = Wrapped(kem, _octets(value[2], kem.enc_bytes), _octets(value[3], WRAPPED_BYTES))
    return WrappedKey(_model(value[0]), sealed)


def _left_out(value: object) -> LeftOut:
    if not isinstance(value, list) or len(value) != 2:  # noqa: PLR2004 -- id and reason
        raise malformed("what is left out is [gateway, reason]")
    return LeftOut(_model(value[0]), _text(value[1], _REASON_MAX))


def _require_same(found: tuple[object, ...], asked: tuple[object, ...]) -> None:
    if found != asked or [type(each) for each in found] != [type(each) for each in asked]:
        raise malformed("it answers another request")


# --- fields ---


def malformed(detail: str) -> AuthorityRefused:
    """The refusal of bytes that are not what the page says."""
    return AuthorityRefused(Refusal.MALFORMED, detail)


def to_bytes(members: dict[str, object]) -> bytes:
    """A JSON object in one line."""
    return json.dumps(members, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def read_members(data: bytes, what: str, names: tuple[str, ...]) -> list[object]:
    """The values of a JSON object that has exactly these members, each once, in the order of ``names``.

    Raises:
        AuthorityRefused: ``malformed``.
    """
    try:
        text = require_shallow(data.decode("utf-8"), _DEPTH_MAX)
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_no_constant)
    except (ValueError, RecursionError):
        raise malformed(f"{what} is a JSON object of {', '.join(names)}") from None
    if not isinstance(value, dict) or value.keys() != set(names):
        raise malformed(f"{what} is a JSON object of {', '.join(names)}")
    return [value[name] for name in names]


def hexadecimal(value: object, what: str, size: int) -> bytes:
    """Bytes of this size, as lower-case hexadecimal digits."""
    digits = value if isinstance(value, str) and len(value) == 2 * size else ""
    try:
        data = bytes.fromhex(digits)
    except ValueError:
        data = b""
    if len(data) != size or data.hex() != digits:
        raise malformed(f"{what} has {2 * size} hexadecimal digits, lower case")
    return data


def base64_text(data: bytes) -> str:
    """Base64 of RFC 4648 §4."""
    return base64.b64encode(data).decode("ascii")


def base64_bytes(value: object, what: str, most: int) -> bytes:
    """Bytes out of base64 in its one spelling."""
    try:
        data = (
            base64.b64decode(value, validate=True) if isinstance(value, str) and len(value) <= 2 * most + 4 else None
        )
    except (binascii.Error, ValueError):
        data = None
    if data is None or len(data) > most or base64_text(data) != value:
        raise malformed(f"{what} is base64 of at most {most} bytes")
    return data


def _octets(value: object, size: int) -> bytes:
    data = base64_bytes(value, "a wrapped key", size)
    if len(data) != size:
        raise malformed(f"a part of a wrapped key has not its {size} bytes")
    return data


def is_model(value: object) -> bool:
    """Whether a value can be the id of a model or a gateway (FORMATS.md §1)."""
    return isinstance(value, str) and is_id(value)


def _model(value: object) -> str:
    if not isinstance(value, str) or not is_model(value):
        raise malformed("an id is 1 to 64 characters of [A-Za-z0-9._:-]")
    return value


def _version(value: object) -> int:
    if type(value) is not int or not 1 <= value <= VERSION_MAX:
        raise malformed(f"version is an integer of 1 to {VERSION_MAX}")
    return value


def _text(value: object, most: int) -> str:
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        raise malformed(f"a text has at most {most} printable characters")
    return value


def _array(value: object, what: str) -> list[object]:
    if not isinstance(value, list) or len(value) > RECIPIENTS_MAX:
        raise malformed(f"{what} is an array of at most {RECIPIENTS_MAX}")
    return value


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _no_constant(_text: str) -> object:
    raise ValueError("no number of ours")
