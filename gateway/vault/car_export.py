"""A published model as one CAR file, for a site that no network reaches: manifest, and the ciphertext it names (I/O).

Nothing in it is secret, and nothing in it is believed: whoever reads it hashes each block, and the chain says which
manifest counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gateway.vault import car
from gateway.vault.blocks import BlockStore
from gateway.vault.cid import Block, Cid, CidError, parse_cid
from gateway.vault.manifest import MANIFEST_BYTES_MAX, parse_envelope, parse_payload
from gateway.vault.refusal import ModelRefused
from gateway.vault.unixfs import FileLimits, FileRefused, FileWalk


class NotExported(Exception):
    """There is no such bundle to be written; the text says why and what to do."""


class Exported(NamedTuple):
    """What the file has: models by id and version, distinct blocks, and bytes."""

    models: tuple[tuple[str, int], ...]
    blocks: int
    bytes: int


def export(manifests: Sequence[Cid], store: BlockStore, target: Path) -> Exported:
    """Write the bundles of these manifests into ``target``, all of it or nothing.

    Raises:
        NotExported: a block is not in the store, or what is there is no manifest.
        OSError: the file cannot be written.
    """
    if len(manifests) > car.ROOTS_MAX:
        raise NotExported(f"at most {car.ROOTS_MAX} models go into one file")
    fresh = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with fresh.open("xb") as file:
            done = _write(manifests, store, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(target)
    finally:
        with suppress(FileNotFoundError):
            fresh.unlink()
    return done


def _write(manifests: Sequence[Cid], store: BlockStore, file: BinaryIO) -> Exported:
    file.write(car.header(manifests))
    written: set[bytes] = set()
    models: list[tuple[str, int]] = []

    def copy(root: Cid, limits: FileLimits) -> bytes:
        """Write the blocks of a file that are not there yet; returns what it holds, for a manifest."""
        found = bytearray()
        for block, data in _blocks(root, store, limits):
            if block.cid.digest not in written:
                file.write(car.section(block))
                written.add(block.cid.digest)
            if len(found) <= MANIFEST_BYTES_MAX:
                found += data
        return bytes(found)

    for cid in manifests:
        # Read as a stranger's, and not believed: only which file it names counts here.
        envelope = copy(cid, FileLimits(file_bytes=MANIFEST_BYTES_MAX))
        try:
            manifest = parse_payload(parse_envelope(envelope).payload)
            root = parse_cid(manifest.ciphertext.cid)
        except (ModelRefused, CidError) as refused:
            raise NotExported(f"{cid} is no manifest ({refused}): name the one that the chain has") from None
        copy(root, FileLimits(file_bytes=manifest.ciphertext.size))
        models.append((manifest.model_id, manifest.version))
    return Exported(tuple(models), len(written), file.tell())


def _blocks(root: Cid, store: BlockStore, limits: FileLimits) -> Iterator[tuple[Block, bytes]]:
    walk = FileWalk(root, limits)
    while (wanted := walk.wanted) is not None:
        block = store.get(wanted)
        if block is None:
            raise NotExported(
                f"block {wanted} of {root} is not in the store: name the publisher's store, or fetch the model first"
            )
        try:
            data = walk.take(block)
        except FileRefused as refused:
            raise NotExported(f"{root} is no file that is read here: {refused}") from None
        yield block, data
