"""Files as trees: the published names come out, and a tree that was made to hurt is refused by name."""

import hashlib
import itertools
import json
import tracemalloc
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import given
from hypothesis import strategies as st

from gateway.vault import dagpb
from gateway.vault.car import CarLimits, CarReader
from gateway.vault.cid import Codec, block_of, parse_cid, read_cid
from gateway.vault.unixfs import FileLimits, FileRefusal, FileRefused, FileWalk, encode_file
from gateway.vault.unixfs_builder import CHUNK_BYTES, WIDTH, FileBuilder, add_file

VECTORS = Path(__file__).parents[1] / "vectors"
DAG_PB = sorted((VECTORS / "ipfs-dag-pb").glob("*.dag-pb"))
LIMITS = FileLimits(file_bytes=1 << 31)


def keystream(size, seed):
    """The bytes of the profile's published files: ChaCha20 under the hash of a seed."""
    cipher = Cipher(algorithms.ChaCha20(hashlib.sha256(seed.encode()).digest(), bytes(16)), None).encryptor()
    while size:
        part = min(size, CHUNK_BYTES)
        yield cipher.update(bytes(part))
        size -= part


def root_of(chunks):
    builder = FileBuilder()
    for chunk in chunks:
        for _ in builder.feed(chunk):
            pass
    for _ in builder.finish():
        pass
    return str(builder.added.root)


def read(root, blocks, limits=LIMITS):
    by_cid = {block.cid: block for block in blocks}
    walk = FileWalk(root, limits)
    out = b""
    while walk.wanted is not None:
        out += walk.take(by_cid[walk.wanted])
    return out


def refusal(root, blocks, limits=LIMITS):
    with pytest.raises(FileRefused) as caught:
        read(root, blocks, limits)
    return caught.value.reason


def node(links, **changes):
    """A file node above blocks; ``changes`` make it lie."""
    fields = [(block.cid, size, len(block.data)) for block, size in links]
    return block_of(Codec.DAG_PB, changes.get("data", encode_file(fields)))


# IPIP-0499 and kubo test/cli/cid_profiles_test.go; the two of 1 MiB from js-ipfs-unixfs ipip-499-profiles.spec.ts
@pytest.mark.parametrize(
    ("size", "seed", "cid"),
    [
        (0, "", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
        (1 << 20, "chunk-v1-seed", "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta"),
        ((1 << 20) + 1, "chunk-v1-seed", "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64"),
    ],
)
def test_a_file_has_the_name_that_the_profile_gives_it(size, seed, cid):
    assert root_of(keystream(size, seed)) == cid


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "cid"),
    [
        (1024 << 20, "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm"),
        ((1024 << 20) + 1, "bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe"),
        (1025 << 20, "bafybeihmzokxxjqwxjcryerhp5ezpcog2wcawfryb2xm64xiakgm4a5jue"),
    ],
)
def test_a_file_of_a_gibibyte_has_the_name_that_the_profile_gives_it(size, cid):
    assert root_of(keystream(size, "v1-2025-seed")) == cid


@given(st.binary(max_size=300), st.integers(1, 40), st.integers(2, 5), st.lists(st.integers(0, 300), max_size=4))
def test_a_file_comes_back_whatever_its_pieces(data, chunk, width, cuts):
    builder = FileBuilder(chunk, width)
    ends = [0, *sorted(cuts), len(data)]
    blocks = [
        block for start, end in itertools.pairwise(ends) for block in builder.feed(data[start : max(start, end)])
    ]
    fed = b"".join(data[start : max(start, end)] for start, end in itertools.pairwise(ends))
    blocks += builder.finish()
    assert builder.added == (blocks[-1].cid, len(fed), len(blocks))
    assert read(blocks[-1].cid, blocks) == fed


@given(st.integers(1, 200), st.integers(2, 5))
def test_every_leaf_is_as_far_from_the_root_as_any_other(leaves, width):
    builder = FileBuilder(1, width)
    blocks = [*builder.feed(bytes(index % 251 for index in range(leaves))), *builder.finish()]
    by_cid = {block.cid: block for block in blocks}
    depths = set()
    ahead = [(blocks[-1].cid, 0)]
    while ahead:
        cid, depth = ahead.pop()
        if cid.codec is Codec.RAW:
            depths.add(depth)
            continue
        links = dagpb.decode_node(by_cid[cid].data, width).links
        ahead += [(read_cid(link.hash)[0], depth + 1) for link in links]
    assert len(depths) == 1


def test_building_and_reading_take_the_memory_of_a_block_or_two():
    tracemalloc.start()
    builder = FileBuilder()
    kept = {}
    leaf = bytes(CHUNK_BYTES)
    for _ in range(64):
        for block in builder.feed(leaf):
            kept[block.cid] = block
    for block in builder.finish():
        kept[block.cid] = block
    walk = FileWalk(builder.added.root, LIMITS)
    size = 0
    while walk.wanted is not None:
        size += len(walk.take(kept[walk.wanted]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 64 << 20
    assert len(kept) == 2
    assert peak < 8 << 20


def test_a_walk_asks_for_each_place_once_and_in_order():
    root, blocks = add_file([bytes(CHUNK_BYTES), b"a" * CHUNK_BYTES, bytes(CHUNK_BYTES), b"end"])
    by_cid = {block.cid: block for block in blocks}
    walk, asked = FileWalk(root, LIMITS), []
    while walk.wanted is not None:
        asked.append(walk.wanted)
        walk.take(by_cid[walk.wanted])
    assert asked == [root, *(block.cid for block in blocks[:-1])]
    assert walk.size == 3 * CHUNK_BYTES + 3


def test_a_block_that_is_not_wanted_is_a_fault_of_ours():
    with pytest.raises(RuntimeError):
        FileWalk(block_of(Codec.RAW, b"a").cid, LIMITS).take(block_of(Codec.RAW, b"b"))


LEAF = block_of(Codec.RAW, b"abc")
EMPTY = block_of(Codec.RAW, b"")


def message(*fields):
    return b"".join(
        dagpb.bytes_field(number, value) if isinstance(value, bytes) else dagpb.varint_field(number, value)
        for number, value in fields
    )


def file_of(hashes, *fields):
    links = [dagpb.Link(each, b"", 1) for each in hashes]
    return block_of(Codec.DAG_PB, dagpb.encode_node(dagpb.Node(links, message(*fields))))


REFUSED = {
    "a directory": (file_of([], (1, 1)), FileRefusal.NOT_A_FILE),
    "a symbolic link": (file_of([], (1, 4), (2, b"/etc/passwd")), FileRefusal.NOT_A_FILE),
    "a sharded directory": (file_of([], (1, 5), (2, b"\xff"), (5, 0x22), (6, 256)), FileRefusal.NOT_A_FILE),
    "an unknown type": (file_of([], (1, 77)), FileRefusal.NOT_A_FILE),
    "no type": (file_of([], (2, b"abc")), FileRefusal.MALFORMED),
    "no message": (block_of(Codec.DAG_PB, b""), FileRefusal.MALFORMED),
    "no dag-pb": (block_of(Codec.DAG_PB, b"abc"), FileRefusal.MALFORMED),
    "a field of a directory": (file_of([], (1, 2), (6, 256)), FileRefusal.MALFORMED),
    "an unknown field": (file_of([], (1, 2), (9, 1)), FileRefusal.MALFORMED),
    "a type twice": (file_of([], (1, 1), (1, 2)), FileRefusal.MALFORMED),
    "a size that is bytes": (file_of([], (1, 2), (3, b"1")), FileRefusal.MALFORMED),
    "a link that is no CID": (file_of([b"\x01"], (1, 2), (3, 3), (4, 3)), FileRefusal.MALFORMED),
    "a link with more": (file_of([LEAF.cid.binary + b"!"], (1, 2), (3, 3), (4, 3)), FileRefusal.MALFORMED),
    "a foreign link": (
        file_of([bytes.fromhex("01711220") + bytes(32)], (1, 2), (3, 3), (4, 3)),
        FileRefusal.FOREIGN_LINK,
    ),
    "an identity link": (
        file_of([bytes.fromhex("01550003616263")], (1, 2), (3, 3), (4, 3)),
        FileRefusal.FOREIGN_LINK,
    ),
    "a link without a size": (file_of([LEAF.cid.binary], (1, 2), (3, 3)), FileRefusal.SIZES),
    "a size without a link": (file_of([], (1, 2), (3, 3), (4, 3)), FileRefusal.SIZES),
    "no size of the file": (file_of([LEAF.cid.binary], (1, 2), (4, 3)), FileRefusal.SIZES),
    "another size of the file": (file_of([LEAF.cid.binary], (1, 2), (3, 4), (4, 3)), FileRefusal.SIZES),
    "another size of a leaf": (file_of([LEAF.cid.binary], (1, 2), (3, 4), (4, 4)), FileRefusal.SIZES),
    "a link to nothing": (file_of([EMPTY.cid.binary], (1, 2), (3, 0), (4, 0)), FileRefusal.SIZES),
    "a size near 2^63": (file_of([LEAF.cid.binary], (1, 2), (3, 2**62), (4, 2**62)), FileRefusal.TOO_LARGE),
}


@pytest.mark.parametrize(("root", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_tree_that_is_no_file_is_refused_by_name(root, reason):
    assert refusal(root.cid, [root, LEAF, EMPTY]) is reason


def test_a_file_larger_than_it_may_be_is_refused_at_its_first_block():
    root, blocks = add_file([bytes(CHUNK_BYTES + 1)])
    assert refusal(root, [blocks[-1]], FileLimits(file_bytes=CHUNK_BYTES)) is FileRefusal.TOO_LARGE
    assert read(root, blocks, FileLimits(file_bytes=CHUNK_BYTES + 1)) == bytes(CHUNK_BYTES + 1)


def test_a_deep_chain_is_refused():
    blocks = [LEAF]
    for _ in range(9):
        blocks.append(node([(blocks[-1], 3)]))
    assert refusal(blocks[-1].cid, blocks) is FileRefusal.TOO_DEEP
    assert read(blocks[7].cid, blocks) == b"abc"


def test_a_node_with_too_many_links_is_refused():
    root = node([(LEAF, 3)] * 4097)
    assert refusal(root.cid, [root, LEAF]) is FileRefusal.TOO_MANY_LINKS
    many = file_of([], (1, 2), *[(4, 1)] * 4097)
    assert refusal(many.cid, [many]) is FileRefusal.TOO_MANY_LINKS


def test_few_blocks_that_unfold_into_many_end_at_the_bounds():
    """The same child under every link, level upon level: a few kilobytes that tell of petabytes."""
    blocks = [block_of(Codec.RAW, b"x")]
    size = 1
    for _ in range(5):
        blocks.append(node([(blocks[-1], size)] * 1024))
        size *= 1024
    assert refusal(blocks[-1].cid, blocks, FileLimits(file_bytes=1 << 30)) is FileRefusal.TOO_LARGE
    limits = FileLimits(file_bytes=1 << 50, blocks=5000)
    assert refusal(blocks[-1].cid, blocks, limits) is FileRefusal.TOO_MANY_BLOCKS


def test_nodes_that_hold_data_beside_links_are_read_in_order():
    """As the trickle layout, and dag-pb leaves, of older writers."""
    tail = file_of([], (1, 0), (2, b"-tail"), (3, 5))
    root = file_of([LEAF.cid.binary, tail.cid.binary[2:]], (1, 2), (2, b"head-"), (3, 13), (4, 3), (4, 5), (7, 0o644))
    assert read(root.cid, [root, LEAF, tail]) == b"head-abc-tail"


def test_a_directory_from_the_gateway_fixtures_is_no_file_and_the_files_in_it_are():
    blocks = list(
        CarReader(CarLimits(1 << 20)).feed((VECTORS / "ipfs-gateway/dir-with-duplicate-files.car").read_bytes())
    )
    assert refusal(blocks[0].cid, blocks) is FileRefusal.NOT_A_FILE
    links = {link.name: read_cid(link.hash)[0] for link in dagpb.decode_node(blocks[0].data, 100).links}
    assert read(links[b"hello.txt"], blocks) == b"hello world\n"
    assert read(links[b"ascii.txt"], blocks) == b"hello application/vnd.ipld.car\n"
    assert read(links[b"multiblock.txt"], blocks).startswith(b"Lorem ipsum dolor sit amet")
    assert len(read(links[b"multiblock.txt"], blocks)) == 1026


def test_of_the_symbolic_link_fixture_only_the_file_is_read():
    blocks = list(CarReader(CarLimits(1 << 20)).feed((VECTORS / "ipfs-gateway/symlink.car").read_bytes()))
    names = {link.name: read_cid(link.hash)[0] for link in dagpb.decode_node(blocks[0].data, 10).links}
    assert refusal(names[b"bar"], blocks) is FileRefusal.NOT_A_FILE
    assert read(names[b"foo"], blocks) == b"content\n"


@pytest.mark.parametrize("path", DAG_PB, ids=lambda path: path.name.partition("--")[0])
def test_a_dag_pb_fixture_is_read_and_written_to_the_same_bytes(path):
    data = path.read_bytes()
    block = block_of(Codec.DAG_PB, data)
    assert str(block.cid) == path.stem.partition("--")[2]
    assert dagpb.encode_node(dagpb.decode_node(data, 100)) == data


@pytest.mark.parametrize(
    "case", json.loads((VECTORS / "ipfs-dag-pb" / "edges.json").read_text()), ids=lambda case: case["name"]
)
def test_a_dag_pb_that_the_fixtures_refuse_is_refused(case):
    with pytest.raises(dagpb.DagPbError):
        dagpb.decode_node(bytes.fromhex(case["hex"]), 100)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_node_in_its_one_form_or_refused(data):
    try:
        found = dagpb.decode_node(data, 16)
    except dagpb.DagPbError:
        return
    assert dagpb.encode_node(found) == data


@given(st.binary(max_size=200))
def test_any_block_is_part_of_a_file_or_refused(data):
    block = block_of(Codec.DAG_PB, data)
    walk = FileWalk(block.cid, LIMITS)
    try:
        part = walk.take(block)
    except FileRefused:
        return
    assert len(part) <= len(data)


def test_the_profile_is_the_one_of_2025():
    assert (CHUNK_BYTES, WIDTH) == (1048576, 1024)
    assert parse_cid(root_of([b"hello world"])).codec is Codec.RAW
