"""Rows as CSV and JSON, piece by piece (pure).

A spreadsheet runs what begins like a formula, so such a cell gets an apostrophe in front (OWASP, CSV injection). The
last line says whether the rows are all there are, and with which cursor to go on when they are not.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

FORMATS: Final = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "log": (
        *("index", "kind", "time_ms", "device_id", "session", "seq", "verdict", "score", "label", "model", "digest"),
        *("from_ms", "to_ms", "counts", "most_refused", "model_id", "version", "manifest", "event", "reason"),
        *("action", "cause", "evidence", "old_key", "new_key", "before_ms"),
    ),
    "quarantine": ("id", "time_ms", "reason", "device", "transport", "peer", "detail", "bytes"),
    "anchors": (
        *("id", "state", "size", "root", "sealed_ms", "changed_ms", "chain_id", "contract", "account", "nonce"),
        *("tx_hash", "block_number", "block_hash", "gas_used", "price_wei", "detail"),
    ),
}
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def cell(value: object) -> str:
    """A value as the text of one cell that no spreadsheet runs."""
    if value is None:
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULA) else text


class Writer:
    """Writes one file: ``start``, ``rows`` as often as there are some, ``end``. ``written`` counts the rows."""

    def __init__(self, form: str, columns: Sequence[str]) -> None:
        self._form = form
        self._columns = columns
        self.written = 0

    def start(self) -> bytes:
        """What comes before the rows."""
        return _line(self._columns) if self._form == "csv" else b'{"rows":['

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> bytes:
        """Some rows."""
        if self._form == "csv":
            data = b"".join(_line([cell(row.get(name)) for name in self._columns]) for row in rows)
        else:
            texts = [json.dumps(row, separators=(",", ":")) for row in rows]
            data = (",\n" if self.written and texts else "").encode() + ",\n".join(texts).encode()
        self.written += len(rows)
        return data

    def end(self, before: int | None) -> bytes:
        """What comes after them; ``before`` is the cursor to go on with, None when they are all."""
        if self._form == "json":
            told = {"complete": before is None, "count": self.written, "before": before}
            return b"]," + json.dumps(told, separators=(",", ":")).encode()[1:] + b"\n"
        if before is None:
            return _line([f"# complete: {self.written} rows"])
        return _line([f"# cut after {self.written} rows: there are more; go on with before={before}"])


def _line(cells: Sequence[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue().encode()
