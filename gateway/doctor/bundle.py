"""The support bundle as bytes: pieces in, one archive with its manifest out (pure).

The manifest names every file with its size, its SHA-256 and what it is, and what was left out and why. What is
longer than its share is cut, and says so; the archive as a whole has a limit.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

MANIFEST: Final = "MANIFEST.json"
MAX_PIECE: Final = 8 << 20
MAX_BUNDLE: Final = 32 << 20
_MODE: Final = 0o600


class Piece(NamedTuple):
    """One file of the bundle. ``missing`` says why there is nothing in it; ``newest_last``: its end matters most."""

    name: str
    about: str
    data: bytes = b""
    missing: str = ""
    newest_last: bool = False


def pack(pieces: Sequence[Piece], folder: str, facts: dict[str, Any], time_s: int, limit: int = MAX_BUNDLE) -> bytes:
    """Return the .tar.gz.

    Args:
        pieces: what goes in, the most important first: at the limit the last ones stay out.
        folder: the folder in the archive.
        facts: what the manifest says besides its files.
        time_s: the time that all files get.
        limit: bytes of all files together, before they are packed.
    """
    files, left_out, room = [], [], limit
    for piece in pieces:
        if piece.missing:
            left_out.append({"name": piece.name, "about": piece.about, "why": piece.missing})
            continue
        data, cut = _cut(piece, min(MAX_PIECE, limit // 2))
        if len(data) > room:
            left_out.append({"name": piece.name, "about": piece.about, "why": "the bundle has reached its limit"})
            continue
        room -= len(data)
        row = {"name": piece.name, "about": piece.about, "bytes": len(data), "sha256": sha256(data).hexdigest()}
        files.append((row | ({"cut_bytes": cut} if cut else {}), data))
    manifest = {**facts, "files": [row for row, _data in files], "left_out": left_out}
    said = (json.dumps(manifest, indent=2) + "\n").encode()
    members = [(MANIFEST, said), *((row["name"], data) for row, data in files)]
    return gzip.compress(_tar([(f"{folder}/{name}", data) for name, data in members], time_s), mtime=time_s)


def _cut(piece: Piece, limit: int) -> tuple[bytes, int]:
    """The piece within its share, and how many bytes were cut; whole lines stay whole."""
    excess = len(piece.data) - limit
    if excess <= 0:
        return piece.data, 0
    kept = piece.data[excess:].partition(b"\n")[2] if piece.newest_last else piece.data[:limit].rpartition(b"\n")[0]
    return kept, len(piece.data) - len(kept)


def _tar(members: Sequence[tuple[str, bytes]], time_s: int) -> bytes:
    """A tar archive that says nothing of the machine it was made on."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(data), time_s, _MODE
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()
