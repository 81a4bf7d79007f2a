"""Rows of the journal as JSON can hold them: bytes in hexadecimal, text of strangers without control characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.journal import AnchorRow, QuarantineEntry
from gateway.journal.queries import KINDS, LogHit, RefusedHit
from gateway.ops.logging import sanitise
from gateway.tlog.entry import MessageEntry

_KIND_OF: Final = {shape: kind for kind, shape in KINDS.items()}
_DUMPED_BYTES: Final = 512
_DUMP_WIDTH: Final = 16
_TEXT_MAX: Final = 256


def text_of(value: str | None) -> str | None:
    """Text that came from the network, for a terminal or a page."""
    return None if value is None else sanitise(value, _TEXT_MAX)


def log_row(hit: LogHit) -> dict[str, Any]:
    """An entry of the log: index, kind and time, and what its kind has."""
    if hit.entry is None:
        return {"index": hit.index, "kind": "damaged", "time_ms": None}
    kind = _KIND_OF[type(hit.entry)]
    return {"index": hit.index, "kind": kind, **{name: _plain(each) for name, each in hit.entry._asdict().items()}}


def seen_row(hit: LogHit | None) -> dict[str, Any] | None:
    """The newest message of a device, in short."""
    if hit is None or not isinstance(hit.entry, MessageEntry):
        return None
    entry = hit.entry
    return {
        "index": hit.index,
        "time_ms": entry.time_ms,
        "verdict": entry.verdict.value,
        "score": entry.score,
        "label": text_of(entry.label),
    }


def refused_row(hit: RefusedHit) -> dict[str, Any]:
    """A refused message without its bytes."""
    return {
        "id": hit.id,
        "time_ms": hit.received_ms,
        "reason": hit.reason,
        "device": text_of(hit.device_id),
        "transport": hit.transport,
        "peer": text_of(hit.peer),
        "detail": text_of(hit.detail),
        "bytes": hit.size,
    }


def refused_record(entry: QuarantineEntry) -> dict[str, Any]:
    """A refused message with its first bytes, as a dump."""
    row = entry.row
    known = RefusedHit(
        entry.id, row.received_ms, row.reason, row.transport, row.peer, row.device_id, row.detail, len(row.payload)
    )
    shown = row.payload[:_DUMPED_BYTES]
    return refused_row(known) | {"dump": hex_dump(shown), "dumped_bytes": len(shown)}


def anchor_row(row: AnchorRow) -> dict[str, Any]:
    """An attempt to anchor; of the transaction itself only its hash."""
    return {
        "id": row.id,
        "state": row.state,
        "open": row.is_open,
        "size": row.size,
        "root": row.root.hex(),
        "sealed_ms": row.sealed_ms,
        "changed_ms": row.changed_ms,
        "chain_id": row.chain_id,
        "contract": _address(row.contract),
        "account": _address(row.account),
        "nonce": row.nonce,
        "tx_hash": _address(row.tx_hash),
        "block_number": row.block_number,
        "block_hash": _address(row.block_hash),
        "gas_used": row.gas_used,
        "price_wei": None if row.price_wei is None else str(row.price_wei),
        "detail": text_of(row.detail),
    }


def hex_dump(data: bytes) -> list[str]:
    """Lines of offset, bytes in hexadecimal, and the printable ASCII among them."""
    lines = []
    for start in range(0, len(data), _DUMP_WIDTH):
        part = data[start : start + _DUMP_WIDTH]
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)  # noqa: PLR2004 -- ASCII
        lines.append(f"{start:04x}  {part.hex(' '):<{3 * _DUMP_WIDTH - 1}}  {shown}")
    return lines


def _address(data: bytes | None) -> str | None:
    return None if data is None else f"0x{data.hex()}"


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str):
        return text_of(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, Sequence):
        return [_plain(each) for each in value]
    return value
