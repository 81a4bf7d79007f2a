import asyncio
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from journal_kit import ORIGIN, entry, message, refused

from gateway.checks.duplicate import ReplayWindow
from gateway.config.model import JournalConfig
from gateway.journal import (
    CheckpointRow,
    EntryRow,
    Group,
    IdentityTaken,
    Known,
    TileRow,
    open_journal,
    open_reader,
)
from gateway.journal.doubt import doubted
from gateway.tlog.merkle import leaf_hash, root_hash
from gateway.tlog.tiles import TileWriter, root_at

CONFIG = JournalConfig(budget_bytes=16 << 20, quarantine_bytes=64 << 10, retention_s=60)
LOST = ReplayWindow.lost().to_bytes()


class JournalMachine(RuleBasedStateMachine):
    """The journal against a list and two dicts."""

    @initialize()
    def start(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.runner = asyncio.Runner()
        self.journal = open_journal(self.path, CONFIG, origin=ORIGIN).journal
        self.entries, self.messages, self.replay, self.times = [], {}, {}, []
        self.quarantined = 0
        self.first = self.final = self.now = 0
        self.tree = TileWriter()

    def run(self, awaitable):
        return self.runner.run(awaitable)

    @rule(
        count=st.integers(0, 400),
        every=st.integers(1, 5),
        states=st.dictionaries(st.sampled_from(["a", "b", "dev-1"]), st.binary(max_size=50)),
        junk=st.lists(st.binary(max_size=300), max_size=3),
        note=st.booleans(),
    )
    def commit(self, count, every, states, junk, note):
        first = len(self.entries)
        entries = [EntryRow(index, entry(index, self.now)) for index in range(first, first + count)]
        messages = [message(row.index) for row in entries if row.index % every == 0]
        tree = self.tree.fork()
        tiles = [TileRow(t.level, t.index, t.data) for t in tree.extend([leaf_hash(row.entry) for row in entries])]
        checkpoint = CheckpointRow(tree.size, tree.root(), "note", self.now) if note else None
        quarantine = [refused(payload) for payload in junk]
        self.run(self.journal.commit(Group(entries, messages, list(states.items()), quarantine, tiles, checkpoint)))
        self.tree = tree
        self.entries += [row.entry for row in entries]
        self.times += [self.now] * count
        self.messages.update({row.index: row for row in messages})
        self.replay.update(states)
        self.quarantined += len(junk)

    @precondition(lambda self: any(index >= self.first for index in self.messages))
    @rule(pick=st.randoms(use_true_random=False))
    def commit_a_known_identity(self, pick):
        known = self.messages[pick.choice([index for index in self.messages if index >= self.first])]
        at = len(self.entries)
        with pytest.raises(IdentityTaken):
            self.run(self.journal.commit(Group([EntryRow(at, b"x")], [known._replace(index=at)], [("a", b"not so")])))
        of_the_log = {row.device_id for row in self.messages.values() if row.index >= self.first} & {"dev-1"}
        self.replay = dict.fromkeys(of_the_log, LOST) | {name: doubted(state) for name, state in self.replay.items()}

    @rule(seconds=st.integers(0, 100))
    def time_passes(self, seconds):
        self.now += seconds * 1000

    @rule(share=st.floats(0, 1))
    def more_is_final(self, share):
        self.final = max(self.final, int(share * len(self.entries)))
        self.run(self.journal.set_final_size(self.final))

    @rule(full=st.booleans())
    def maintain(self, full):
        (self.path / "ballast").write_bytes(b"")
        if full:  # a stranger's file that takes up the budget: everything that may go goes
            os.truncate(self.path / "ballast", CONFIG.budget_bytes)
        report = self.run(self.journal.maintain(self.now))
        (self.path / "ballast").unlink()
        self.run(self.journal.maintain(self.now))
        if full:
            while (
                self.first + 256 <= self.final and max(self.times[self.first : self.first + 256]) <= self.now - 60_000
            ):
                self.first += 256
        assert report.first_index == min(self.first, len(self.entries))

    @rule()
    def reopen(self):
        self.run(self.journal.close())
        opened = open_journal(self.path, CONFIG, origin=ORIGIN)
        self.journal = opened.journal
        assert opened[1:] == (None, None, None, (), None, False)
        self.tree = TileWriter.restore(self.journal, self.journal.size())

    @invariant()
    def the_journal_is_as_the_model(self):
        if not hasattr(self, "journal"):
            return
        size = len(self.entries)
        assert self.journal.size() == size
        assert self.run(self.journal.replay_states(["a", "b", "dev-1", "c"])) == self.replay
        asked = {(row.device_id, row.session, row.seq): row for row in self.messages.values()}
        assert self.run(self.journal.lookup(list(asked))) == {
            identity: Known(row.index, self.entries[row.index], row.receipt_signature)
            for identity, row in asked.items()
            if row.index >= self.first
        }
        with open_reader(self.path) as reader:
            kept = list(reader.entries(0, size + 1))
            assert kept == [EntryRow(index, self.entries[index]) for index in range(self.first, size)]
            assert len(reader.quarantine(limit=10_000)) == self.quarantined
        if size:
            assert root_at(self.journal, size) == self.tree.root() == root_hash(map(leaf_hash, self.entries))

    def teardown(self):
        if hasattr(self, "journal"):
            self.run(self.journal.close())
            self.runner.close()
            self.folder.cleanup()


JournalMachine.TestCase.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
TestJournalAgainstItsModel = JournalMachine.TestCase
