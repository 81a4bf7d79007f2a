"""The decoders of what IPFS brings: CIDs, blocks of files, CAR files. See ``fuzz_targets``."""

import base64
import hashlib
from collections.abc import Callable
from typing import Final

from gateway.vault import car, cid, dagpb, unixfs


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def _cid(data: bytes) -> None:
    """As a text, and as bytes."""
    text = data.decode("latin-1")
    try:
        named = cid.parse_cid(text)
    except cid.CidError:
        pass
    else:
        _must(cid.parse_cid(str(named)) == named, "another CID")
        _must(not text.startswith("b") or str(named) == text, "two spellings")
        _must(base64.b32decode(str(named)[1:].upper() + "======") == named.binary, "another binary form")
    try:
        read, end = cid.read_cid(data)
    except cid.CidError:
        return
    _must(0 < end <= len(data), "an end out of bounds")
    _must(read is None or data[:end] in {read.binary, read.binary[2:]}, "two binary forms")


def _unixfs(data: bytes) -> None:
    """A block of a file: the way on from it stays within its limits, and a node has one form."""
    limits = unixfs.FileLimits(file_bytes=1 << 20, blocks=10, links=8, depth=3)
    block = cid.block_of(cid.Codec.DAG_PB, data)
    try:
        _must(dagpb.encode_node(dagpb.decode_node(data, 8)) == data, "a node with two forms")
    except dagpb.DagPbError:
        pass
    try:
        node = unixfs.parse_node(block, 8)
    except unixfs.FileRefused:
        return
    _must(node.size == len(node.data) + sum(size for _, size in node.links), "sizes that do not add up")
    _must(len(node.links) <= 8 and all(size > 0 for _, size in node.links), "a link to nothing")
    walk = unixfs.FileWalk(block.cid, limits)
    try:
        part = walk.take(block)
    except unixfs.FileRefused:
        return
    _must(part == node.data and walk.size == node.size <= 1 << 20, "another file")
    _must((walk.wanted is None) == (not node.links), "another way on")


def _car(data: bytes) -> None:
    """Whole, and in pieces of seven bytes: the same blocks, each with the name that it has."""
    whole = _read(data, len(data) or 1)
    _must(whole == _read(data, 7), "other blocks in pieces")
    for block in whole[1]:
        _must(hashlib.sha256(block.data).digest() == block.cid.digest, "a block under another name")


def _read(data: bytes, piece: int) -> tuple[object, list[cid.Block], str]:
    reader = car.CarReader(car.CarLimits(1 << 20, 50))
    blocks: list[cid.Block] = []
    try:
        for at in range(0, len(data), piece):
            blocks.extend(reader.feed(data[at : at + piece]))
        reader.finish()
    except car.CarRefused as refused:
        return reader.roots, blocks, refused.reason
    return reader.roots, blocks, ""


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {"cid": _cid, "unixfs": _unixfs, "car": _car}
