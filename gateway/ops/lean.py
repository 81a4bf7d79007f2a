"""structlog without rich: it imports rich for coloured tracebacks, which no gateway shows and which cost 4.5 MB."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Let ``import`` not find these, where nobody has imported them yet."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment] # Python's own way to say: not to be found
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with _hidden("rich", "better_exceptions"):
    import structlog

__all__ = ["structlog"]
