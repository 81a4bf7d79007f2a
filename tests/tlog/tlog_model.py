"""RFC 6962 section 2.1 in its own recursive words, slow and plain: what the real tree is compared with."""

from hashlib import sha256


def _split(leaves):
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return k


def naive_root(leaves):
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = _split(leaves)
    return sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_inclusion(m, leaves):
    if len(leaves) == 1:
        return []
    k = _split(leaves)
    if m < k:
        return [*naive_inclusion(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_inclusion(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_consistency(m, leaves, *, known=True):
    if m == len(leaves):
        return [] if known else [naive_root(leaves)]
    k = _split(leaves)
    if m <= k:
        return [*naive_consistency(m, leaves[:k], known=known), naive_root(leaves[k:])]
    return [*naive_consistency(m - k, leaves[k:], known=False), naive_root(leaves[:k])]
