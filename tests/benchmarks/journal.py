"""How fast the journal takes groups: idle, and beside an event loop that never rests.

    python tests/benchmarks/journal.py [--rows 256] [--groups 200] [--devices 10000] [--json]

``busy``: the event loop's thread computes all the time but for the turn of a loop every ``--turn-us``, which is the
worst neighbour that a writer thread can have: at each turn the interpreter lock is free for a moment that is too
short to take it, and CPython's switch interval starts anew. With turns below the switch interval (5 ms by default)
a writer can starve for seconds; ``--switch-us`` sets the interval, as the gateway does at its start (ADR 0070).
``python_us`` is the time a message costs the interpreter in the writer's thread, without the disk and SQLite.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from gateway.config.model import JournalConfig
from gateway.journal import EntryRow, Group, MessageRow, TileRow, intake, open_journal
from gateway.journal.budget import growth_bytes
from gateway.tlog.merkle import leaf_hash


def make_groups(rows: int, count: int, devices: int) -> list[Group]:
    """Groups as the ingest loop makes them: random devices, 300 B envelopes, 400 B replay states, full tiles."""
    rng = random.Random(1)
    names = [f"urn:dev:mac:{number:016x}" for number in range(devices)]
    groups = []
    for group in range(count):
        first = group * rows
        chosen = rng.choices(names, k=rows)
        entries = [EntryRow(first + at, rng.randbytes(140)) for at in range(rows)]
        messages = [
            MessageRow(first + at, name, b"8 bytes.", first + at, rng.randbytes(300), rng.randbytes(64))
            for at, name in enumerate(chosen)
        ]
        replay = [(name, rng.randbytes(400)) for name in dict.fromkeys(chosen)]
        tiles = [TileRow(0, at // 256, rng.randbytes(8192)) for at in range(first, first + rows) if at % 256 == 255]
        groups.append(Group(entries, messages, replay, (), tiles))
    return groups


async def neighbour(turn_s: float) -> None:
    """Compute without a pause, in turns of the loop."""
    while True:
        until = time.perf_counter() + turn_s
        while time.perf_counter() < until:
            sum(range(50))
        await asyncio.sleep(0)


async def measure(directory: Path, groups: list[Group], turn_s: float | None) -> dict[str, float]:
    """Commit all groups one after another, with maintenance each second as in the gateway."""
    journal = open_journal(directory, JournalConfig(), origin="securenet/bench/gw").journal
    task = None if turn_s is None else asyncio.create_task(neighbour(turn_s))
    taken = []
    started = time.perf_counter()
    last = started
    for group in groups:
        before = time.perf_counter()
        await journal.commit(group)
        taken.append(time.perf_counter() - before)
        if time.perf_counter() - last > 1:
            await journal.maintain(0)
            last = time.perf_counter()
    seconds = time.perf_counter() - started
    if task is not None:
        task.cancel()
    await journal.close()
    rows = sum(len(group.entries) for group in groups)
    return {
        "rows_per_s": round(rows / seconds),
        "p50_ms": round(statistics.median(taken) * 1000, 2),
        "p99_ms": round(sorted(taken)[int(len(taken) * 0.99)] * 1000, 2),
    }


def python_us(groups: list[Group]) -> float:
    """Microseconds of interpreter time a message: everything that the writer does around the statement."""
    first = 0
    started = time.thread_time()
    for group in groups:
        flat = intake.log_rows(group.entries, group.messages, first)
        flat += intake.replay_rows(group.replay)
        flat += intake.tile_rows(group.tiles)
        growth_bytes(group)
        b"".join([leaf_hash(entry) for _, entry in group.entries])
        first += len(group.entries)
    return (time.thread_time() - started) * 1e6 / first


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--groups", type=int, default=200)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--turn-us", type=float, default=1000)
    parser.add_argument("--switch-us", type=float, default=200)
    parser.add_argument("--dir", type=Path, default=None, help="where to put the journal; a real disk tells more")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sys.setswitchinterval(options.switch_us / 1e6)
    groups = make_groups(options.rows, options.groups, options.devices)
    result: dict[str, object] = {"python_us": round(python_us(groups), 2), "cores": os.cpu_count()}
    for name, turn_s in (("idle", None), ("busy", options.turn_us / 1e6)):
        with tempfile.TemporaryDirectory(dir=options.dir) as directory:
            result[name] = asyncio.run(measure(Path(directory), groups, turn_s))
    if options.json:
        print(json.dumps(result))
        return
    for name, figures in result.items():
        print(f"{name:10} {figures}")


if __name__ == "__main__":
    main()
