"""The outbox during one look: every change is durable before it is here, and here before it is told.

The open rows are read from the journal at each look; what this process remembers beside them are figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import structlog

from gateway.anchor.lifecycle import BIRTHS, COUNTING, ENDS, IN_BLOCK, Event, IllegalMove, State, moved
from gateway.anchor.nonces import Place
from gateway.anchor.past import Head
from gateway.anchor.transaction import Target
from gateway.journal.accesses import AccessRow, OwedReport
from gateway.journal.outbox import AnchorRow

log = structlog.get_logger("anchor")

KEPT: Final = 1024
"""Rows that the figures are counted from at the start; the journal keeps all of the newest so many."""

_DISPLACED: Final = "another program uses the anchoring account: its transaction took this nonce"
_ELSEWHERE: Final = "the configuration names another chain or contract"
_TOLD: Final[Mapping[Event, tuple[str, str]]] = {
    Event.SIGN: ("debug", "anchor.signed"),
    Event.BROADCAST: ("info", "anchor.broadcast"),
    Event.REPLACE: ("info", "anchor.replaced"),
    Event.MINE: ("info", "anchor.mined"),
    Event.REVERT: ("error", "anchor.reverted"),
    Event.DISPLACE: ("error", "anchor.displaced"),
    Event.REORG: ("warning", "anchor.reorged"),
    Event.FINALISE: ("info", "anchor.final"),
    Event.SUPERSEDE: ("debug", "anchor.superseded"),
    Event.ABANDON: ("warning", "anchor.abandoned"),
}


class Outbox(Protocol):
    """The journal, as far as anchoring cares (``gateway.journal.Journal``)."""

    async def record_anchors(self, rows: Sequence[AnchorRow]) -> None:
        """Write rows, all or none; durable when it returns."""
        ...

    async def open_anchors(self) -> list[AnchorRow]:
        """The rows that have not come to their end, the oldest first."""
        ...

    async def newest_anchors(self, limit: int = 1) -> list[AnchorRow]:
        """The newest rows, the newest first."""
        ...

    async def set_final_size(self, size: int) -> None:
        """The first ``size`` entries are final on chain; never lowers what was noted."""
        ...

    def size(self) -> int:
        """How many entries the log has."""
        ...


class AccessOutbox(Protocol):
    """The journal, as far as reports care (``gateway.journal.Journal``)."""

    async def record_accesses(self, rows: Sequence[AccessRow]) -> None:
        """Write rows, all or none; durable when it returns."""
        ...

    async def open_accesses(self) -> list[AccessRow]:
        """The rows that have not come to their end, the oldest first."""
        ...

    async def newest_accesses(self, limit: int = 1) -> list[AccessRow]:
        """The newest rows, the newest first."""
        ...

    async def owed_reports(self, limit: int = 1) -> list[OwedReport]:
        """The oldest reports that no transaction carries."""
        ...


class Step(NamedTuple):
    """An event of a row, and the fields that it changes."""

    event: Event
    fields: Mapping[str, Any] = {}


_Row = TypeVar("_Row", AnchorRow, AccessRow)


def stepped(row: _Row, steps: Iterable[Step], now_ms: int) -> _Row:
    """The row after these steps (pure).

    Raises:
        IllegalMove: the table of states has no such step.
    """
    for step in steps:
        state = moved(State(row.state), step.event)
        fields = dict(step.fields)
        if step.event is Event.REORG:
            fields |= {"block_number": None, "block_hash": None, "gas_used": None, "price_wei": None, "detail": ""}
        if step.event is Event.DISPLACE:
            fields["detail"] = _DISPLACED
        if state in ENDS:
            fields |= {"is_open": False, "raw": None}
        row = row._replace(state=state.value, changed_ms=now_ms, **fields)
    return row


class Figures(NamedTuple):
    """What the rows come to: those that the journal still has."""

    counts: Mapping[str, int]
    gas_used: int


class Book:
    """The rows of one target, and the one way to change them."""

    def __init__(self, outbox: Outbox, target: Target) -> None:
        self._outbox = outbox
        self._target = target
        self._rows: dict[int, AnchorRow] = {}
        self._newest_id = 0
        self._counts: Counter[str] = Counter()
        self._gas_used = 0
        self._loaded = False
        self.final: AnchorRow | None = None
        self.last_sealed_ms: int | None = None
        self.newest_state: State | None = None

    async def load(self, now_ms: int) -> None:
        """Read the open rows; the first time also what the others come to."""
        if not self._loaded:
            kept = [row for row in await self._outbox.newest_anchors(KEPT) if self._ours(row)]
            for row in kept:
                self._counts[row.state] += 1
                self._gas_used += row.gas_used or 0
                if row.state == State.FINAL and (self.final is None or row.size > self.final.size):
                    self.final = row
            self._loaded = True
        newest = await self._outbox.newest_anchors(1)
        self._newest_id = newest[0].id if newest else 0
        if newest and self._ours(newest[0]):
            self.last_sealed_ms, self.newest_state = newest[0].sealed_ms, State(newest[0].state)
        self._rows = {row.id: row for row in await self._outbox.open_anchors()}
        foreign = [row for row in self._rows.values() if not self._ours(row)]
        for row in foreign:
            await self.step(row, [Step(Event.ABANDON, {"detail": _ELSEWHERE})], now_ms)

    def _ours(self, row: AnchorRow) -> bool:
        """Whether a row is for this chain and contract."""
        return row.chain_id == self._target.chain_id and row.contract == self._target.contract

    @property
    def rows(self) -> list[AnchorRow]:
        """The open rows, the oldest first."""
        return sorted(self._rows.values(), key=lambda row: row.id)

    def nonces(self) -> list[list[AnchorRow]]:
        """The open rows that have a transaction, by account and nonce, the lowest first; those without one alone."""
        groups: dict[tuple[bytes, int, int], list[AnchorRow]] = {}
        for row in self.rows:
            if row.tx_hash is not None:
                alone = row.id if row.nonce is None else 0
                groups.setdefault((row.account or b"", row.nonce or 0, alone), []).append(row)
        return [groups[key] for key in sorted(groups)]

    def sealed(self) -> AnchorRow | None:
        """The row that has no transaction yet."""
        return next((row for row in self.rows if row.state == State.SEALED), None)

    def believed(self) -> AnchorRow | None:
        """The anchor of the largest size that is in a block."""
        mined = [row for row in self.rows if row.state == State.MINED]
        return max([*mined, *([self.final] if self.final else [])], key=lambda row: (row.size, row.id), default=None)

    def on_their_way(self) -> list[Head]:
        """The checkpoints of the open rows."""
        return [Head(row.size, row.root) for row in self.rows]

    def covered_size(self) -> int:
        """What the chain has, or is about to have."""
        sizes = [self.final.size if self.final else 0]
        for attempts in self.nonces():
            decided = [row for row in attempts if State(row.state) in IN_BLOCK]
            sizes += [row.size for row in decided or attempts if State(row.state) in COUNTING]
        return max(sizes)

    def figures(self) -> Figures:
        """What the rows come to."""
        return Figures(dict(sorted(self._counts.items())), self._gas_used)

    def new_row(self, state: State, head: Head, now_ms: int) -> AnchorRow:
        """A row of the next id, which is not written yet."""
        chain_id, contract, _ = self._target
        return AnchorRow(
            id=self._newest_id + 1,
            chain_id=chain_id,
            contract=contract,
            size=head.size,
            root=head.root,
            state=state.value,
            is_open=True,
            sealed_ms=now_ms,
            changed_ms=now_ms,
        )

    async def born(self, row: AnchorRow, told: str, *, instead_of: AnchorRow | None = None, now_ms: int) -> AnchorRow:
        """Write a new row, and in the same breath that an older one is replaced by it."""
        if State(row.state) not in BIRTHS:
            raise IllegalMove(f"no anchor begins as {row.state}")
        replaced = [] if instead_of is None else [stepped(instead_of, [Step(Event.REPLACE)], now_ms)]
        await self._outbox.record_anchors([*replaced, row])
        for written in (*replaced, row):
            self._take(written)
        self._newest_id = max(self._newest_id, row.id)
        self.last_sealed_ms, self.newest_state = row.sealed_ms, State(row.state)
        if instead_of is not None:
            _tell(Step(Event.REPLACE), replaced[0])
        log.info(told, size=row.size, **_of(row))
        return row

    async def step(self, row: AnchorRow, steps: Sequence[Step], now_ms: int) -> AnchorRow:
        """Move one row."""
        return (await self.steps([(row, steps)], now_ms))[0]

    async def steps(self, changes: Sequence[tuple[AnchorRow, Sequence[Step]]], now_ms: int) -> list[AnchorRow]:
        """Move several rows, in one transaction."""
        after = [stepped(row, steps, now_ms) for row, steps in changes]
        await self._outbox.record_anchors(after)
        for (_, steps), row in zip(changes, after, strict=True):
            self._take(row)
            for step in steps:
                _tell(step, row)
        return after

    def _take(self, row: AnchorRow) -> None:
        before = self._rows.pop(row.id, None)
        if before is not None:
            self._counts[before.state] -= 1
            self._gas_used -= before.gas_used or 0
        self._counts[row.state] += 1
        self._counts += Counter()
        self._gas_used += row.gas_used or 0
        if row.is_open:
            self._rows[row.id] = row
        if row.state == State.FINAL and (self.final is None or row.size >= self.final.size):
            self.final = row
        if row.id == self._newest_id:
            self.newest_state = State(row.state)


def place_of(row: AnchorRow | AccessRow) -> Place | None:
    """The block that decided a row; None when none did."""
    if State(row.state) not in IN_BLOCK or row.block_number is None or row.block_hash is None:
        return None
    return Place(row.block_number, row.block_hash)


def _of(row: AnchorRow) -> dict[str, Any]:
    """What the log says of a transaction."""
    found = {
        "nonce": row.nonce,
        "tx": None if row.tx_hash is None else f"0x{row.tx_hash.hex()}",
        "block": row.block_number,
        "gas": row.gas_used,
        "detail": row.detail or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _tell(step: Step, row: AnchorRow) -> None:
    level, event = _TOLD[step.event]
    if step.event is Event.FINALISE and row.state != State.FINAL:
        level, event = "info", f"anchor.{row.state}"
    getattr(log, level)(event, size=row.size, **_of(row))
