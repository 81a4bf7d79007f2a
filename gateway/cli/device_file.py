"""The list of an import (pure): bytes in, applicants and every faulty line out.

CSV with a header and the columns id, fleet, alg, public_key in any order, or the registry's JSON Lines
(docs/spec/registry.md). Both are held to the same rules as the registry file, line by line, and the whole list is
read before anything is said: an operator corrects his export once.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from gateway.chain.contracts import ChainAlg
from gateway.chain.rollcall import Applicant
from gateway.crypto.keys import KeyRefused, parse_public_key
from gateway.message import Alg
from gateway.registry.line import Line, LineRefused, parse_line, shown
from gateway.registry.port import Status

MAX_FILE_BYTES: Final = 64 << 20
MAX_DEVICES: Final = 250_000
MAX_FAULTS: Final = 1000
COLUMNS: Final = ("id", "fleet", "alg", "public_key")
CHAIN_ALGS: Final = {Alg.ED25519: ChainAlg.ED25519, Alg.ES256: ChainAlg.ES256}


class LineFault(NamedTuple):
    """A line that does not hold. Line 0 is the file as a whole."""

    line: int
    problem: str
    hint: str


class Listed(NamedTuple):
    """What a file says: who applies, the lines that do not hold, and how many miners were passed over."""

    applicants: list[Applicant]
    faults: list[LineFault]
    miners: int = 0


class _FileRefused(ValueError):
    """The file as a whole does not hold from here on."""

    def __init__(self, line: int, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.fault = LineFault(line, problem, hint)


Numbered = Iterator[tuple[int, bytes | LineRefused]]
"""Lines of the registry's format, with their numbers in the file, or why there is none."""


def read_file(path: Path) -> bytes:
    """The whole file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, or too large; in words.
    """
    if not path.is_file() and path.exists():
        raise ValueError("is no regular file")
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"is larger than {MAX_FILE_BYTES >> 20} MiB; split it")
    return data


def read_csv(data: bytes) -> Listed:
    """Read a CSV list."""
    return _listed(_csv_lines(data))


def read_jsonl(data: bytes) -> Listed:
    """Read a list in the registry's format; miners in it are passed over."""
    return _listed(enumerate(io.BytesIO(data), 1))


def one_applicant(name: str, fleet: str, alg: str, public_key: str) -> Applicant:
    """A device as the command line names it.

    Raises:
        LineRefused: it does not hold.
    """
    return _applicant(0, _parsed(_json_line((name, fleet, alg, public_key))))


def _listed(lines: Numbered) -> Listed:
    listed = Listed([], [])
    miners = 0
    lines_of: dict[str, int] = {}
    try:
        for number, raw in lines:
            if len(listed.faults) >= MAX_FAULTS:
                raise _FileRefused(number, f"{MAX_FAULTS} lines do not hold", "the rest was not read")  # noqa: TRY301 -- ends the reading like the others
            try:
                if isinstance(raw, LineRefused):
                    raise raw
                line = parse_line(raw)
                if line is None:
                    continue
                _once(line, number, lines_of)
                if line.log is not None:
                    miners += 1
                    continue
                listed.applicants.append(_applicant(number, line))
            except LineRefused as refusal:
                listed.faults.append(LineFault(number, refusal.problem, refusal.hint))
            if len(listed.applicants) > MAX_DEVICES:
                raise _FileRefused(number, f"has more than {MAX_DEVICES} devices", "split it over several files")  # noqa: TRY301 -- likewise
    except _FileRefused as refusal:
        listed.faults.append(refusal.fault)
    return listed._replace(miners=miners)


def _once(line: Line, number: int, lines_of: dict[str, int]) -> None:
    before = lines_of.setdefault(line.id, number)
    if before != number:
        raise LineRefused(
            f"the id {shown(line.id)} stands in line {before} already", "an id is used once; keep one of the lines"
        )


def _applicant(number: int, line: Line) -> Applicant:
    if line.status is not Status.ACTIVE:
        raise LineRefused(
            f"{shown(line.id)} is {line.status}",
            "what is registered is active: leave it out"
            + ("" if line.status is Status.REVOKED else ", or write active, and suspend it after the import"),
        )
    try:
        key = parse_public_key(line.alg, line.key)
    except KeyRefused as refusal:
        raise LineRefused(f"public_key is refused: {refusal}", "export the device's public key again") from None
    return Applicant(number, line.id, line.fleet, CHAIN_ALGS[line.alg], key.data)


def _parsed(raw: bytes) -> Line:
    line = parse_line(raw)
    if line is None:
        raise LineRefused("the line is blank", "name a device")
    return line


def _csv_lines(data: bytes) -> Numbered:
    """Each row as the registry's line would have it, so that the same rules judge it."""
    try:
        text = data.decode("utf-8-sig")  # spreadsheets write the mark
    except UnicodeDecodeError as error:
        raise _FileRefused(data.count(b"\n", 0, error.start) + 1, "is not UTF-8", "save the file as UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    places: list[int] | None = None
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise _FileRefused(
                number, f"is no CSV: {error}", "quote fields with double quotes, or not at all"
            ) from None
        if row is None:
            break
        if not any(field.strip() for field in row):
            continue
        if places is None:
            places = _header(row, number)
        elif len(row) != len(places):
            yield number, LineRefused(f"has {len(row)} columns", f"the header has {len(places)}")
        else:
            yield number, _json_line([row[place].strip() for place in places])
    if places is None:
        raise _FileRefused(1, "is empty", f"the first line is {','.join(COLUMNS)}")


def _header(row: Sequence[str], number: int) -> list[int]:
    names = [field.strip().lower() for field in row]
    if sorted(names) != sorted(COLUMNS):
        hint = f"the first line is {','.join(COLUMNS)}"
        if len(names) == 1 and ";" in names[0]:
            hint += ", with commas, not semicolons"
        raise _FileRefused(number, f"has another header: {shown(','.join(names))}", hint)
    return [names.index(column) for column in COLUMNS]


def _json_line(values: Sequence[str]) -> bytes:
    members = dict(zip(COLUMNS, values, strict=True))
    return json.dumps({"kind": "device", **members, "status": "active"}).encode("ascii")
