"""How deep is this JSON? Asked before the standard library's parser is let at a stranger's text (pure).

Its scanner recurses in C and is stopped by the interpreter's recursion limit alone. That limit is not ours: a
library may raise it (py-evm does, on import), and then a few kilobytes of brackets end the process. So depth is
counted first.
"""

from __future__ import annotations

import re
from typing import Final

JSON_DEPTH_MAX: Final = 64
"""Far more than any of our formats nests, far less than hurts."""

_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


class DeepJsonError(ValueError):
    """The text nests deeper than it may."""


def require_shallow(text: str, limit: int = JSON_DEPTH_MAX) -> str:
    """Return ``text``, for the parser.

    Raises:
        DeepJsonError: it nests deeper than ``limit``.
    """
    if not is_shallow(text, limit):
        raise DeepJsonError(f"nested deeper than {limit}")
    return text


def is_shallow(text: str, limit: int = JSON_DEPTH_MAX) -> bool:
    """Whether arrays and objects nest at most ``limit`` deep in ``text``, which need not be JSON otherwise."""
    if text.count("{") + text.count("[") <= limit:
        return True
    depth = 0
    for token in _TOKEN.finditer(text):
        first = token[0][0]
        if first in "[{":
            depth += 1
            if depth > limit:
                return False
        elif first in "]}":
            depth -= 1
    return True
