"""A flood that is refused to the last message: half of it from devices that nobody registered, half badly signed.

    python tests/benchmarks/footprint_flood.py --port 1883 --username bench --password … --keys keys.json --fleet f \\
        --rate 1000 --messages 60000

It speaks through the load generator's own client, signs nothing anew, and prints what it sent and how long it took.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.load import Client, prepare


def refused(options: argparse.Namespace) -> list[bytes]:
    """Half of strangers, half with the last bit of the signature turned, in turn."""
    count = options.messages
    options.messages = count // 2
    known = [packet[:-1] + bytes([packet[-1] ^ 1]) for packet in prepare(options)]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as keys:
        json.dump({f"urn:dev:mac:{0xFFFF << 48 | number:016x}": os.urandom(32).hex() for number in range(1000)}, keys)
        keys.flush()
        options.keys = keys.name
        options.messages = count - len(known)
        strangers = prepare(options)
    return [packet for pair in zip(known, strangers, strict=False) for packet in pair]


async def run(options: argparse.Namespace) -> dict[str, float]:
    packets = refused(options)
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: Client(packets, options), options.host, options.port)
    await client.ready
    start_s = time.perf_counter()
    await client.open_loop(options.rate)
    seconds = time.perf_counter() - start_s
    await asyncio.sleep(2)
    client.connection_lost = lambda exc: None  # type: ignore[method-assign]
    client.transport.close()
    return {"sent": client.next, "seconds": round(seconds, 2), "receipts": client.receipts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("username", "password", "fleet", "keys"):
        parser.add_argument(f"--{name}", required=True)
    for name, default in (("port", 1883), ("rate", 1000), ("messages", 60_000), ("devices", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.set_defaults(host="127.0.0.1", first=0, seed=2, outstanding=1_000_000)
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
