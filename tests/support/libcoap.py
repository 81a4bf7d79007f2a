"""libcoap's command-line tools: the other implementation that the CoAP tests speak with."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest


def tool(name: str) -> Path:
    """The path of ``coap-client-notls`` or ``coap-server-notls``; without it skip, and fail where CI=true."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    why = f"{name} is not here: install Debian's libcoap3-bin"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


async def coap_client(*arguments: str | Path, timeout_s: float = 30.0) -> tuple[bytes, str]:
    """Run coap-client; what it printed (the response's payload) and what it complained of (codes and reasons)."""
    process = await asyncio.create_subprocess_exec(
        tool("coap-client-notls"),
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return out, err.decode(errors="replace")
