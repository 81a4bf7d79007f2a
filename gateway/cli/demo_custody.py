"""What the demo's chain says in the end, held against the journal of the gateway that has stopped.

The chain is asked for all of the log's anchors and for what they cost; the journal for what the gateway believes of
them, and its entries for the roots that they really have. ``judge_anchors`` trusts neither side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.cli.demo_parts import DemoError
from gateway.cli.proof_chain import ask_each
from gateway.cli.proof_export import FINAL
from gateway.config.model import Config
from gateway.journal import AnchorRow, Reader
from gateway.tlog.entry import Entry, EntryError, MessageEntry, parse_entry
from gateway.tlog.evidence import AnchoredRoot
from gateway.tlog.tiles import MissingTileError, root_at

if TYPE_CHECKING:
    from gateway.chain.evidence import Source
    from gateway.chain.port import View

_ROWS_MAX = 1_000_000


class OnChain(NamedTuple):
    """The chain's word of one log, up to its head: ``gas`` by transaction, ``block_s`` the time of a block."""

    anchors: tuple[AnchoredRoot, ...]
    gas: Mapping[bytes, int]
    final_block: int
    is_frozen: bool
    block_s: int | None


class InJournal(NamedTuple):
    """The journal's word: every attempt to anchor; the root and the number of messages at each size."""

    rows: tuple[AnchorRow, ...]
    roots: Mapping[int, bytes]
    messages: Mapping[int, int]


class Due(NamedTuple):
    """What must have come of the run: final anchors, and the entries that the last of them has to cover."""

    anchors: int
    size: int


class Anchors(NamedTuple):
    """What came of it."""

    final: int
    gas_per_message: float | None
    problems: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """For the report."""
        return {"anchors_final": self.final, "gas_per_message": self.gas_per_message}


def ask_the_chain(config: Config, block: int | None) -> OnChain:
    """Ask for all that is to be judged.

    Args:
        config: the gateway's.
        block: whose time is wanted.

    Raises:
        DemoError: the chain does not answer.
    """

    async def question(view: View, source: Source) -> OnChain:
        from gateway.chain.evidence import collect_log  # noqa: PLC0415 -- needs the extra chain

        history = await collect_log(view, source, config.origin)
        receipts = [await view.receipt(anchor.at.tx_hash) for anchor in history.anchors]
        found = None if block is None else await view.block(block)
        return OnChain(
            history.anchors,
            {receipt.tx_hash: receipt.gas_used for receipt in receipts if receipt is not None},
            history.final,
            bool(history.two_roots),
            None if found is None else found.timestamp_s,
        )

    [(_, said)] = ask_each((config.chain,), question)
    if isinstance(said, str):
        raise DemoError(f"the chain does not answer at the end: {said}")
    return said


def read_the_journal(reader: Reader, chain: OnChain) -> InJournal:
    """Read what is to be held against the chain: for the sizes that either side speaks of.

    Raises:
        DemoError: the log lacks a part that was anchored.
    """
    rows = tuple(reader.newest_anchors(_ROWS_MAX))
    own = reader.size()
    sizes = {row.size for row in rows} | {anchor.size for anchor in chain.anchors}
    known = sorted(size for size in sizes if 0 < size <= own)
    try:
        roots = {size: root_at(reader, size) for size in known}
    except MissingTileError as error:
        raise DemoError(f"the log cannot be read at the end: {error}") from None
    messages, count, start = {}, 0, 0
    for size in known:
        count += sum(_is_message(row.entry) for row in reader.entries(start, size))
        messages[size], start = count, size
    return InJournal(rows, roots, messages)


def logged_entries(reader: Reader) -> Iterator[Entry]:
    """Every entry of the log that is one."""
    for row in reader.entries(0, reader.size()):
        try:
            yield parse_entry(row.entry)
        except EntryError:
            continue  # log fsck says so


def logged_of(reader: Reader, device_id: str) -> dict[bytes, int]:
    """The messages of a device in the log: digest → when, in milliseconds."""
    return {
        entry.digest: entry.time_ms
        for entry in logged_entries(reader)
        if isinstance(entry, MessageEntry) and entry.device_id == device_id
    }


def judge_anchors(chain: OnChain, journal: InJournal, due: Due) -> Anchors:
    """Count the anchors that both sides call final, and name everything that does not agree (pure)."""
    on_chain = {anchor.at.tx_hash: anchor for anchor in chain.anchors}
    believed = [row for row in journal.rows if row.state == FINAL]
    final = [row for row in believed if _agrees(row, on_chain.get(row.tx_hash or b""), chain.final_block)]
    gas = sum(chain.gas.get(row.tx_hash or b"", 0) for row in final)
    messages = max((journal.messages.get(row.size, 0) for row in final), default=0)
    problems = (*_chain_faults(chain, journal), *_journal_faults(believed, final, chain), *_not_done(final, due))
    return Anchors(len(final), round(gas / messages, 1) if messages else None, problems)


def _agrees(row: AnchorRow, anchor: AnchoredRoot | None, final_block: int) -> bool:
    """Whether the chain has, in a final block, exactly what the journal believes."""
    return (
        anchor is not None
        and (row.size, row.root, row.block_number, row.block_hash)
        == (
            anchor.size,
            anchor.root,
            anchor.at.block,
            anchor.at.block_hash,
        )
        and anchor.at.block <= final_block
    )


def _chain_faults(chain: OnChain, journal: InJournal) -> Iterator[str]:
    if chain.is_frozen:
        yield "the log is frozen on the chain: two roots of one size"
    ours = {row.tx_hash for row in journal.rows}
    for anchor in chain.anchors:
        if anchor.at.tx_hash not in ours:
            yield f"the chain has an anchor of {anchor.size} entries that the gateway does not know of"
        if journal.roots.get(anchor.size) != anchor.root:
            yield f"the chain has another root of {anchor.size} entries than the log"


def _journal_faults(believed: Sequence[AnchorRow], final: Sequence[AnchorRow], chain: OnChain) -> Iterator[str]:
    for row in believed:
        if row not in final:
            yield f"the gateway holds an anchor of {row.size} entries for final that the chain has not so"
        elif chain.gas.get(row.tx_hash or b"") != row.gas_used:
            yield f"the anchor of {row.size} entries took other gas by the chain than by the journal"


def _not_done(final: Sequence[AnchorRow], due: Due) -> Iterator[str]:
    if len(final) < due.anchors:
        yield f"{len(final)} anchors are final, and {due.anchors} should be"
    covered = max((row.size for row in final), default=0)
    if covered < due.size:
        yield f"the final anchors cover {covered} entries, and should cover {due.size}"


def _is_message(entry: bytes) -> bool:
    try:
        return isinstance(parse_entry(entry), MessageEntry)
    except EntryError:
        return False
