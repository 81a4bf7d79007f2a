"""A journal with one entry."""

from gateway.config.model import JournalConfig
from gateway.journal import EntryRow, Group, open_journal
from gateway.message import Score
from gateway.tlog.entry import MessageEntry, message_entry


async def fill(data_dir, time_ms):
    journal = open_journal(data_dir, JournalConfig(), origin="securenet/plant/gw-1").journal
    entry = message_entry(MessageEntry(time_ms, b"d" * 32, "dev-1", b"session!", 1, *Score()))
    await journal.commit(Group([EntryRow(0, entry)]))
    await journal.close()
