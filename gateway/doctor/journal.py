"""The journal, the anchors of its log, and the models that ran: as the journal has them (pure)."""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.config.model import Config
from gateway.doctor.finding import Finding, Sheet, error, note, warning

NEARLY_FULL: Final = 0.9
LATE_ANCHORS: Final = 3

JOURNAL: Final = Sheet(
    "journal",
    {
        "none": note("There is none before the first start: `systemctl start securenet-gateway`."),
        "unreadable": error(
            "Ask as the gateway's user, `sudo -u securenet securenet doctor --only journal`; if it is the disk, "
            "`securenet doctor --only disk`."
        ),
        "damaged": error(
            "At its next start the gateway sets it aside, keeps what can be read, and goes on: "
            "`systemctl restart securenet-gateway`; then `securenet log fsck`."
        ),
        "too-new": error("A newer version wrote it: install that one again, `apt-get install securenet-gateway`."),
        "gaps": warning("Entries were lost to damage; their hashes are kept: `securenet log fsck` says which hold."),
        "full": error(
            "Nothing is taken in until there is room: raise `journal.budget_bytes`, lower `journal.retention_s`, or "
            "let the anchors come through: `securenet anchor list`."
        ),
        "nearly-full": warning(
            "Raise `journal.budget_bytes`, or lower `journal.retention_s`; what no chain holds yet is kept: "
            "`securenet anchor list`."
        ),
        "set-aside": note("Look at it, then take it elsewhere; it counts towards the budget: `ls {path}`."),
        "no-checkpoint": warning("A running gateway signs one within seconds: `securenet status`."),
        "not-published": error(
            "Peers and auditors see an old log. Give the directory to the gateway's user and make room there: "
            "`ls -ld {path}`, `df -h {path}`; it is tried again by itself."
        ),
        "quarantine": note("See what was refused, and why: `securenet quarantine list`."),
    },
)

ANCHORS: Final = Sheet(
    "anchors",
    {
        "off": note("Proofs end at this gateway's signature. Set `anchor.enabled`: `securenet show-config`."),
        "none-final": warning("See what became of them: `securenet anchor list`, `securenet chain status`."),
        "late": warning("See why: `securenet anchor list`, `securenet status`; then `securenet anchor now`."),
        "stuck": error(
            "No checkpoint came to the chain for long: money, endpoints or fee limit: `securenet anchor list`, "
            "`securenet chain fund-check`, `securenet chain status`."
        ),
        "not-read": note("The check of the journal says why: `securenet doctor --only journal`."),
    },
)


class JournalFacts(NamedTuple):
    """What the journal says of itself. ``problem``: why it cannot be read, with its kind."""

    problem: tuple[str, str] | None = None
    log_size: int = 0
    disk_bytes: int = 0
    full_at: int = 1 << 62
    damaged_gaps: int = 0
    checkpoint_size: int | None = None
    quarantined: int = 0
    set_aside: tuple[str, ...] = ()
    running: bool = True
    not_published: str = ""
    """In the running gateway's words: why the log cannot be published."""


class AnchorFacts(NamedTuple):
    """The outbox: times in ms since 1970, None where there is none."""

    newest_final_ms: int | None
    newest_final_size: int
    log_size: int
    oldest_open_ms: int | None
    open_states: tuple[str, ...] = ()
    next_due_ms: int | None = None
    first_entry_ms: int | None = None


def judge_journal(config: Config, facts: JournalFacts) -> list[Finding]:
    """Whether the store is sound, and has room."""
    if facts.problem is not None:
        kind, words = facts.problem
        return [JOURNAL.found(kind, words)]
    found = []
    if facts.disk_bytes >= facts.full_at:
        what = f"{facts.disk_bytes >> 20} MiB of {config.journal.budget_bytes >> 20} MiB are used: it is full"
        found.append(JOURNAL.found("full", what))
    elif facts.disk_bytes >= NEARLY_FULL * facts.full_at:
        share = 100 * facts.disk_bytes / facts.full_at
        found.append(JOURNAL.found("nearly-full", f"{share:.0f} % of its room is used"))
    if facts.damaged_gaps:
        found.append(JOURNAL.found("gaps", f"damage took entries from {facts.damaged_gaps} ranges of the log"))
    if facts.log_size and facts.checkpoint_size is None and facts.running:
        found.append(JOURNAL.found("no-checkpoint", f"none of its {facts.log_size} entries is under a checkpoint"))
    found += [
        JOURNAL.found("set-aside", f"a damaged journal was set aside: {each}", path=each) for each in facts.set_aside
    ]
    if facts.not_published:
        found.append(JOURNAL.found("not-published", facts.not_published, path=config.log.publish_dir))
    if facts.quarantined:
        found.append(JOURNAL.found("quarantine", f"{facts.quarantined} refused messages are kept"))
    told = JOURNAL.fine(
        f"{facts.log_size} entries, {facts.disk_bytes >> 20} MiB of {config.journal.budget_bytes >> 20} MiB",
        log_size=facts.log_size,
        disk_bytes=facts.disk_bytes,
        budget_bytes=config.journal.budget_bytes,
        checkpoint_size=facts.checkpoint_size,
    )
    return found if any(each.name != "journal.quarantine" for each in found) else [told, *found]


def judge_anchors(config: Config, facts: AnchorFacts | None, now_ms: int) -> list[Finding]:
    """Whether the log's checkpoints come to the chain in time."""
    if not config.anchor.enabled:
        return [ANCHORS.found("off", "anchor.enabled is false: no checkpoint comes to the chain")]
    if facts is None:
        return [ANCHORS.found("not-read", "the journal cannot be read")]
    due = _next_words(facts, now_ms)
    if facts.log_size <= facts.newest_final_size:
        return [ANCHORS.fine(f"all {facts.log_size} entries are final on chain", size=facts.newest_final_size)]
    since = facts.newest_final_ms if facts.newest_final_ms is not None else facts.first_entry_ms
    waiting = facts.log_size - facts.newest_final_size
    age_s = 0.0 if since is None else (now_ms - since) / 1000
    patience_s = LATE_ANCHORS * config.anchor.interval_s + config.models.freeze_after_s / 2
    details = {"waiting": waiting, "age_s": round(age_s), "states": list(facts.open_states)}
    if age_s > LATE_ANCHORS * patience_s:
        what = f"{waiting} entries wait for their anchor, and the last final one is {age_s / 3600:.1f} hours old"
        return [ANCHORS.found("stuck", what, **details)]
    if age_s > patience_s:
        kind = "late" if facts.newest_final_ms is not None else "none-final"
        last = "none is final yet" if facts.newest_final_ms is None else f"the last final one is {age_s:.0f} s old"
        return [ANCHORS.found(kind, f"{waiting} entries wait for their anchor, and {last}", **details)]
    return [ANCHORS.fine(f"{waiting} entries wait for their anchor{due}", **details)]


def _next_words(facts: AnchorFacts, now_ms: int) -> str:
    if facts.next_due_ms is None:
        return ""
    return f", the next one is due in {max(0, facts.next_due_ms - now_ms) // 1000} s"
