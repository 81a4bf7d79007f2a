"""A published log against its anchors: whatever was altered, forked or withheld is found, and called what it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from tlog_chain import spot
from tlog_world import LOG_KEY, ORIGIN, Log

from gateway.tlog.checkpoint import VerifierKey, parse
from gateway.tlog.evidence import AnchoredRoot, Keyed, LogHistory, TwoRoots
from gateway.tlog.layout import entries_path, entry_bundle, tile_path
from gateway.tlog.peer import (
    TOLD_MAX,
    Expected,
    Kind,
    SourceFault,
    audit,
    compare_histories,
    expected_of,
    signature_finding,
)
from gateway.tlog.tiles import partial_tiles


class Files:
    """A published log in memory; ``files`` is by path, and tests change it."""

    def __init__(self, size, entry=b"filler 0", index=0):
        self.log = Log(entry, index, size)
        self.entries = [b"filler %d" % n for n in range(size)]
        self.entries[index] = entry
        self.files = {tile_path(level, at): data for (level, at), data in self.log.full.items()}
        self.files |= {tile.path: tile.data for tile in partial_tiles(self.log, size)}
        for start in range(0, size, 256):
            part = self.entries[start : start + 256]
            self.files[entries_path(start // 256, len(part))] = entry_bundle(part)
        self.checkpoint = parse(self.log.note(size))

    def tile(self, level, index, width):
        data = self.files.get(tile_path(level, index, width))
        if data is None:
            raise SourceFault(f"tile {level}/{index} is not there")
        return data

    def bundle(self, index, width):
        return self.files.get(entries_path(index, width))

    def expected(self, *sizes):
        return [Expected(size, self.log.root(size), "the chain") for size in sizes]


def kinds(found):
    return {finding.kind for finding in found.findings}


@settings(max_examples=40)
@given(st.integers(1, 1500), st.data())
def test_a_true_log_holds_every_anchored_root(size, data):
    files = Files(size)
    sizes = data.draw(st.lists(st.integers(1, size), max_size=8, unique=True))
    read = []
    found = audit(files, files.checkpoint, files.expected(*sizes), with_entries=True, progress=read.append)
    assert found.consistent
    assert (found.entries_read, found.roots_held, found.bundles_read) == (size, len(sizes), -(-size // 256))
    assert read[-1] == size


@pytest.mark.parametrize(("count", "first"), [(0, 256), (3, 259), (44, 300), (45, 300)])
def test_a_bundle_that_ends_early_or_late_differs_from_where_it_does(count, first):
    files = Files(300)
    entries = [*files.entries[256:], b"one more"]
    files.files[entries_path(1, 44)] = entry_bundle(entries[:count])
    found = audit(files, files.checkpoint, [], with_entries=True)
    assert [(each.kind, each.size) for each in found.findings] == ([] if count == 44 else [(Kind.ALTERED, first)])


@settings(max_examples=60)
@given(st.integers(1, 1200), st.data())
def test_every_changed_byte_of_every_file_is_found(size, data):
    files = Files(size)
    path = data.draw(st.sampled_from(sorted(files.files)))
    old = files.files[path]
    at, other = data.draw(st.integers(0, len(old) - 1)), data.draw(st.integers(1, 255))
    files.files[path] = old[:at] + bytes([old[at] ^ other]) + old[at + 1 :]
    found = audit(files, files.checkpoint, files.expected(size), with_entries=True)
    assert found.consistent is False
    assert kinds(found) == {Kind.ALTERED}


@settings(max_examples=60)
@given(st.integers(2, 600), st.data())
def test_a_log_that_was_forked_after_an_anchor_is_convicted_at_the_next(size, data):
    fork = data.draw(st.integers(0, size - 1))
    true, forged = Files(size), Files(size, b"another", fork)
    sizes = data.draw(st.sets(st.integers(1, size), min_size=1))
    found = audit(forged, forged.checkpoint, true.expected(*sizes))
    seen = sorted(each for each in sizes if each > fork)
    if not seen:
        assert found.consistent
        return
    assert found.consistent is False
    assert kinds(found) == {Kind.EQUIVOCATION}
    first = found.findings[0]
    assert first.size == seen[0]
    assert true.log.root(first.size).hex() in first.sentence
    assert forged.log.root(first.size).hex() in first.sentence
    before = max((each for each in sizes if each <= fork), default=0)
    assert f"behind entry {before}" in first.sentence
    assert found.roots_held == len(sizes) - len(seen)


def test_of_many_differences_the_first_are_told_and_all_are_counted():
    true, forged = Files(300), Files(300, b"another", 5)
    found = audit(forged, forged.checkpoint, true.expected(*range(1, 301)))
    assert len(found.findings) == TOLD_MAX + 1
    assert f"{300 - 5 - TOLD_MAX} more of this kind, up to size 300" in found.findings[-1].sentence


def test_tiles_of_another_log_than_the_signed_are_altered_not_equivocation():
    true, forged = Files(300), Files(300, b"another", 5)
    found = audit(forged, true.checkpoint, true.expected(4, 300))
    assert found.consistent is False
    assert kinds(found) == {Kind.ALTERED}
    assert "that of size 4" in found.findings[0].sentence


def test_an_anchor_above_the_checkpoint_is_withheld_and_convicts_nobody():
    files = Files(300)
    shown = parse(files.log.note(260))
    for tile in partial_tiles(files.log, 260):
        files.files[tile.path] = tile.data
    found = audit(files, shown, files.expected(200, 300))
    assert found.consistent is None
    assert kinds(found) == {Kind.WITHHELD}
    assert "at size 300" in found.findings[0].sentence


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"])
def test_a_file_that_is_missing_is_said_and_what_was_read_still_counts(path):
    true, forged = Files(300), Files(300, b"another", 5)
    del true.files[path]
    found = audit(true, true.checkpoint, true.expected(10))
    assert found.consistent is None
    assert kinds(found) == {Kind.UNREAD}
    if path != "tile/0/000":
        found = audit(true, true.checkpoint, forged.expected(10))
        assert found.consistent is False


def test_entries_that_were_dropped_are_not_missed():
    files = Files(600)
    del files.files[entries_path(0)]
    found = audit(files, files.checkpoint, files.expected(600), with_entries=True)
    assert (found.consistent, found.bundles_read) == (True, 2)


def test_a_checkpoint_by_another_key_is_named():
    files = Files(3)
    stranger = SigningKey(b"\x99" * 32)
    assert signature_finding(files.checkpoint, [LOG_KEY]) is None
    forged = parse(files.log.note(3, signing_key=stranger))
    assert signature_finding(forged, [LOG_KEY]).kind is Kind.FOREIGN_KEY
    assert signature_finding(forged, [LOG_KEY, VerifierKey(ORIGIN, bytes(stranger.verify_key))]) is None
    assert signature_finding(files.checkpoint, []).kind is Kind.FOREIGN_KEY


# --- what chains say ---


def history(*anchors, endpoint="http://one", final=1000, two_roots=()):
    roots = tuple(AnchoredRoot(spot(block, 0), size, root, b"a" * 20) for block, size, root in anchors)
    return LogHistory(endpoint, 2000, final, roots, (Keyed(spot(1, 0), b"k" * 32, b"a" * 20, False),), two_roots)


def test_the_roots_of_all_endpoints_are_expected_each_once():
    one, two = history((5, 3, b"r"), (6, 4, b"s")), history((5, 3, b"r"), (6, 4, b"t"), endpoint="http://two")
    assert [(each.size, each.root) for each in expected_of([one, two])] == [(3, b"r"), (4, b"s"), (4, b"t")]
    found = compare_histories([one, two])
    assert [finding.kind for finding in found] == [Kind.DISAGREEMENT]
    assert "http://two" in found[0].sentence


def test_endpoints_are_compared_as_far_as_both_are_final():
    one, two = history((5, 3, b"r"), (6, 4, b"s"), final=5), history((5, 3, b"r"), endpoint="http://two")
    assert compare_histories([one, two]) == []


def test_a_freeze_and_an_empty_chain_are_found():
    caught = TwoRoots(spot(9, 0), 4, b"\x01" * 32, b"\x02" * 32)
    frozen = history((5, 4, b"\x01" * 32), two_roots=(caught,))
    found = compare_histories([frozen, frozen])
    assert [finding.kind for finding in found] == [Kind.TWO_ROOTS]
    assert "02" * 32 in found[0].sentence
    assert [finding.kind for finding in compare_histories([history()])] == [Kind.NOT_ANCHORED]
    assert [finding.kind for finding in compare_histories([])] == [Kind.NOT_ANCHORED]
