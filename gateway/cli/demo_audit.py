"""The demo's judge: after the gateway has stopped, compare what the fleet was told with what is in the journal.

It trusts neither side. What the fleet sent and heard stands in its record, one line a message; what the gateway
decided stands in its log and quarantine. Every promise is looked up: a receipt's index must hold that very message,
and whatever an honest device saw acknowledged must be there. Everything an attacker sent is looked up too, and must
not be.
"""

from __future__ import annotations

import json
from base64 import b64decode
from binascii import Error as Base64Error
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway.cli.demo_parts import DemoError
from gateway.journal import Reader
from gateway.receipt import Receipt, ReceiptError
from gateway.receipt import parse as parse_receipt
from gateway.tlog.entry import EntryError, MessageEntry, parse_entry

HONEST: Final = "honest"
ACCEPTED: Final = "accepted"
DUPLICATE: Final = "duplicate"
SILENT: Final = "silent"
_PRELUDE: Final = "/prelude"
_SAMPLES: Final = 10
# Over MQTT these refusals come with a receipt, so the fleet's record names them; all others are met with silence.
_RECEIPTED: Final = frozenset(
    {DUPLICATE, "sequence-reused", "stale-session", "out-of-window", "too-old", "in-future"}
)


class Line(NamedTuple):
    """One line of the fleet's record: one message and its story."""

    device: str
    digest: bytes
    kind: str
    expected: frozenset[str]
    outcome: str
    via: str
    acknowledged: bool
    receipt: bytes | None

    @property
    def scenario(self) -> str:
        """The scenario, or ``honest``."""
        return self.kind.removesuffix(_PRELUDE)

    @property
    def is_attack(self) -> bool:
        """Whether it is hostile itself, not honest nor what an attack needs first."""
        return self.kind != HONEST and not self.kind.endswith(_PRELUDE)

    @property
    def must_be_in_the_log(self) -> bool:
        """Whether nothing but acceptance is right."""
        return self.expected == {ACCEPTED}


@dataclass(slots=True)
class Scenario:
    """What became of one scenario's attacks, or of the honest messages."""

    sent: int = 0
    expected: set[str] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def wrong(self) -> int:
        """Refusals by another reason than the scenario must get, and acceptances that must not be."""
        return sum(count for reason, count in self.seen.items() if reason not in self.expected | _UNDECIDED)

    @property
    def shown(self) -> bool:
        """Whether what must come of it was seen; of a flood that is the refusal."""
        return any(reason in self.seen for reason in self.expected - {ACCEPTED} or self.expected)


_UNDECIDED: Final = frozenset({SILENT, "unanswered", "refused-by-broker"})


@dataclass(slots=True)
class Findings:
    """What the judge found. Each list holds sentences, one a message; all must be empty."""

    honest_rejected: list[str] = field(default_factory=list)
    hostile_accepted: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    scenarios: dict[str, Scenario] = field(default_factory=dict)
    provable: dict[str, int] = field(default_factory=dict)

    @property
    def wrong_reasons(self) -> list[str]:
        """Scenarios of which some message ended in another way than the formats say."""
        return [name for name, scenario in self.scenarios.items() if scenario.wrong and name != HONEST]

    @property
    def not_shown(self) -> list[str]:
        """Scenarios that never came to the point; a longer run brings them."""
        return [name for name, scenario in self.scenarios.items() if not scenario.shown]

    def samples(self) -> list[str]:
        """The first few of the sentences."""
        told = (self.hostile_accepted, self.honest_rejected, self.lost, self.doubled)
        return [sentence for sentences in told for sentence in sentences[:_SAMPLES]]


def read_record(path: Path) -> Iterator[Line]:
    """Read the fleet's record.

    Raises:
        DemoError: it is not there, or is no record.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for text in file:
                yield _line(json.loads(text))
    except (OSError, ValueError, KeyError, TypeError, Base64Error) as error:
        raise DemoError(f"the fleet's record cannot be read: {type(error).__name__}") from None


def _line(row: Mapping[str, Any]) -> Line:
    receipt = row["receipt"]
    return Line(
        device=str(row["device"]),
        digest=bytes.fromhex(row["digest"]),
        kind=str(row["kind"]),
        expected=frozenset(row["expected"]),
        outcome=str(row["outcome"]),
        via=str(row["via"]),
        acknowledged=row["acked_ms"] is not None,
        receipt=None if receipt is None else b64decode(receipt, validate=True),
    )


def audit(record: Path, reader: Reader) -> Findings:
    """Compare the fleet's record with the journal of the gateway that has stopped.

    Raises:
        DemoError: the record cannot be read.
    """
    findings = Findings()
    held = _messages(reader, findings)
    scenario_of: dict[str, str] = {}
    for line in read_record(record):
        scenario_of[line.device] = line.scenario
        _note(findings, line)
        _look_up(findings, line, held)
    _silent_refusals(reader, findings, scenario_of)
    return findings


def _messages(reader: Reader, findings: Findings) -> dict[bytes, int]:
    """Digest → index of every message in the log; one that is there twice is noted."""
    held: dict[bytes, int] = {}
    for row in reader.entries(0, reader.size()):
        try:
            entry = parse_entry(row.entry)
        except EntryError:
            continue  # log fsck says so
        if isinstance(entry, MessageEntry):
            first = held.setdefault(entry.digest, row.index)
            if first != row.index:
                findings.doubled.append(f"entries {first} and {row.index} are the same message")
    return held


def _note(findings: Findings, line: Line) -> None:
    if line.kind.endswith(_PRELUDE):
        if line.outcome not in _UNDECIDED | {ACCEPTED, DUPLICATE}:
            scenario = findings.scenarios.setdefault(line.scenario, Scenario())
            scenario.seen[f"{line.outcome} of what it needs first"] += 1
        return
    scenario = findings.scenarios.setdefault(line.scenario, Scenario())
    scenario.sent += 1
    scenario.expected |= line.expected
    if line.outcome != SILENT:
        scenario.seen[line.outcome] += 1


def _look_up(findings: Findings, line: Line, held: Mapping[bytes, int]) -> None:
    index = held.get(line.digest)
    named = f"{line.kind} message of {line.device} over {line.via}"
    if line.is_attack:
        stored = index is not None and not line.expected & {ACCEPTED, DUPLICATE}
        if stored or (line.outcome == ACCEPTED and ACCEPTED not in line.expected):
            findings.hostile_accepted.append(f"{named} was accepted")
    elif line.kind == HONEST and line.outcome not in _UNDECIDED | {ACCEPTED, DUPLICATE}:
        findings.honest_rejected.append(f"{named} was refused: {line.outcome}")
    if line.receipt is not None:
        _look_up_receipt(findings, line.receipt, index, named)
    elif line.acknowledged and line.must_be_in_the_log and index is None and line.outcome in _UNDECIDED:
        findings.lost.append(f"{named} was acknowledged, and is not in the log")
    if line.kind == HONEST and index is not None:
        findings.provable.setdefault(line.via, index)


def _look_up_receipt(findings: Findings, data: bytes, index: int | None, named: str) -> None:
    try:
        receipt: Receipt = parse_receipt(data)
    except ReceiptError:
        return  # the fleet counts bad receipts
    if receipt.log_index is not None and receipt.log_index != index:
        where = "the log has no such message" if index is None else f"it is entry {index}"
        findings.lost.append(f"{named} has a receipt for entry {receipt.log_index}, but {where}")


def _silent_refusals(reader: Reader, findings: Findings, scenario_of: Mapping[str, str]) -> None:
    """Give each refusal that its sender heard nothing of to the scenario that it belongs to."""
    after = 0
    while rows := reader.quarantine(after):
        after = rows[-1].id
        for _id, row in rows:
            if row.transport != "mqtt" or row.reason in _RECEIPTED:
                continue
            name = scenario_of.get(row.peer if row.device_id is None else row.device_id)
            if name == HONEST:
                findings.honest_rejected.append(f"a message of {row.device_id or row.peer} was refused: {row.reason}")
            elif name is not None:
                findings.scenarios.setdefault(name, Scenario()).seen[row.reason] += 1
