"""Runs a program of this machine and reads what it says, within a time and a size."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from typing import Final, NamedTuple

MAX_BYTES: Final = 256 << 10
_READ: Final = 64 << 10


class Said(NamedTuple):
    """What a program said on standard output and error together, and how it ended; negative: by that signal."""

    code: int
    text: str


async def output_of(command: Sequence[str], timeout_s: float = 5.0) -> Said | None:
    """Run a program without a shell and without input; None when it is not there, or takes too long.

    What it says beyond 256 KiB is not kept.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"},
        )
    except OSError:
        return None
    kept = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            while process.stdout is not None and (chunk := await process.stdout.read(_READ)):
                kept += chunk[: max(0, MAX_BYTES - len(kept))]
            code = await process.wait()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return Said(code, kept.decode("utf-8", "replace"))
