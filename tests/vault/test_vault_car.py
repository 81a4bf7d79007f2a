"""CAR files: what others wrote is read, what is broken is refused by name, and no more is kept than a section."""

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.vault import car
from gateway.vault.car import CarLimits, CarReader, CarRefusal, CarRefused
from gateway.vault.cid import BLOCK_BYTES, Block, Codec, block_of, parse_cid
from gateway.vault.unixfs_builder import add_file

VECTORS = Path(__file__).parents[1] / "vectors"
LIMITS = CarLimits(1 << 30)

# roots that are not foreign, blocks, foreign sections, how it ends
EXPECTED = {
    "ipfs-car/simple-unixfs.car": (1, 22, 0, None),
    "ipfs-car/simple-unixfs-missing-blocks.car": (1, 17, 0, None),
    "ipfs-car/badheaderlength.car": (None, 0, 0, CarRefusal.TOO_LARGE),
    "ipfs-car/badsectionlength.car": (0, 0, 0, CarRefusal.TOO_LARGE),
    "ipfs-car/sample-corrupt-pragma.car": (None, 0, 0, CarRefusal.TRUNCATED),
    "ipfs-car/sample-rootless-v42.car": (None, 0, 0, CarRefusal.HEADER),
    "ipfs-car/sample-unixfs-v2.car": (None, 0, 0, CarRefusal.VERSION),
    "ipfs-car/sample-v1-with-zero-len-section2.car": (0, 0, 20, CarRefusal.SECTION),
    "ipfs-gateway/gateway-raw-block.car": (1, 3, 0, None),
    "ipfs-gateway/symlink.car": (1, 3, 0, None),
    "ipfs-gateway/file-3k-and-3-blocks-missing-block.car": (1, 3, 0, None),
    "ipfs-gateway/dir-with-duplicate-files.car": (1, 9, 0, None),
    "ipfs-gateway/dir-with-dag-cbor-with-links.car": (1, 8, 1, None),
    "ipfs-gateway/subdir-with-mixed-block-files.car": (1, 10, 0, None),
}


def read(data, limits=LIMITS, piece=1 << 16):
    """Roots, blocks, foreign sections, refusal."""
    reader, blocks, reason = CarReader(limits), [], None
    try:
        for at in range(0, len(data), piece):
            blocks.extend(reader.feed(data[at : at + piece]))
        reader.finish()
    except CarRefused as refused:
        reason = refused.reason
    return reader.roots, blocks, reader.foreign, reason


def written(blocks, roots=()):
    return car.header(roots) + b"".join(map(car.section, blocks))


def test_every_car_vector_has_an_expectation():
    assert {f"{path.parent.name}/{path.name}" for path in VECTORS.glob("ipfs-*/*.car")} == set(EXPECTED)


@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_vector_reads_as_expected_in_pieces_of_any_size(name, piece):
    roots, blocks, foreign, reason = read((VECTORS / name).read_bytes(), piece=piece)
    assert (None if roots is None else len(roots), len(blocks), foreign, reason) == EXPECTED[name]


def test_the_raw_block_of_the_gateway_fixture_has_the_name_of_its_readme():
    roots, blocks, _, _ = read((VECTORS / "ipfs-gateway/gateway-raw-block.car").read_bytes())
    assert roots == (blocks[0].cid,)
    found = {str(block.cid): block.data for block in blocks}
    assert found["bafkreihhpc5y2pqvl5rbe5uuyhqjouybfs3rvlmisccgzue2kkt5zq6upq"] == b"hello application/vnd.ipld.raw\n"


blocks_st = st.lists(
    st.builds(block_of, st.sampled_from(Codec), st.binary(max_size=300)),
    max_size=6,
    unique_by=lambda block: block.cid,
)


@given(blocks_st, st.integers(1, 50), st.data())
def test_what_is_written_is_read(blocks, piece, data):
    roots = tuple(data.draw(st.lists(st.sampled_from([block.cid for block in blocks]), max_size=3))) if blocks else ()
    assert read(written(blocks, roots), piece=piece) == (roots, blocks, 0, None)


@given(blocks_st.filter(bool), st.data())
def test_a_file_that_is_cut_off_is_refused_and_what_came_before_holds(blocks, data):
    whole = written(blocks)
    ends = {len(written(blocks[:count])) for count in range(len(blocks) + 1)}
    cut = data.draw(st.integers(0, len(whole) - 1))
    _, found, _, reason = read(whole[:cut])
    assert found == blocks[: len(found)]
    assert reason is (None if cut in ends else CarRefusal.TRUNCATED)


@given(blocks_st.filter(bool), st.data())
def test_no_changed_byte_changes_a_block_unseen(blocks, data):
    whole = bytearray(written(blocks))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    _, found, foreign, reason = read(bytes(whole))
    assert set(found) <= set(blocks) | {Block(block_of(c, b.data).cid, b.data) for b in blocks for c in Codec}
    assert reason or foreign or found == blocks or len(found) == len(blocks)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_car_file_or_refused(data):
    read(data)
    read(car.header([]) + data)


def test_a_block_under_another_name_is_refused():
    a, b = block_of(Codec.RAW, b"a"), block_of(Codec.RAW, b"b")
    assert read(written([a, Block(b.cid, b"a")]))[1:] == ([a], 0, CarRefusal.WRONG_BLOCK)


def test_limits_on_bytes_sections_and_blocks():
    _, blocks = add_file([bytes(100)])
    whole = written(blocks * 3)
    assert read(whole, CarLimits(len(whole), 3))[3] is None
    assert read(whole, CarLimits(len(whole) - 1, 3))[3] is CarRefusal.TOO_LARGE
    assert read(whole, CarLimits(len(whole), 2))[3] is CarRefusal.TOO_MANY
    largest = block_of(Codec.RAW, bytes(BLOCK_BYTES))
    assert read(written([largest]))[1] == [largest]
    over = block_of(Codec.RAW, bytes(BLOCK_BYTES + 1))
    assert read(written([over])[:200])[3] is CarRefusal.TOO_LARGE


def test_a_length_that_is_promised_costs_nothing_until_it_comes():
    tracemalloc.start()
    reader = CarReader(LIMITS)
    block = block_of(Codec.RAW, bytes(BLOCK_BYTES))
    whole = written([block] * 8)
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    for at in range(0, len(whole), 1 << 16):
        for _ in reader.feed(whole[at : at + (1 << 16)]):
            pass
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert reader.sections == 8
    assert peak < 6 * BLOCK_BYTES


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", CarRefusal.HEADER),
        (b"\xa2\x65roots\x91", CarRefusal.HEADER),
        (b"\xa2\x65roots", CarRefusal.HEADER),
        (b"\xa2\x65roots\x80\x67version\x02", CarRefusal.HEADER),
        (b"\xa2\x65roots\x80\x67version\x01\x00", CarRefusal.HEADER),
        (b"\xa2\x65roots\x81\x67version\x01", CarRefusal.HEADER),
        (b"\xa2\x65roots\x81\xd8\x2a\x58\x25\x00\x01", CarRefusal.HEADER),
        (b"\xa2\x65roots\x81\xd8\x2a\x42\x00\x01\x67version\x01", CarRefusal.HEADER),
        (
            b"\xa2\x65roots\x81\xd8\x2a\x58\x26\x00" + bytes.fromhex("01551220") + bytes(33) + b"\x67version\x01",
            CarRefusal.HEADER,
        ),
        (b"\xa1\x67version\x02", CarRefusal.VERSION),
    ],
)
def test_a_header_that_is_none_is_refused(message, reason):
    assert read(bytes((len(message),)) + message)[3] is reason


def test_too_many_roots_are_not_written():
    with pytest.raises(ValueError, match="16 roots"):
        car.header([parse_cid("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e")] * 17)
