"""Reads the journal beside a running gateway: sizes, checkpoints, anchors."""

from __future__ import annotations

from pathlib import Path

from gateway.config.model import Config
from gateway.doctor.case import Case
from gateway.doctor.finding import Finding
from gateway.doctor.journal import AnchorFacts, JournalFacts, judge_anchors, judge_journal
from gateway.doctor.runner import aside
from gateway.journal import JournalDamaged, JournalError, JournalTooNew, Reader, open_reader
from gateway.journal.budget import marks_of
from gateway.journal.opening import ASIDE
from gateway.tlog.entry import EntryError, parse_entry

_MAX_ASIDE = 20


async def ask_journal(case: Case) -> list[Finding]:
    """How the journal is."""
    facts = await aside(journal_facts, case.sound, running=case.status is not None)
    told = [str(each) for each in (case.status or {}).get("warnings", ()) if "is not published" in str(each)]
    return judge_journal(case.sound, facts._replace(not_published="; ".join(told)))


async def ask_anchors(case: Case) -> list[Finding]:
    """How far the chain has the log."""
    return judge_anchors(case.sound, await aside(anchor_facts, case.sound), case.now_ms)


def journal_facts(config: Config, *, running: bool) -> JournalFacts:
    """What the journal says of itself."""
    try:
        with open_reader(config.gateway.data_dir) as reader:
            return _journal(config, reader, running=running)
    except FileNotFoundError as fault:
        return JournalFacts(("none", str(fault)))
    except JournalTooNew as fault:
        return JournalFacts(("too-new", str(fault)))
    except JournalDamaged as fault:
        return JournalFacts(("damaged", f"it is damaged: {fault}"))
    except (JournalError, OSError) as fault:
        return JournalFacts(("unreadable", f"it cannot be read: {fault}"))


def _journal(config: Config, reader: Reader, *, running: bool) -> JournalFacts:
    usage, checkpoint = reader.usage(), reader.latest_checkpoint()
    return JournalFacts(
        log_size=reader.size(),
        disk_bytes=usage.disk_bytes - usage.free_bytes,
        full_at=marks_of(config.journal.budget_bytes).full_at,
        damaged_gaps=sum(1 for gap in reader.gaps() if gap.reason != "policy"),
        checkpoint_size=None if checkpoint is None else checkpoint.size,
        quarantined=sum(reader.quarantine_counts().values()),
        set_aside=tuple(set_aside(config.gateway.data_dir)),
        running=running,
    )


def set_aside(data_dir: Path) -> list[str]:
    """Directories of journals that were set aside."""
    try:
        return [str(each) for each in sorted(data_dir.glob(f"{ASIDE}*"))][:_MAX_ASIDE]
    except OSError:
        return []


def anchor_facts(config: Config) -> AnchorFacts | None:
    """The outbox, None when the journal cannot be read."""
    try:
        with open_reader(config.gateway.data_dir) as reader:
            final = reader.newest_anchor_in("final")
            waiting, newest = reader.open_anchors(), reader.newest_anchors(1)
            due = newest[0].sealed_ms + int(config.anchor.interval_s * 1000) if newest else None
            first = reader.entry(final.size if final is not None else reader.first_index())
            return AnchorFacts(
                newest_final_ms=None if final is None else final.changed_ms,
                newest_final_size=0 if final is None else final.size,
                log_size=reader.size(),
                oldest_open_ms=min((row.sealed_ms for row in waiting), default=None),
                open_states=tuple(row.state for row in waiting),
                next_due_ms=due,
                first_entry_ms=None if first is None else parse_entry(first).time_ms,
            )
    except (JournalError, OSError, EntryError):
        return None
