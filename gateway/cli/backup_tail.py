"""The leaf hashes that were published after a backup was made.

They come from a mirror of ``log.publish_dir``, and are believed by their root alone, which the log key signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from gateway.cli.backup_file import Manifest
from gateway.cli.output import CliError
from gateway.cli.peer_source import PeerDirectory, PeerSite
from gateway.journal import CheckpointRow
from gateway.ops.exitcodes import ExitCode
from gateway.tlog.checkpoint import Checkpoint, CheckpointError, VerifierKey, parse, signed_by
from gateway.tlog.layout import TILE_WIDTH
from gateway.tlog.merkle import HASH_BYTES
from gateway.tlog.peer import SourceFault

TAIL_ENTRIES_MAX: Final = 1 << 23
"""A backup that is further behind than this is of no use: 256 MiB of hashes."""


class Tail(NamedTuple):
    """What was published: the signed checkpoint, and the leaf hashes from the backup's end up to it."""

    checkpoint: CheckpointRow
    blocks: Sequence[bytes]


def published_tail(where: str, manifest: Manifest) -> Tail:
    """Read what is missing from a directory, or from a web server.

    Raises:
        CliError: it cannot be had, is not signed by the log key of the backup, or ends before the backup does.
    """
    try:
        source = PeerSite(where) if where.startswith(("http://", "https://")) else PeerDirectory(Path(where))
        with source:
            text = source.checkpoint()
            note = _signed(text, manifest, where)
            blocks = []
            for index in range(manifest.log_size // TILE_WIDTH, -(-note.size // TILE_WIDTH)):
                start = index * TILE_WIDTH
                tile = source.tile(0, index, min(TILE_WIDTH, note.size - start))
                blocks.append(tile[max(0, manifest.log_size - start) * HASH_BYTES :])
    except (SourceFault, ValueError) as error:
        raise CliError(ExitCode.NO_INPUT, f"{where}: {error}") from None
    return Tail(CheckpointRow(note.size, note.root, text.decode(), manifest.made_ms), blocks)


def _signed(text: bytes, manifest: Manifest, where: str) -> Checkpoint:
    if manifest.log_key is None:
        raise CliError(ExitCode.NEGATIVE, "the backup does not know the log's key: restore with --new-id")
    try:
        note = parse(text)
    except CheckpointError as error:
        raise CliError(ExitCode.NEGATIVE, f"{where}: {error}") from None
    if not signed_by(note, VerifierKey(manifest.origin, bytes.fromhex(manifest.log_key))):
        raise CliError(ExitCode.NEGATIVE, f"{where}: its checkpoint is not signed by the key of {manifest.origin}")
    if note.size < manifest.log_size:
        raise CliError(
            ExitCode.NEGATIVE,
            f"{where} ends at {note.size} entries, before the backup ({manifest.log_size}): it cannot tell what came "
            "after; restore with --new-id",
        )
    if note.size - manifest.log_size > TAIL_ENTRIES_MAX:
        raise CliError(ExitCode.NEGATIVE, f"{where} is more than {TAIL_ENTRIES_MAX} entries ahead of the backup")
    return note
