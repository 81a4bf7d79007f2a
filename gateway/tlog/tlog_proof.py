"""An inclusion proof with the checkpoint it leads to, as text: c2sp.org/tlog-proof@v1.

    c2sp.org/tlog-proof@v1
    index 73894
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
    B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=

    securenet/fleet-a/gw-1
    109482
    sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=

    — securenet/fleet-a/gw-1 hI2DJw...

The first line is the format, then an optional ``extra`` line (we write none; it is authenticated by nothing), the
index of the entry, and the hashes from the leaf's sibling up. Behind a blank line stands the checkpoint, verbatim.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.tlog.checkpoint import NOTE_BYTES_MAX, Checkpoint, parse
from gateway.tlog.merkle import HASH_BYTES
from gateway.tlog.text import from_base64, parse_decimal, to_base64
from gateway.tlog.tiles import TileReader, inclusion_proof

FORMAT = "c2sp.org/tlog-proof@v1"
HASHES_MAX = 63
"""No inclusion proof in a tree below 2^63 leaves is longer."""

TEXT_BYTES_MAX = 2 * NOTE_BYTES_MAX


class TlogProofError(ValueError):
    """The text is no tlog-proof: class ``tlog-proof-malformed`` of docs/spec/proof.md."""


class TlogProof(NamedTuple):
    """An inclusion proof, and the signed checkpoint (``note``, verbatim) that it leads to.

    ``extra`` is opaque and authenticated by nothing; we write none.
    """

    log_index: int
    hashes: tuple[bytes, ...]
    note: bytes
    checkpoint: Checkpoint
    extra: bytes | None = None

    @property
    def text(self) -> str:
        """The text of c2sp.org/tlog-proof@v1; ``decode`` reads it back."""
        extra = [] if self.extra is None else [f"extra {to_base64(self.extra)}"]
        hashes = map(to_base64, self.hashes)
        return "\n".join([FORMAT, *extra, f"index {self.log_index}", *hashes, "", self.note.decode()])


def prove(reader: TileReader, index: int, note: bytes) -> TlogProof:
    """Prove that the entry ``index`` is in the tree of a signed checkpoint.

    Raises:
        CheckpointError: ``note`` is no checkpoint.
        ValueError: the checkpoint's tree has no such entry.
        MissingTileError: the store lacks hashes of that tree.
    """
    checkpoint = parse(note)
    return TlogProof(index, tuple(inclusion_proof(reader, index, checkpoint.size)), note, checkpoint)


def decode(text: str) -> TlogProof:
    """Read the text strictly; proves nothing yet.

    Raises:
        TlogProofError: it is not of the form.
        CheckpointError: the checkpoint in it is none.
    """
    if len(text) > TEXT_BYTES_MAX:
        raise TlogProofError(f"a tlog-proof has at most {TEXT_BYTES_MAX} characters")
    head, blank, note_text = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines.pop(0) != FORMAT:
        raise TlogProofError(f"a tlog-proof begins with {FORMAT} and has a blank line before its checkpoint")
    extra = None
    try:
        if lines and lines[0].startswith("extra "):
            extra = from_base64(lines.pop(0).removeprefix("extra "))
        index_line = lines.pop(0) if lines else ""
        hashes = tuple(map(from_base64, lines))
    except ValueError:
        raise TlogProofError("the extra data or a hash of the tlog-proof is not base64") from None
    index = parse_decimal(index_line.removeprefix("index "))
    if index is None or not index_line.startswith("index "):
        raise TlogProofError("the tlog-proof has no line with its index in decimal digits")
    if len(hashes) > HASHES_MAX or any(len(node) != HASH_BYTES for node in hashes):
        raise TlogProofError(f"a tlog-proof has at most {HASHES_MAX} hashes of 32 bytes each")
    try:
        note = note_text.encode()
    except UnicodeEncodeError:
        raise TlogProofError("a tlog-proof is UTF-8") from None
    return TlogProof(index, hashes, note, parse(note), extra)
