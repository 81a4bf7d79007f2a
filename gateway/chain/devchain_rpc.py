"""JSON-RPC 2.0 as the development chain reads and writes it (pure): a body in, calls and refusals out.

A stranger's bytes become ``Call`` or ``Broken`` and nothing else. The answers are worded as geth words them, because
clients tell errors apart by code and words.

Not handled here: what a method does (``devchain_methods``), and how long the body may be (the server).
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from gateway.jsontext import is_shallow

BATCH_MAX: Final = 100
METHOD_MAX_CHARACTERS: Final = 64
ID_MAX_CHARACTERS: Final = 128
_ID_MAX_BITS: Final = 64
_DEPTH_MAX: Final = 32

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
SERVER_ERROR: Final = -32000
LIMIT_EXCEEDED: Final = -32005
REVERTED: Final = 3

RequestId = str | int | None


class RpcError(Exception):
    """An answer that is an error: its code, its words, and what a contract said, if one did."""

    def __init__(self, message: str, code: int = SERVER_ERROR, data: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.data = data


class Call(NamedTuple):
    """A well-formed request. A ``silent`` one (a notification) is done and not answered."""

    id: RequestId
    method: str
    params: list[Any]
    silent: bool


class Broken(NamedTuple):
    """Something that is no request, and the error that says so."""

    id: RequestId
    error: RpcError


class Body(NamedTuple):
    """The requests of one HTTP body, in order; ``batch`` says whether a list is answered by a list."""

    items: tuple[Call | Broken, ...]
    batch: bool


def parse_body(body: bytes) -> Body:
    """Read one HTTP body. What cannot be read is in the result, as ``Broken``: nothing is raised."""
    try:
        text = body.decode()
        if not is_shallow(text, _DEPTH_MAX):
            return _refuse(f"nested deeper than {_DEPTH_MAX}", PARSE_ERROR)
        value = json.loads(text, parse_constant=_no_constant)
    except ValueError:  # not UTF-8, not JSON, NaN, or a number of thousands of digits
        return _refuse("parse error", PARSE_ERROR)
    if not isinstance(value, list):
        return Body((_parse_item(value),), batch=False)
    if not value:
        return _refuse("empty batch", INVALID_REQUEST)
    if len(value) > BATCH_MAX:
        return _refuse(f"batch too large: {len(value)} calls, limit {BATCH_MAX}", INVALID_REQUEST)
    return Body(tuple(_parse_item(item) for item in value), batch=True)


def answer(request: Call | Broken, result: Any = None, error: RpcError | None = None) -> dict[str, Any]:  # noqa: ANN401 -- any JSON
    """The response object for one request."""
    said: dict[str, Any] = {"jsonrpc": "2.0", "id": request.id}
    if error is None:
        said["result"] = result
        return said
    said["error"] = {"code": error.code, "message": error.message}
    if error.data is not None:
        said["error"]["data"] = error.data
    return said


def encode(value: Any) -> bytes:  # noqa: ANN401 -- any JSON
    """JSON text, in ASCII."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _parse_item(value: Any) -> Call | Broken:  # noqa: ANN401 -- a stranger's JSON
    if not isinstance(value, dict):
        return Broken(None, RpcError("invalid request", INVALID_REQUEST))
    identity = value.get("id")
    if not _is_id(identity):
        return Broken(None, RpcError("invalid request: bad id", INVALID_REQUEST))
    if value.get("jsonrpc") != "2.0":
        return Broken(identity, RpcError("invalid request: jsonrpc must be 2.0", INVALID_REQUEST))
    method = value.get("method")
    if not isinstance(method, str) or not 0 < len(method) <= METHOD_MAX_CHARACTERS:
        return Broken(identity, RpcError("invalid request: bad method", INVALID_REQUEST))
    params = value.get("params")
    if params is None:
        params = []
    if not isinstance(params, list):
        return Broken(identity, RpcError("non-array args", INVALID_PARAMS))
    return Call(identity, method, params, "id" not in value)


def _is_id(value: object) -> bool:
    match value:
        case None:
            return True
        case bool():
            return False
        case int():
            return value.bit_length() <= _ID_MAX_BITS
        case str():
            return len(value) <= ID_MAX_CHARACTERS
        case _:
            return False


def _refuse(message: str, code: int) -> Body:
    return Body((Broken(None, RpcError(message, code)),), batch=False)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
