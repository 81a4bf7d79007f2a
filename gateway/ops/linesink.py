"""Lines to standard error that never hold the gateway up: a reader that is stuck loses lines."""

from __future__ import annotations

import contextlib
import io
import os
import select
from typing import Final, TextIO

_CHUNK: Final = 4096  # a pipe that may be written takes so much without waiting, and so does a stream socket
_PATIENCE_MS: Final = 20
_WELL: Final = 100
"""So many lines have to go out at once before a reader that was stuck is waited for again."""


class LineSink:
    """Where lines go. ``send`` says whether the whole line went out."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._descriptor: int | None = None
        self._is_torn = False
        self._well = _WELL
        with contextlib.suppress(io.UnsupportedOperation, AttributeError, ValueError):
            self._descriptor = stream.fileno()
        if self._descriptor is not None:
            self._poll = select.poll()
            self._poll.register(self._descriptor, select.POLLOUT)

    def send(self, line: bytes) -> bool:
        """Write one line, without its end. False: the reader takes nothing, or the file takes no more."""
        if self._descriptor is None:
            self._stream.write(line.decode("utf-8") + "\n")
            return True
        data = memoryview(b"\n" + line + b"\n" if self._is_torn else line + b"\n")
        written = 0
        with contextlib.suppress(OSError):  # the reader is gone, the disk is full: there is nobody left to tell
            while written < len(data) and self._poll.poll(_PATIENCE_MS if self._well >= _WELL else 0):
                written += os.write(self._descriptor, data[written : written + _CHUNK])
        is_whole = written == len(data)
        self._well = self._well + 1 if is_whole else 0
        if written:
            self._is_torn = not is_whole
        return is_whole
