"""What nodes and vendors say when they refuse, sorted into what it means to us (pure).

JSON-RPC has no codes for most of it, so this goes by words: those of geth, erigon, besu, nethermind, anvil, hardhat,
eth-tester and the large vendors. Words that are not listed mean a refusal, which is always safe: the endpoint rests,
or the transaction is looked up.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.chain.port import SendKind
from gateway.chain.wire import RpcError, WireError, data, printable

MAX_REVERT_BYTES: Final = 64 * 1024
_REVERTED_CODE: Final = 3
_TOO_MANY_CODE: Final = -32005
_RATE_CODE: Final = 429

_RATE: Final = re.compile(
    r"rate.?limit|rate.?exceed|request rate|too many request|requests per|request count|compute units|throttl|quota"
)
_TOO_MANY: Final = re.compile(
    r"too many|too large|too wide|too big|too long|more than \d|block.?range|range (is|limit|exceed)|"
    r"max(imum)? range|limit.?exceed|exceeds? (the )?(max|limit|range)|response size|result size|max.?results|"
    r"limited to|up to a|time.?out|timed out|result set"
)
_NO_SMALLER: Final = re.compile(r"beyond (the )?current head|cannot be found|unknown block|header not found")
_REVERT: Final = re.compile(r"revert")
_VM: Final = re.compile(
    r"out of gas|gas required exceeds|invalid opcode|invalid jump|bad instruction|bad jump|stack (under|over)flow|"
    r"vm (exception|execution error)|execution error|invalid ?fe ?opcode"
)
_SENT: Final = (
    (
        SendKind.ALREADY_KNOWN,
        re.compile(r"already ?(known|imported|exists)|\bknown transaction|same hash"),
    ),
    (
        SendKind.NONCE_TOO_LOW,
        re.compile(r"nonce (is )?too low|old ?nonce|nonce ?too ?low|nonce has already been used"),
    ),
    (
        SendKind.OUT_OF_FUNDS,
        re.compile(
            r"insufficient ?(funds|balance)|up-?front cost|(not|n't) (have )?enough (funds|balance)|can't afford|"
            r"exceeds (account|sender)('s)? balance"
        ),
    ),
    (
        SendKind.UNDERPRICED,
        re.compile(
            r"underpriced|fee ?too ?low|price (is )?(too low|below)|below (configured )?(the )?minimum|not replaced|"
            r"could not replace|replacement ?not ?allowed|less than block base fee|less than the block's base fee|"
            r"tip cap .*minimum|max ?fee ?per ?gas (is )?(too low|less|below|lower)"
        ),
    ),
)
_EXPECTED_NONCE: Final = re.compile(r"nonce.{0,40}expected:? (\d{1,20}),? (?:got|actual):? (\d{1,20})")
_HEX: Final = re.compile(r"0x[0-9a-fA-F]*")


def is_rate_limit(error: RpcError) -> bool:
    """Whether the endpoint wants fewer requests."""
    if error.code == _REVERTED_CODE:
        return False  # the words are a contract's
    return error.code == _RATE_CODE or _RATE.search(_said(error)) is not None


def is_too_many_logs(error: RpcError) -> bool:
    """Whether eth_getLogs may answer for fewer blocks."""
    said = _said(error)
    return _NO_SMALLER.search(said) is None and (error.code == _TOO_MANY_CODE or _TOO_MANY.search(said) is not None)


def revert_data(error: RpcError) -> bytes | None:
    """What the contract said when a call reverted; None when the error is about something else.

    Whatever else stops a call in the machine (out of gas, an invalid opcode) is a revert without words.
    """
    said = _said(error)
    if error.code == _REVERTED_CODE or _REVERT.search(said) or _VM.search(said):
        return _carried(error.data)
    return None


def send_kind(error: RpcError) -> SendKind:
    """What an endpoint means that did not simply take a transaction."""
    said = _said(error)
    for kind, words in _SENT:
        if words.search(said):
            return kind
    nonces = _EXPECTED_NONCE.search(said)
    if nonces is not None and int(nonces[1]) > int(nonces[2]):
        return SendKind.NONCE_TOO_LOW
    return SendKind.REFUSED


def _said(error: RpcError) -> str:
    extra = error.data if isinstance(error.data, str) and not error.data.startswith("0x") else ""
    return f"{error.message} {printable(extra)}".lower().replace("_", " ")


def _carried(value: object) -> bytes:
    """Revert data as the nodes carry it: text, "Reverted 0x…", or one object deeper."""
    if isinstance(value, dict):
        value = value.get("data", value.get("result"))
    if not isinstance(value, str):
        return b""
    found = _HEX.search(value)
    try:
        return b"" if found is None else data(found[0], "the revert", MAX_REVERT_BYTES)
    except WireError:
        return b""
