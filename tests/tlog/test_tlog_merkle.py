"""The tree against the public vectors of transparency-dev/merkle and against the recursive words of RFC 6962."""

import base64
import gzip
import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tlog_model import naive_consistency, naive_inclusion, naive_root

from gateway.tlog import merkle

VECTORS = json.loads(gzip.decompress((Path(__file__).parents[1] / "vectors/merkle/rfc6962.json.gz").read_bytes()))
LEAVES = [merkle.leaf_hash(bytes([n])) for n in range(70)]


def test_the_vector_file_is_whole():
    assert {kind: len(cases) for kind, cases in VECTORS.items()} == {"inclusion": 98, "consistency": 98}
    for cases in VECTORS.values():
        assert {case["wantErr"] for case in cases.values()} == {True, False}


@pytest.mark.parametrize("name", VECTORS["inclusion"])
def test_inclusion_vector(name):
    case = VECTORS["inclusion"][name]
    held = merkle.verify_inclusion(
        base64.b64decode(case["leafHash"]),
        case["leafIdx"],
        case["treeSize"],
        [base64.b64decode(node) for node in case["proof"] or []],
        base64.b64decode(case["root"]),
    )
    assert held is not case["wantErr"]


@pytest.mark.parametrize("name", VECTORS["consistency"])
def test_consistency_vector(name):
    case = VECTORS["consistency"][name]
    held = merkle.verify_consistency(
        case["size1"],
        base64.b64decode(case["root1"]),
        case["size2"],
        base64.b64decode(case["root2"]),
        [base64.b64decode(node) for node in case["proof"] or []],
    )
    assert held is not case["wantErr"]


def test_the_empty_tree_has_the_hash_of_nothing():
    assert merkle.root_hash([]) == merkle.EMPTY_ROOT == sha256(b"").digest()


def test_a_leaf_is_never_a_node():
    assert merkle.leaf_hash(b"a" * 64) != merkle.node_hash(b"a" * 32, b"a" * 32)


def test_every_small_tree_has_the_root_of_the_naive_model():
    tree = merkle.CompactRange()
    for size in range(len(LEAVES) + 1):
        assert tree.size == size
        assert tree.root() == naive_root(LEAVES[:size])
        if size < len(LEAVES):
            tree.append(LEAVES[size])


def test_every_inclusion_in_small_trees_holds_and_only_there():
    for size in range(1, 20):
        root = naive_root(LEAVES[:size])
        for index in range(size):
            proof = naive_inclusion(index, LEAVES[:size])
            held_at = {
                (i, s)
                for s in range(20)
                for i in range(20)
                if merkle.verify_inclusion(LEAVES[index], i, s, proof, root)
            }
            assert (index, size) in held_at
            # a path alone does not fix the size when both trees give it the same shape, but it fixes the index
            assert {i for i, s in held_at if s == size} == {index}


def test_every_consistency_between_small_trees_holds():
    for new in range(1, 24):
        for old in range(1, new + 1):
            proof = naive_consistency(old, LEAVES[:new])
            roots = naive_root(LEAVES[:old]), naive_root(LEAVES[:new])
            assert merkle.verify_consistency(old, roots[0], new, roots[1], proof)
            assert not merkle.verify_consistency(old, roots[0], new, roots[1], [*proof, LEAVES[0]])
            if old != new:
                assert not merkle.verify_consistency(old, roots[1], new, roots[0], proof)


@given(st.integers(1, 70), st.data())
def test_any_flipped_bit_breaks_an_inclusion_proof(size, data):
    index = data.draw(st.integers(0, size - 1))
    proof = naive_inclusion(index, LEAVES[:size])
    root = naive_root(LEAVES[:size])
    parts = [LEAVES[index], root, *proof]
    part = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, 255))
    parts[part] = (int.from_bytes(parts[part], "big") ^ (1 << bit)).to_bytes(32, "big")
    assert not merkle.verify_inclusion(parts[0], index, size, parts[2:], parts[1])


@given(st.integers(2, 70), st.data())
def test_any_flipped_bit_breaks_a_consistency_proof(new, data):
    old = data.draw(st.integers(1, new - 1))
    parts = [naive_root(LEAVES[:old]), naive_root(LEAVES[:new]), *naive_consistency(old, LEAVES[:new])]
    part = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, 255))
    parts[part] = (int.from_bytes(parts[part], "big") ^ (1 << bit)).to_bytes(32, "big")
    assert not merkle.verify_consistency(old, parts[0], new, parts[1], parts[2:])


@given(st.integers(1, 70), st.data())
def test_a_hash_of_another_length_never_holds(size, data):
    index = data.draw(st.integers(0, size - 1))
    proof = naive_inclusion(index, LEAVES[:size])
    root = naive_root(LEAVES[:size])
    cut = data.draw(st.integers(0, 31))
    assert not merkle.verify_inclusion(LEAVES[index][:cut], index, size, proof, root)
    for at in range(len(proof)):
        shorter = [*proof[:at], proof[at][:cut], *proof[at + 1 :]]
        assert not merkle.verify_inclusion(LEAVES[index], index, size, shorter, root)
        assert not merkle.verify_inclusion(LEAVES[index], index, size, proof[:at] + proof[at + 1 :], root)


def test_a_compact_range_needs_one_root_for_each_bit():
    with pytest.raises(ValueError, match="2 perfect subtrees"):
        merkle.CompactRange(5, [LEAVES[0]])


def test_a_fork_leaves_its_origin_alone():
    tree = merkle.CompactRange()
    for leaf in LEAVES[:7]:
        tree.append(leaf)
    fork = tree.fork()
    fork.append(LEAVES[7])
    assert (tree.size, tree.root()) == (7, naive_root(LEAVES[:7]))
    assert (fork.size, fork.root()) == (8, naive_root(LEAVES[:8]))
    assert merkle.CompactRange(fork.size, fork.subtree_roots).root() == fork.root()


def test_a_hash_too_many_is_refused_although_the_root_was_made_for_it():
    leaf, extra = LEAVES[:2]
    assert merkle.verify_inclusion(leaf, 0, 1, [], leaf)
    assert not merkle.verify_inclusion(leaf, 0, 1, [extra], merkle.node_hash(extra, leaf))
    assert not merkle.verify_inclusion(leaf, 0, 1, [extra], merkle.node_hash(leaf, extra))
    a, b, c = naive_consistency(3, LEAVES[:4])
    old, new = merkle.node_hash(c, a), merkle.node_hash(c, merkle.node_hash(a, b))
    assert merkle.verify_consistency(3, old, 4, new, [a, b, c])
    above = merkle.node_hash(extra, old), merkle.node_hash(extra, new)
    assert not merkle.verify_consistency(3, above[0], 4, above[1], [a, b, c, extra])
