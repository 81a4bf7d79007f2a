"""One line of the registry file, parsed strictly (FORMATS.md §1). Pure: bytes in, ``Line`` or ``LineRefused`` out."""

from __future__ import annotations

import json
from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from sys import intern
from typing import Final, NamedTuple

from gateway.config.ids import is_fleet, is_id
from gateway.jsontext import require_shallow
from gateway.message import Alg
from gateway.registry.port import Status

MAX_LINE_BYTES: Final = 4096
MAX_LOG_CHARACTERS: Final = 255

_COMMON: Final = frozenset({"kind", "id", "fleet", "alg", "public_key", "status"})
_MEMBERS: Final = {"device": _COMMON, "miner": _COMMON | {"log"}}
_KEY_BYTES: Final = {Alg.ED25519: 32, Alg.ES256: 65}
_ALGS: Final = {alg.value: alg for alg in Alg}
_STATUSES: Final = {status.value: status for status in Status}
_SHOWN_CHARACTERS: Final = 60


class LineRefused(ValueError):
    """A line that does not hold: what is wrong, and ``hint``, what to do about it."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


class Line(NamedTuple):
    """What one line says; its key is of the right length, and not known to be a point yet.

    ``log`` is None for a device.
    """

    id: str
    fleet: str
    alg: Alg
    key: bytes
    status: Status
    log: str | None


def shown(text: object) -> str:
    """A value from the file, quoted, escaped to ASCII and cut, fit for a message to the operator."""
    quoted = json.dumps(text) if isinstance(text, (str, int, float, bool, type(None))) else f"a {type(text).__name__}"
    return quoted if len(quoted) <= _SHOWN_CHARACTERS else quoted[:_SHOWN_CHARACTERS] + "…"


def parse_line(line: bytes) -> Line | None:
    """Parse one line, with or without its line break; None for a blank one.

    Raises:
        LineRefused: the line does not hold.
    """
    if len(line) > MAX_LINE_BYTES:
        raise LineRefused(f"the line is longer than {MAX_LINE_BYTES} bytes", "one JSON object a line, nothing else")
    if not line.strip(b" \t\r\n"):
        return None
    members = _members(line)
    kind = members.get("kind")
    if kind is None:
        raise LineRefused('the member "kind" is missing', 'add "kind": "device" or "kind": "miner"')
    wanted = _MEMBERS.get(kind) if isinstance(kind, str) else None
    if wanted is None:
        raise LineRefused(f"kind is {shown(kind)}", 'kind is "device" or "miner"')
    if members.keys() != wanted:
        raise _wrong_members(str(kind), frozenset(members), wanted)
    return _checked(members)


def _members(line: bytes) -> dict[str, object]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise LineRefused("the line is not UTF-8", "save the file as UTF-8") from None
    if text.startswith("\ufeff"):
        raise LineRefused("the line begins with a byte order mark", "save the file as UTF-8 without BOM")
    try:
        members = json.loads(require_shallow(text), object_pairs_hook=_once)
    except LineRefused:
        raise
    except ValueError:
        raise LineRefused("the line is not JSON", "a line is one JSON object, see docs/spec/registry.md") from None
    if not isinstance(members, dict):
        raise LineRefused("the line is JSON, but no object", 'each line is one JSON object: {"kind": …}')
    return members


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _value in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise LineRefused(f"the member {shown(twice)} stands twice", "keep one of them")
    return members


def _wrong_members(kind: str, names: frozenset[str], wanted: frozenset[str]) -> LineRefused:
    missing = sorted(wanted - names)
    if missing:
        return LineRefused(f'the member "{missing[0]}" is missing', f"a {kind} has {', '.join(sorted(wanted))}")
    unknown = min(names - wanted)
    if unknown == "log":
        return LineRefused('a device has no "log"', 'remove "log", or make it "kind": "miner"')
    return LineRefused(f"the member {shown(unknown)} is unknown", f"a {kind} has {', '.join(sorted(wanted))}")


def _checked(members: dict[str, object]) -> Line:
    for name, value in members.items():
        if not isinstance(value, str):
            raise LineRefused(f"{name} is {shown(value)}, not a string", f'put the value of "{name}" in quotes')
    text: dict[str, str] = members  # type: ignore[assignment] # just checked
    if not is_id(text["id"]):
        raise LineRefused(
            f"id {shown(text['id'])} is not an id",
            "1-64 characters of A-Z a-z 0-9 . _ : -, and not one of . .. gateway",
        )
    if not is_fleet(text["fleet"]):
        raise LineRefused(
            f"fleet {shown(text['fleet'])} is not a fleet id",
            "1-32 characters of A-Z a-z 0-9 . _ : -, and not one of . .. gateway",
        )
    alg = _ALGS.get(text["alg"])
    if alg is None:
        raise LineRefused(f"alg is {shown(text['alg'])}", 'alg is "Ed25519" or "ES256"')
    status = _STATUSES.get(text["status"])
    if status is None:
        raise LineRefused(f"status is {shown(text['status'])}", 'status is "active", "suspended" or "revoked"')
    log = text.get("log")
    if log is not None:
        _check_log(log)
    return Line(text["id"], intern(text["fleet"]), alg, _key(text["public_key"], alg), status, log)


def _check_log(log: str) -> None:
    if not 0 < len(log) <= MAX_LOG_CHARACTERS or not log.isascii() or not log.isprintable() or set(log) & {" ", "+"}:
        raise LineRefused(f"log {shown(log)} is not an origin", "a miner's log is securenet/<fleet>/<gateway id>")


def _key(text: str, alg: Alg) -> bytes:
    try:
        key = a2b_base64(text.encode("ascii"), strict_mode=True)
    except (Base64Error, UnicodeEncodeError):
        raise LineRefused("public_key is not base64", "base64 of RFC 4648 §4: with + and /, padded") from None
    if b64encode(key).decode("ascii") != text:
        raise LineRefused("public_key is not canonical base64", "the unused bits before the padding are to be zero")
    if len(key) != _KEY_BYTES[alg]:
        raise LineRefused(
            f"public_key has {len(key)} bytes", f"a public key for {alg} has {_KEY_BYTES[alg]} bytes, uncompressed"
        )
    return key
