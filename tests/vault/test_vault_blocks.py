"""The block store: whole blocks or none, hashed again, within its budget."""

import base64
import os
import resource
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.vault.blocks import BlockStore, BlockStoreFault
from gateway.vault.cid import Block, Codec, block_of

A, B, C = (block_of(Codec.RAW, bytes((each,)) * 100) for each in b"abc")


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_block_comes_back_also_from_a_store_opened_anew(tmp_path):
    store = BlockStore(tmp_path / "deep" / "store", 1000)
    assert store.get(A.cid) is None
    store.put(A)
    store.put(A)
    assert store.get(A.cid) == A
    assert BlockStore(tmp_path / "deep" / "store", 1000).get(A.cid) == A
    assert (store.used_bytes, len(store.digests())) == (100, 1)


def test_nothing_is_touched_before_the_first_use(tmp_path):
    BlockStore(tmp_path / "store", 1000)
    assert names(tmp_path) == []


def test_a_file_is_named_by_the_digest_alone(tmp_path):
    store = BlockStore(tmp_path, 1000)
    store.put(A)
    assert names(tmp_path) == [base64.b32encode(A.cid.digest).decode().rstrip("=").lower()]
    same = Block(A.cid._replace(codec=Codec.DAG_PB), A.data)
    assert store.get(same.cid) == same
    assert stat.S_IMODE((tmp_path / names(tmp_path)[0]).stat().st_mode) & 0o022 == 0


def test_the_block_unused_for_longest_goes_first_also_after_a_restart(tmp_path):
    store = BlockStore(tmp_path, 250)
    for at, block in enumerate((A, B)):
        store.put(block)
        os.utime(next(path for path in tmp_path.iterdir() if path.read_bytes() == block.data), (at, at))
    again = BlockStore(tmp_path, 250)
    assert again.get(A.cid) == A
    third = BlockStore(tmp_path, 250)
    third.put(C)
    assert third.get(B.cid) is None
    assert third.get(A.cid) == A
    assert third.used_bytes == 200
    assert (third.evicted, third.damaged) == (1, 0)


def test_a_budget_that_became_smaller_is_held_at_the_next_use(tmp_path):
    store = BlockStore(tmp_path, 1000)
    for block in (A, B, C):
        store.put(block)
    smaller = BlockStore(tmp_path, 150)
    assert len(smaller.digests()) == 1
    assert len(names(tmp_path)) == 1


def test_a_block_larger_than_the_budget_is_refused_and_pushes_nothing_out(tmp_path):
    store = BlockStore(tmp_path, 150)
    store.put(A)
    with pytest.raises(BlockStoreFault, match="store_bytes"):
        store.put(block_of(Codec.RAW, bytes(151)))
    assert store.get(A.cid) == A


def test_a_block_that_cannot_be_opened_just_now_stays(tmp_path):
    store = BlockStore(tmp_path, 1000)
    store.put(A)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        with pytest.raises(BlockStoreFault, match="Too many open files"):
            store.get(A.cid)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (store.get(A.cid), store.damaged) == (A, 0)


@pytest.mark.parametrize("damage", [b"", b"a" * 99, b"b" * 100, bytes(3 << 20)])
def test_a_block_that_no_longer_holds_is_removed_and_absent(tmp_path, damage):
    store = BlockStore(tmp_path, 1000)
    store.put(A)
    next(tmp_path.iterdir()).write_bytes(damage)
    assert store.get(A.cid) is None
    assert (store.damaged, store.used_bytes, names(tmp_path)) == (1, 0, [])
    store.put(A)
    assert store.get(A.cid) == A


def test_a_block_that_was_removed_by_hand_is_absent(tmp_path):
    store = BlockStore(tmp_path, 1000)
    store.put(A)
    next(tmp_path.iterdir()).unlink()
    assert store.get(A.cid) is None
    assert store.used_bytes == 0


def test_what_a_power_cut_left_unfinished_goes_and_files_of_others_stay(tmp_path):
    store = BlockStore(tmp_path, 1000)
    store.put(A)
    (name,) = names(tmp_path)
    (tmp_path / f"{name}.unfinished").write_bytes(b"half")
    others = ["README", "notes.unfinished", "A" * 52, "a" * 51 + "1", "a" * 51 + "b"]
    for other in others:
        (tmp_path / other).write_text("mine")
    (tmp_path / ("a" * 52)).mkdir()
    again = BlockStore(tmp_path, 1000)
    assert again.get(A.cid) == A
    assert again.used_bytes == 100
    assert names(tmp_path) == sorted([name, "a" * 52, *others])


def test_a_link_is_no_block(tmp_path):
    target = tmp_path / "elsewhere"
    target.write_bytes(A.data)
    BlockStore(tmp_path / "other", 1000).put(A)
    store = tmp_path / "store"
    store.mkdir()
    (store / names(tmp_path / "other")[0]).symlink_to(target)
    assert BlockStore(store, 1000).get(A.cid) is None


def test_a_directory_that_is_none_is_told_with_the_key_to_look_at(tmp_path):
    (tmp_path / "file").write_text("")
    store = BlockStore(tmp_path / "file", 1000)
    for act in (lambda: store.put(A), lambda: store.get(A.cid), store.digests):
        with pytest.raises(BlockStoreFault, match=r"ipfs\.block_store"):
            act()


def test_a_disk_that_is_full_is_told_and_leaves_nothing_behind(tmp_path, monkeypatch):
    store = BlockStore(tmp_path, 1000)
    store.put(A)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BlockStoreFault, match="No space left"):
        store.put(B)
    monkeypatch.undo()
    assert (store.get(B.cid), store.used_bytes, len(names(tmp_path))) == (None, 100, 1)


def test_a_block_is_synced_before_it_has_its_name(tmp_path, monkeypatch):
    seen = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: seen.append("fsync") or sync(fd))
    monkeypatch.setattr(Path, "replace", lambda self, to: seen.append("replace") or replace(self, to))
    BlockStore(tmp_path, 1000).put(A)
    assert seen == ["fsync", "replace", "fsync"]


def test_many_threads_share_a_store(tmp_path):
    store = BlockStore(tmp_path, 2000)
    blocks = [block_of(Codec.RAW, bytes((each,)) * 100) for each in range(30)]
    wrong = []

    def work(start):
        for block in blocks[start:] + blocks[:start]:
            store.put(block)
            if store.get(block.cid) not in (block, None):
                wrong.append(block)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 30, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert store.used_bytes == sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2000


def machine(directory):
    class StoreMachine(RuleBasedStateMachine):
        """Against a list of blocks, the one used longest ago in front."""

        budget = 400

        def __init__(self):
            super().__init__()
            self.place = directory / os.urandom(8).hex()
            self.store = BlockStore(self.place, self.budget)
            self.held = []

        @rule(size=st.integers(0, 200), seed=st.integers(0, 3))
        def put(self, size, seed):
            block = block_of(Codec.RAW, bytes((seed,)) * size)
            self.store.put(block)
            if block in self.held:
                self.held.remove(block)
            while sum(len(each.data) for each in self.held) + size > self.budget:
                self.held.pop(0)
            self.held.append(block)

        @rule(at=st.integers(0, 10))
        def get(self, at):
            if at < len(self.held):
                block = self.held.pop(at)
                self.held.append(block)
                assert self.store.get(block.cid) == block

        @invariant()
        def same(self):
            assert self.store.digests() == [block.cid.digest for block in self.held]
            assert self.store.used_bytes == sum(len(block.data) for block in self.held) <= self.budget

    return StoreMachine


def test_a_store_is_what_its_model_says(tmp_path):
    kind = machine(tmp_path).TestCase
    kind.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
    kind("runTest").runTest()


def test_a_block_that_another_process_put_there_is_found_and_counted(tmp_path):
    ours, theirs = BlockStore(tmp_path, 1000), BlockStore(tmp_path, 1000)
    assert ours.get(A.cid) is None
    theirs.put(A)
    assert ours.get(A.cid) == A
    assert ours.used_bytes == len(A.data)
