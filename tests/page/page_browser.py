"""The page on a loopback port of its own, in a thread of its own, and the browser that looks at it."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

from aiohttp import web
from page_kit import TOKEN, XSS
from support.anvil import skip_or_fail

BROWSER = Path(__file__).parent / "browser"
LOOK_S = 240


@contextlib.contextmanager
def served(world):
    """Serve the world's page while messages keep coming in; gives the address."""
    loop, ready, address = asyncio.new_event_loop(), threading.Event(), []

    async def run():
        runner = web.AppRunner(world.app(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address.append(f"http://127.0.0.1:{runner.addresses[0][1]}/")
        ready.set()
        number = 0
        try:
            while True:
                await asyncio.sleep(0.5)
                number += 1
                world.tick(30 + number % 7 * 5, number % 3)
        finally:
            await runner.cleanup()

    task = loop.create_task(run())

    def live():
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()

    thread = threading.Thread(target=live)
    thread.start()
    try:
        if not ready.wait(10):
            raise TimeoutError("the page was not served")
        yield address[0]
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)


def look(world, folder, out=None, only=None, **more):
    """What the browser saw; the test is skipped where there is none, and fails in CI."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    node = shutil.which("node")
    if chromium is None or node is None:
        skip_or_fail("chromium or node is not installed (apt-get install chromium nodejs)")
    if not (BROWSER / "node_modules" / "playwright-core").is_dir():
        skip_or_fail("the browser's driver is not installed (npm ci in tests/page/browser)")
    good, bad = folder / "good.json", folder / "bad.json"
    if only is None or "proofs" in only:
        good.write_bytes(world.proof())
        document = json.loads(world.proof())
        document["entry"] = json.loads(world.proof(101))["entry"]
        bad.write_text(json.dumps(document))
    with served(world) as url, tempfile.TemporaryDirectory() as home:
        asked = {
            "url": url,
            "chromium": chromium,
            "good": str(good),
            "bad": str(bad),
            "token": TOKEN.decode(),
            "xss": XSS,
            "evil": world.evil_id(),
            "out": None if out is None else str(out),
            "only": only,
            **more,
        }
        done = subprocess.run(
            [str(node), str(BROWSER / "look.mjs"), json.dumps(asked)],
            cwd=BROWSER,
            capture_output=True,
            text=True,
            timeout=LOOK_S,
            check=False,
            env=os.environ | {"HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home},
        )
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])
    return json.loads(done.stdout)
