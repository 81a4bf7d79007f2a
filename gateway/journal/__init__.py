"""The journal: what the gateway must not lose, in one SQLite database and one plain file beside it.

A ``Group`` of log entries, messages, replay states, refused messages, tiles and a checkpoint is committed in one
transaction; only what was committed may be acknowledged. ``open_journal`` makes a ``Journal`` for the daemon,
``open_reader`` a ``Reader`` for everyone else. docs/spec/journal.md describes the files.
"""

from gateway.journal.accesses import AccessRow, OwedReport
from gateway.journal.identities import IdentityCursor, IdentityRow
from gateway.journal.journal import Journal
from gateway.journal.models import ModelEnvelope, ModelRow, RanState, RanVersion, ReportRow
from gateway.journal.opening import Opened, open_journal
from gateway.journal.outbox import AnchorRow
from gateway.journal.reader import Reader, open_reader
from gateway.journal.rows import (
    CheckpointRow,
    EntryRow,
    Gap,
    Group,
    Identity,
    IdentityTaken,
    JournalBusy,
    JournalDamaged,
    JournalError,
    JournalFault,
    JournalFull,
    JournalTooNew,
    Known,
    LeftOut,
    LogDamaged,
    MaintenanceReport,
    MessageRow,
    QuarantineEntry,
    QuarantineRow,
    Stats,
    TileRow,
    Usage,
)

__all__ = [
    "AccessRow",
    "AnchorRow",
    "CheckpointRow",
    "EntryRow",
    "Gap",
    "Group",
    "Identity",
    "IdentityCursor",
    "IdentityRow",
    "IdentityTaken",
    "Journal",
    "JournalBusy",
    "JournalDamaged",
    "JournalError",
    "JournalFault",
    "JournalFull",
    "JournalTooNew",
    "Known",
    "LeftOut",
    "LogDamaged",
    "MaintenanceReport",
    "MessageRow",
    "ModelEnvelope",
    "ModelRow",
    "Opened",
    "OwedReport",
    "QuarantineEntry",
    "QuarantineRow",
    "RanState",
    "RanVersion",
    "Reader",
    "ReportRow",
    "Stats",
    "TileRow",
    "Usage",
    "open_journal",
    "open_reader",
]
