"""The local block store: one file a block, named by us after its digest, within a budget of bytes (I/O).

A block is written beside its place, fsynced and moved there, so that a power cut leaves a whole block or none. It is
hashed again when it is read: one that no longer holds is removed, counted, and reported as absent. When the budget is
reached the blocks that were read or written longest ago go first. Names come from digests alone; files with other
names are left as they are.

Every call blocks, and may come from any thread: from the event loop, use ``asyncio.to_thread``.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

from gateway.vault.cid import BLOCK_BYTES, DIGEST_BYTES, Block, Cid, WrongBlock, verify_block

log = structlog.get_logger("vault")

_NAME_CHARACTERS: Final = 52
_UNFINISHED: Final = ".unfinished"
_GONE: Final = frozenset({errno.ENOENT, errno.EIO})
"""The file is away, or the disk cannot give it. Anything else, as too many open files, passes."""


class BlockStoreFault(Exception):
    """The store cannot keep a block; the words say what to do."""


class BlockStore:
    """Blocks in a directory.

    Args:
        directory: made when it is first used; another process may add blocks (``model publish`` beside a gateway).
        budget_bytes: all blocks together stay within this.
    """

    def __init__(self, directory: Path, budget_bytes: int) -> None:
        self._directory = directory
        self._budget_bytes = budget_bytes
        self._lock = threading.Lock()
        self._sizes: OrderedDict[bytes, int] | None = None
        self.used_bytes = 0
        self.evicted = 0
        self.damaged = 0

    @property
    def budget_bytes(self) -> int:
        """What all blocks together may have."""
        return self._budget_bytes

    def get(self, cid: Cid) -> Block | None:
        """Return a block, hashed again; None when it is not here.

        Raises:
            BlockStoreFault: it cannot be read now, which says nothing about the block.
        """
        with self._lock:
            sizes = self._opened()
            path = self._path(cid.digest)
            if cid.digest not in sizes and not self._adopt(cid.digest, path):
                return None
            try:
                with path.open("rb") as file:
                    data = file.read(BLOCK_BYTES + 1)
                block = verify_block(cid, data)
            except OSError as error:
                if error.errno not in _GONE:
                    raise BlockStoreFault(f"the block {path} cannot be read: {error.strerror}") from None
                self._lose(cid, f"it cannot be read: {error.strerror}")
                return None
            except WrongBlock:
                self._lose(cid, "it is not what was written")
                return None
            sizes.move_to_end(cid.digest)
            with contextlib.suppress(OSError):
                os.utime(path)
            return block

    def _adopt(self, digest: bytes, path: Path) -> bool:
        """Take note of a block that another process has put here since we looked; False when none is there."""
        try:
            status = path.lstat()
        except OSError:
            return False
        if not stat.S_ISREG(status.st_mode):
            return False
        self._opened()[digest] = status.st_size
        self.used_bytes += status.st_size
        return True

    def put(self, block: Block) -> None:
        """Keep a block; it is on the disk when this returns.

        Raises:
            BlockStoreFault: it cannot be written, or is larger than the budget.
        """
        with self._lock:
            sizes = self._opened()
            if block.cid.digest in sizes:
                sizes.move_to_end(block.cid.digest)
                return
            size = len(block.data)
            if size > self._budget_bytes:
                raise BlockStoreFault("a block is larger than the block store may be: raise ipfs.store_bytes")
            while sizes and self.used_bytes + size > self._budget_bytes:
                self._evict(next(iter(sizes)))
            self._write(block)
            sizes[block.cid.digest] = size
            self.used_bytes += size

    def digests(self) -> list[bytes]:
        """The digests of all blocks, the one that goes first in front."""
        with self._lock:
            return list(self._opened())

    def _opened(self) -> OrderedDict[bytes, int]:
        """Look at the directory once: whose blocks are here, the oldest first."""
        if self._sizes is not None:
            return self._sizes
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = sorted(self._found())
        except OSError as error:
            raise BlockStoreFault(
                f"the block store {self._directory} cannot be used: {error.strerror}; see ipfs.block_store"
            ) from None
        self._sizes = OrderedDict((digest, size) for _, digest, size in found)
        self.used_bytes = sum(self._sizes.values())
        while self._sizes and self.used_bytes > self._budget_bytes:
            self._evict(next(iter(self._sizes)))
        return self._sizes

    def _found(self) -> Iterator[tuple[int, bytes, int]]:
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if not entry.is_file(follow_symlinks=False):
                    continue
                if entry.name.endswith(_UNFINISHED) and _digest(entry.name.removesuffix(_UNFINISHED)) is not None:
                    Path(entry.path).unlink(missing_ok=True)
                elif (digest := _digest(entry.name)) is not None:
                    facts = entry.stat(follow_symlinks=False)
                    yield facts.st_mtime_ns, digest, facts.st_size

    def _write(self, block: Block) -> None:
        path = self._path(block.cid.digest)
        beside = path.with_name(path.name + _UNFINISHED)
        try:
            with beside.open("wb") as file:
                file.write(block.data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            directory = os.open(self._directory, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise BlockStoreFault(f"the block store {self._directory} cannot be written: {error.strerror}") from None

    def _evict(self, digest: bytes) -> None:
        """Forget a block and remove its file; a file that stays is found, and counted, at the next start."""
        if self._sizes is not None:
            self.used_bytes -= self._sizes.pop(digest, 0)
        self.evicted += 1
        with contextlib.suppress(OSError):
            self._path(digest).unlink(missing_ok=True)

    def _lose(self, cid: Cid, why: str) -> None:
        self._evict(cid.digest)
        self.evicted -= 1
        self.damaged += 1
        log.error("vault.block_damaged", block=str(cid), detail=why)

    def _path(self, digest: bytes) -> Path:
        return self._directory / base64.b32encode(digest).decode().rstrip("=").lower()


def _digest(name: str) -> bytes | None:
    """The digest that a file is named after; None: it is not ours."""
    if len(name) != _NAME_CHARACTERS or name != name.lower():
        return None
    try:
        digest = base64.b32decode(name.upper() + "====")
    except binascii.Error:
        return None
    sound = len(digest) == DIGEST_BYTES and base64.b32encode(digest).decode().rstrip("=").lower() == name
    return digest if sound else None
