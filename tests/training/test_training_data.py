"""Reading is bounded and splits are what they say."""

from __future__ import annotations

import gzip
import lzma

import pytest

np = pytest.importorskip("numpy")

from hypothesis import given  # noqa: E402 -- after the skip
from hypothesis import strategies as st  # noqa: E402 -- likewise

from gateway.training import data  # noqa: E402 -- likewise


def test_a_packed_file_reads_as_the_plain_one_and_has_its_digest(tmp_path):
    text = b"a,b\n1,2\n"
    digests = set()
    for suffix, pack in (("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)):
        folder = tmp_path / f"in{suffix}"
        folder.mkdir()
        (folder / f"one.csv{suffix}").write_bytes(pack(text))
        path = data.find(folder, "one.csv")
        assert list(data.rows(path)) == [["a", "b"], ["1", "2"]]
        digests.add(data.digest([path]))
    assert len(digests) == 1


def test_an_archive_that_unpacks_beyond_the_limit_is_refused(tmp_path):
    path = tmp_path / "bomb.xz"
    path.write_bytes(lzma.compress(bytes(5 << 20)))
    with pytest.raises(data.DataRefused, match="longer than"):
        data.read_bytes(path, limit=1 << 20)


@pytest.mark.parametrize("held", [b"no archive", lzma.compress(b"cut off")[:-8]])
def test_a_damaged_archive_is_refused(tmp_path, held):
    path = tmp_path / "damaged.xz"
    path.write_bytes(held)
    with pytest.raises(data.DataRefused, match="cannot be read"):
        data.read_bytes(path)


def test_a_missing_file_and_strange_bytes_are_refused(tmp_path):
    with pytest.raises(data.DataRefused, match="holds no none"):
        data.find(tmp_path, "none")
    (tmp_path / "latin").write_bytes(b"\xff\xfe\n")
    with pytest.raises(data.DataRefused, match="UTF-8"):
        list(data.rows(tmp_path / "latin"))


LABELS = st.lists(st.sampled_from("abc"), min_size=4, max_size=60)


@given(LABELS, st.integers(0, 2**32 - 1))
def test_a_split_takes_every_row_once_and_something_of_each_label(labels, seed):
    part = data.stratified(labels, 0.25, seed)
    assert sorted([*part.train, *part.held]) == list(range(len(labels)))
    for label in set(labels):
        if labels.count(label) > 1:
            assert label in {labels[row] for row in part.held}


@given(LABELS, st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_folds_hold_every_row_out_exactly_once_and_spread_each_label(labels, count, seed):
    parts = data.folds(labels, count, seed)
    assert sorted(np.concatenate([part.held for part in parts])) == list(range(len(labels)))
    for label in set(labels):
        held = [sum(labels[row] == label for row in part.held) for part in parts]
        assert max(held) - min(held) <= 1


def test_a_seed_decides_a_split():
    labels = list("aabbccdd" * 9)
    first, again, other = (data.stratified(labels, 0.3, seed).held.tolist() for seed in (7, 7, 8))
    assert first == again != other
