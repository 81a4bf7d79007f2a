"""What a row of a damaged database has to be to be carried over: of its types, its lengths, its words (pure).

An entry is believed by its hash. What stands beside the log has none; a row that means nothing would be met at every
start, or at every look of anchoring, and end it each time. So it is left out, and told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from gateway.journal import outbox
from gateway.journal.accesses import AccessRow
from gateway.journal.models import RanState
from gateway.journal.outbox import AnchorRow

Row = Sequence[Any]
_Test = Callable[[Any], bool]

_MOST: Final = 1 << 62
"""What is counted on from here still fits."""
_REASON: Final = re.compile(r"[a-z0-9-]{1,32}")
_LOADED, _REFUSED, _RETURNED = 1, 2, 3
_ID_CHARACTERS_MAX: Final = 256


def is_state(row: Row) -> bool:
    """Whether this is a device's id and its replay state."""
    device_id, state = row
    return isinstance(device_id, str) and isinstance(state, bytes)


def is_checkpoint(row: Row, log_size: int) -> bool:
    """Whether this is a checkpoint of a log of that size."""
    size, root, text, time_ms = row
    return _count(size) and size <= log_size and _octets(32)(root) and isinstance(text, str) and _count(time_ms)


def is_gap(row: Row, log_size: int) -> bool:
    """Whether these are entries of a log of that size, and why they are gone."""
    start, end, reason = row
    return _count(start) and _count(end) and start < end <= log_size and reason in {"policy", "damage"}


def is_fact(row: Row, log_size: int) -> bool:
    """Whether this says which entries of a log of that size are final, or which key signed last."""
    name, value = row
    if name == "final_size":
        return _count(value) and value <= log_size
    return isinstance(value, str) and re.fullmatch(r"[0-9A-Fa-f]{64}", value) is not None


def is_quarantined(row: Row) -> bool:
    """Whether this is a refused message."""
    number, received_ms, reason, transport, peer, device_id, detail, payload = row
    return (
        _count(number)
        and _count(received_ms)
        and all(isinstance(text, str) for text in (reason, transport, peer, detail))
        and (device_id is None or isinstance(device_id, str))
        and isinstance(payload, bytes)
    )


def is_model(row: Row) -> bool:
    """Whether this is a model's id, and its highest version that ran."""
    model_id, highest = row
    return _id(model_id) and _count(highest)


def is_version(row: Row) -> bool:
    """Whether this is a version that ran."""
    model_id, version, digest, state, envelope = row
    return (
        _id(model_id)
        and _count(version)
        and _octets(32)(digest)
        and state in set(RanState)
        and (envelope is None or isinstance(envelope, bytes))
    )


def is_report(row: Row) -> bool:
    """Whether this is a report that the contract's access log has a place for."""
    number, time_ms, *report = row
    return _count(number) and _count(time_ms) and _reports(*report)


def is_anchor(row: Row, log_size: int) -> bool:
    """Whether anchoring can go on with this attempt, or keep it as one at its end."""
    if len(row) != len(AnchorRow._fields):
        return False
    anchor = AnchorRow._make(row)
    return (
        _count(anchor.size)
        and anchor.size <= log_size
        and _octets(32)(anchor.root)
        and _count(anchor.sealed_ms)
        and (anchor.state == outbox.SEALED or anchor.state in outbox.ON_THEIR_WAY | outbox.ENDS)
        and _is_attempt(anchor)
    )


def is_access(row: Row) -> bool:
    """Whether the reports can go on with this attempt, or keep it as one at its end."""
    if len(row) != len(AccessRow._fields):
        return False
    access = AccessRow._make(row)
    return (
        _count(access.report_id)
        and _reports(access.model_id, access.version, access.result, access.reason)
        and access.state in outbox.ON_THEIR_WAY | outbox.ENDS
        and _is_attempt(access)
    )


def _is_attempt(row: AnchorRow | AccessRow) -> bool:
    """What both outboxes say of a transaction, and of its block."""
    facts: tuple[tuple[_Test, Sequence[object]], ...] = (
        (_count, (row.id, row.chain_id, row.changed_ms)),
        (_or_none(_octets(20)), (row.account,)),
        (_or_none(_octets(32)), (row.tx_hash, row.block_hash)),
        (_or_none(_amount), (row.nonce, row.max_fee_wei, row.priority_fee_wei, row.block_number)),
        (_or_none(_amount), (row.gas_used, row.price_wei)),
        (_or_none(lambda raw: isinstance(raw, bytes)), (row.raw,)),
    )
    return (
        all(test(value) for test, values in facts for value in values)
        and _octets(20)(row.contract)
        and isinstance(row.detail, str)
        and row.is_open in {0, 1}
        and bool(row.is_open) == (row.state not in outbox.ENDS)
        and (not row.is_open or (row.tx_hash is None) == (row.state == outbox.SEALED))
        and (row.nonce is None or row.account is not None)
    )


def _reports(model_id: object, version: object, result: object, reason: object) -> bool:
    if not (_id(model_id) and _count(version) and isinstance(reason, str) and isinstance(result, int)):
        return False
    if reason and not _REASON.fullmatch(reason):
        return False
    return (result == _LOADED and not reason) or (result == _REFUSED and bool(reason)) or result == _RETURNED


def _count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < _MOST


def _amount(value: object) -> bool:
    return isinstance(value, int) and value >= 0


def _id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _ID_CHARACTERS_MAX


def _octets(length: int) -> _Test:
    return lambda value: isinstance(value, bytes) and len(value) == length


def _or_none(test: _Test) -> _Test:
    return lambda value: value is None or test(value)
