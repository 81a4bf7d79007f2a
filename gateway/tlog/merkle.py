"""The tree: how a list of entries becomes 32 bytes that stand for all of them, in their order.

Every entry is hashed to a *leaf*; two neighbours are hashed to a *node*, two nodes to the node above, up to the
*root* (RFC 6962 section 2.1, SHA-256). Leaves and nodes begin with different bytes, so neither can be passed off as
the other. Who knows a root can be convinced of two things with a handful of hashes:

* an *inclusion proof* shows that a leaf stands at an index of the tree with that root;
* a *consistency proof* shows that an older, smaller root stands for a prefix of the same list, so that the log was
  only ever appended to.

The verifiers here take nothing on trust: a proof that is one hash too long, or has a hash of another length, does
not hold. Making proofs is the business of ``gateway.tlog.tiles``, which knows where the hashes are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

HASH_BYTES = 32

EMPTY_ROOT = sha256(b"").digest()
"""The root of the tree without leaves (RFC 6962 section 2.1)."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one log entry: SHA-256 of ``0x00 || entry``."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash above two subtrees: SHA-256 of ``0x01 || left || right``."""
    return sha256(b"\x01" + left + right).digest()


def root_hash(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root of the tree whose leaves have these hashes, in this order."""
    tree = CompactRange()
    for leaf in leaf_hashes:
        tree.append(leaf)
    return tree.root()


def fold(subtree_roots: Sequence[bytes]) -> bytes:
    """Return the root of a tree from the roots of its perfect subtrees, the widest (leftmost) first.

    Args:
        subtree_roots: One hash for each bit that is set in the tree's size.
    """
    if not subtree_roots:
        return EMPTY_ROOT
    root = subtree_roots[-1]
    for left in reversed(subtree_roots[:-1]):
        root = node_hash(left, root)
    return root


class CompactRange:
    """A tree that remembers its right edge alone: the roots of its perfect subtrees, one for each bit of its size.

    That is all an append needs. A billion leaves are thirty hashes, and an append costs one hash on the average.
    """

    __slots__ = ("_size", "_subtrees")

    def __init__(self, size: int = 0, subtree_roots: Iterable[bytes] = ()) -> None:
        self._size = size
        self._subtrees = list(subtree_roots)
        if len(self._subtrees) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} perfect subtrees")

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._size

    @property
    def subtree_roots(self) -> tuple[bytes, ...]:
        """The whole state beside ``size``: the roots of the perfect subtrees, the widest first."""
        return tuple(self._subtrees)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash at the end."""
        size = self._size
        subtrees = self._subtrees
        self._size = size + 1
        while size & 1:
            leaf = sha256(b"\x01" + subtrees.pop() + leaf).digest()
            size >>= 1
        subtrees.append(leaf)

    def root(self) -> bytes:
        """Return the root of everything appended so far; at most one hash for each bit of the size."""
        return fold(self._subtrees)

    def fork(self) -> CompactRange:
        """Return an independent copy, to be kept or thrown away."""
        return CompactRange(self._size, self._subtrees)


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether ``proof`` shows ``leaf`` at ``index`` of the tree of ``size`` leaves with this ``root``.

    The walk of RFC 9162 section 2.1.3.2: ``node`` and ``last`` are the positions, level by level, of our subtree and
    of the rightmost one.

    Args:
        leaf: The leaf hash, 32 bytes.
        index: Zero-based.
        size: The number of leaves under ``root``.
        proof: The sibling hashes, from the leaf up.
        root: As a checkpoint states it.
    """
    if not 0 <= index < size or len(leaf) != HASH_BYTES:
        return False
    node, last, computed = index, size - 1, leaf
    for sibling in proof:
        if last == 0 or len(sibling) != HASH_BYTES:
            return False  # a hash too many, or no hash at all
        if node & 1 or node == last:
            computed = node_hash(sibling, computed)
            while node and not node & 1:  # our subtree is the border's: levels without a sibling are skipped
                node >>= 1
                last >>= 1
        else:
            computed = node_hash(computed, sibling)
        node >>= 1
        last >>= 1
    return last == 0 and computed == root


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Tell whether ``proof`` shows that the tree with ``old_root`` is a prefix of the one with ``new_root``.

    RFC 9162 section 2.1.4.2. Nothing is a prefix of nothing in particular: an ``old_size`` of zero never holds.
    Equal sizes need equal roots and an empty proof.
    """
    if not 0 < old_size <= new_size or any(len(node) != HASH_BYTES for node in proof):
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)  # a perfect tree is its own starting point
    if not path:
        return False
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old_computed = new_computed = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old_computed = node_hash(sibling, old_computed)
            new_computed = node_hash(sibling, new_computed)
            while node and not node & 1:
                node >>= 1
                last >>= 1
        else:
            new_computed = node_hash(new_computed, sibling)
        node >>= 1
        last >>= 1
    return last == 0 and old_computed == old_root and new_computed == new_root
