"""Text from anywhere, made fit for a log or a terminal. Pure, and cheap to import."""

from __future__ import annotations

import codecs
from typing import Final

MAX_VALUE_CHARACTERS: Final = 256
_escape: Final = codecs.getencoder("unicode_escape")
"""Looked up here: Python reads a codec from the disk at its first use, and no file may open by then."""


def sanitise(text: str, limit: int = MAX_VALUE_CHARACTERS, *, keep: str = "") -> str:
    """Make text from anywhere fit for a log: whatever is not printable is escaped, the backslash too, and cut.

    Args:
        text: anything, also lone surrogates.
        limit: characters that are kept; the rest becomes "… (+N)".
        keep: characters that stay as they are although they are not printable.
    """
    rest = len(text) - limit
    shown = text[:limit] if rest > 0 else text
    if not shown.isprintable() or "\\" in shown:
        shown = "".join(
            character
            if (character.isprintable() and character != "\\") or character in keep
            else _escape(character)[0].decode("ascii")
            for character in shown
        )
    return f"{shown}… (+{rest})" if rest > 0 else shown
