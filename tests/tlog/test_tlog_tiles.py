"""Tiles: paths as c2sp.org/tlog-tiles has them, the writer across restarts, proofs between any two sizes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tlog_model import naive_consistency, naive_inclusion, naive_root

from gateway.tlog import layout, merkle, tiles

SIZE = 70_000
LEAVES = [n.to_bytes(32, "big") for n in range(SIZE)]
SIZES = st.one_of(st.integers(1, 600), st.integers(65_300, 66_100), st.integers(1, SIZE))


class Store:
    """Full tiles and leaf hashes, as the journal keeps them; counts what is read."""

    def __init__(self):
        self.full = {}
        self.leaves = []
        self.reads = 0
        self.leaf_reads = 0

    def keep(self, completed):
        for tile in completed:
            assert tile.width == layout.TILE_WIDTH
            assert (tile.level, tile.index) not in self.full
            self.full[tile.level, tile.index] = tile.data

    def tile(self, level, index):
        self.reads += 1
        return self.full.get((level, index))

    def leaf_hashes(self, start, end):
        assert end - start < layout.TILE_WIDTH
        self.leaf_reads += 1
        return self.leaves[start:end]


def written(size):
    store, writer = Store(), tiles.TileWriter()
    store.leaves = LEAVES[:size]
    store.keep(writer.extend(LEAVES[:size]))
    return store, writer


STORE, WRITER = written(SIZE)


def test_the_example_of_the_specification_seventy_thousand_entries():
    assert sum(level == 0 for level, _ in STORE.full) == 273
    assert sum(level == 1 for level, _ in STORE.full) == 1
    assert [tile.path for tile in WRITER.partial_tiles()] == [
        "tile/0/273.p/112",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    ]


def test_a_tree_of_256_is_a_full_tile_and_a_partial_one_above():
    store, writer = written(256)
    assert list(store.full) == [(0, 0)]
    assert [tile.path for tile in writer.partial_tiles()] == ["tile/1/000.p/1"]
    assert writer.partial_tiles()[0].data == naive_root(LEAVES[:256])


@pytest.mark.parametrize(
    ("index", "path"),
    [(0, "000"), (999, "999"), (1000, "x001/000"), (1234067, "x001/x234/067"), (10**9, "x001/x000/x000/000")],
)
def test_an_index_is_written_in_groups_of_three(index, path):
    assert layout.index_path(index) == path
    assert layout.tile_path(3, index) == f"tile/3/{path}"
    assert layout.entries_path(index, 7) == f"tile/entries/{path}.p/7"


@pytest.mark.parametrize("arguments", [(-1, 0), (64, 0), (0, -1), (0, 0, 0), (0, 0, 257)])
def test_a_tile_that_cannot_be_has_no_path(arguments):
    with pytest.raises(ValueError, match="a tile"):
        layout.tile_path(*arguments)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_bundle_gives_its_entries_back(entries):
    bundle = layout.entry_bundle(entries)
    assert layout.split_bundle(bundle) == entries
    assert len(bundle) == sum(2 + len(entry) for entry in entries)


def test_a_bundle_refuses_what_a_uint16_cannot_count():
    assert layout.split_bundle(layout.entry_bundle([bytes(65_535)])) == [bytes(65_535)]
    with pytest.raises(ValueError, match=r"65,535"):
        layout.entry_bundle([bytes(65_536)])


@given(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=5), st.data())
def test_a_bundle_cut_anywhere_loses_its_end_or_is_refused(entries, data):
    bundle = layout.entry_bundle(entries)
    cut = data.draw(st.integers(1, len(bundle) - 1))
    whole = {sum(2 + len(entry) for entry in entries[:n]) for n in range(len(entries))}
    if cut in whole:
        assert layout.split_bundle(bundle[:cut]) == entries[: sorted(whole).index(cut)]
    else:
        with pytest.raises(ValueError, match="inside an entry"):
            layout.split_bundle(bundle[:cut])


def test_the_writer_has_the_root_at_every_small_size():
    writer = tiles.TileWriter()
    assert writer.root() == merkle.EMPTY_ROOT
    tree = merkle.CompactRange()
    for size, leaf in enumerate(LEAVES[:1100], 1):
        writer.append(leaf)
        tree.append(leaf)
        assert (writer.size, writer.root()) == (size, tree.root())


@settings(max_examples=25, deadline=None)
@given(SIZES, st.integers(0, 700))
def test_a_restart_changes_nothing(size, more):
    store, writer = written(size)
    restored = tiles.TileWriter.restore(store, size)
    assert restored.size == writer.size
    assert restored.root() == writer.root()
    assert restored.partial_tiles() == writer.partial_tiles()
    following = LEAVES[:more]
    assert restored.extend(following) == writer.extend(following)
    assert restored.root() == writer.root()
    assert restored.partial_tiles() == writer.partial_tiles()


def test_a_restart_of_an_empty_log_is_a_new_log():
    restored = tiles.TileWriter.restore(Store(), 0)
    assert (restored.size, restored.root(), restored.partial_tiles()) == (0, merkle.EMPTY_ROOT, [])
    restored.append(LEAVES[0])
    assert restored.root() == LEAVES[0]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 600), max_size=6))
def test_batches_of_any_size_give_the_tiles_of_one_batch(batches):
    writer, completed, at = tiles.TileWriter(), [], 0
    for batch in batches:
        completed += writer.extend(LEAVES[at : at + batch])
        at += batch
    whole = tiles.TileWriter()
    assert whole.extend(LEAVES[:at]) == completed
    assert (whole.size, whole.root()) == (writer.size, writer.root())


@given(st.integers(0, 600), st.integers(0, 600))
def test_a_fork_that_is_thrown_away_leaves_no_trace(size, more):
    _, writer = written(size)
    root, partial = writer.root(), writer.partial_tiles()
    fork = writer.fork()
    completed = fork.extend(LEAVES[size : size + more])
    assert (writer.size, writer.root(), writer.partial_tiles()) == (size, root, partial)
    assert writer.extend(LEAVES[size : size + more]) == completed
    assert (writer.size, writer.root()) == (fork.size, fork.root())


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES)
def test_partial_tiles_and_root_at_any_size_are_those_of_that_time(size, other):
    then, now = sorted((size, other))
    _, writer = written(then)
    reader = tiles.EdgeReader(*written(now))
    assert tiles.partial_tiles(reader, then) == writer.partial_tiles()
    assert tiles.root_at(reader, then) == writer.root()


@given(st.integers(1, 600), st.data())
def test_proofs_are_those_of_the_recursive_model(size, data):
    index = data.draw(st.integers(0, size - 1))
    reader = tiles.EdgeReader(STORE, WRITER)
    assert tiles.inclusion_proof(reader, index, size) == naive_inclusion(index, LEAVES[:size])
    assert tiles.consistency_proof(reader, index + 1, size) == naive_consistency(index + 1, LEAVES[:size])


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, st.data())
def test_any_leaf_and_any_two_sizes_are_proven_with_few_reads(size, other, data):
    old, new = sorted((size, other))
    index = data.draw(st.integers(0, old - 1))
    reader = tiles.EdgeReader(STORE, WRITER)
    root = tiles.root_at(reader, new)
    STORE.reads = STORE.leaf_reads = 0
    assert merkle.verify_inclusion(LEAVES[index], index, new, tiles.inclusion_proof(reader, index, new), root)
    proof = tiles.consistency_proof(reader, old, new)
    assert merkle.verify_consistency(old, tiles.root_at(reader, old), new, root, proof)
    assert STORE.reads <= 2 * 3 * 3  # three walks, three levels, at most the tile of the leaf and that of the border
    assert STORE.leaf_reads == 0


def test_a_store_without_the_right_edge_gives_the_same_proofs():
    reader = tiles.EdgeReader(STORE, WRITER)
    for index, size in [(0, SIZE), (SIZE - 1, SIZE), (65_535, 65_600), (300, 70_000)]:
        assert tiles.inclusion_proof(STORE, index, size) == tiles.inclusion_proof(reader, index, size)
        assert tiles.consistency_proof(STORE, index + 1, size) == tiles.consistency_proof(reader, index + 1, size)


def test_a_missing_tile_is_named_and_never_made_up():
    store, _ = written(1000)
    del store.full[0, 1]
    with pytest.raises(tiles.MissingTileError, match="tile 0/1 is full"):
        tiles.TileWriter.restore(store, 1000)
    store.leaves = store.leaves[:999]
    with pytest.raises(tiles.MissingTileError, match="of the 232 leaf hashes from 768 on the store has 231"):
        tiles.inclusion_proof(store, 999, 1000)


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0)])
def test_no_leaf_no_inclusion_proof(index, size):
    with pytest.raises(ValueError, match="has no leaf"):
        tiles.inclusion_proof(STORE, index, size)


@pytest.mark.parametrize(("old", "new"), [(0, 5), (6, 5), (0, 0), (-1, 5)])
def test_no_prefix_no_consistency_proof(old, new):
    with pytest.raises(ValueError, match="a consistency proof"):
        tiles.consistency_proof(STORE, old, new)


@given(st.integers(1, 70_000))
def test_equal_sizes_need_an_empty_proof(size):
    assert tiles.consistency_proof(STORE, size, size) == []


def test_a_reader_that_has_only_a_part_of_a_tile_is_asked_for_the_rest():
    store, _ = written(300)
    stale = tiles.EdgeReader(store, written(260)[1])
    assert stale.tile(0, 1) == b"".join(LEAVES[256:260])
    for index in (0, 257, 299):
        assert tiles.inclusion_proof(stale, index, 300) == naive_inclusion(index, LEAVES[:300])
    assert store.leaf_reads == 3
