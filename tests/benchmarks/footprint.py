"""The figures of docs/sizing.md: memory, processor, disk, start and log of a gateway, in three configurations.

    python tests/benchmarks/footprint.py --write                     # all three, about 25 minutes; rewrites the page
    python tests/benchmarks/footprint.py --only plain --write        # one of plain, chain, models
    python tests/benchmarks/footprint.py --only plain --messages 20000 --seconds 5     # a look, nothing is written

Nothing is measured inside the gateway. Memory: RSS and PSS of each process from smaps, summed over the gateway and
its children; pages that several of them map are counted in each RSS, and once in all in PSS. Processor: user and
system time by /proc as a share of one core, so that what else the machine does matters little; only the rate of *flat
out* depends on that, and is told beside the load average. Disk: blocks of the files below data_dir. The broker, the
load generator and the chain's node are not ours and are not counted. A configuration is measured in this order: start
with 100, 10,000, 100,000 devices; idle; 10, 100, 1,000 messages a second; flat out; a million messages from all
devices; idle again; the disk, after maintenance and after a stop; a flood that is refused.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.footprint_stack import OURS, FootprintStack
from benchmarks.run import machine
from benchmarks.sizing_page import FOOTPRINT, rewrite

Figures = dict[str, Any]
CONFIGURATIONS = {
    "plain": {},
    "chain": {"on_chain": True},
    "models": {"on_chain": True, "models": True},
}
RATES = (10, 100, 1000)
FLEETS = (100, 10_000, 100_000)
ROUNDS = 10
AT_ONCE = 2000


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def processor(stack: FootprintStack, seconds: float, meanwhile: Callable[[], Figures]) -> Figures:
    """The share of a core that each process takes while something happens; by its own seconds where it tells them."""
    before, start_s, log = stack.cpu_s(), time.perf_counter(), stack.log.stat().st_size
    did = meanwhile()
    took_s = seconds or time.perf_counter() - start_s
    used = stack.cpu_s()
    shares = {name: round((used[name] - before.get(name, 0.0)) / took_s, 5) for name in used if name in OURS}
    return did | {
        "seconds": round(took_s, 2),
        "cores": shares | {"sum": round(sum(shares.values()), 5)},
        "log_bytes": stack.log.stat().st_size - log,
    }


def idle(stack: FootprintStack, seconds: int) -> Figures:
    def nothing() -> Figures:
        time.sleep(seconds)
        return {}

    return processor(stack, 0, nothing)


def at_rate(stack: FootprintStack, rate: int, seconds: int) -> Figures:
    """Open loop; the load generator needs seconds of its own before and after, in which the gateway is idle."""

    def load() -> Figures:
        count, devices = rate * seconds, min(AT_ONCE, rate * seconds)
        run = stack.load("--messages", str(count), "--devices", str(devices), "--rate", str(rate))
        return {key: run[key] for key in ("messages", "receipts", "p50_ms", "p99_ms")}

    return processor(stack, seconds, load)


def flat_out(stack: FootprintStack, messages: int, devices: int) -> Figures:
    """Closed loop, three times, each with other devices."""
    share = min(AT_ONCE, devices // 3)
    runs = [
        stack.load("--messages", str(messages), "--devices", str(share), "--first", str(share * number))
        for number in range(3)
    ]
    each = [run["cpu_us_per_message"] for run in runs]
    used = {name: statistics.median(one[name] for one in each) for name in each[0]}
    return {
        "per_s": [run["per_s"] for run in runs],
        "cpu_us_per_message": used | {"sum": round(sum(used.get(name, 0.0) for name in OURS), 1)},
        "lost": sum(run["messages"] - run["receipts"] for run in runs),
        "load_average": round(os.getloadavg()[0], 1),
    }


def million(stack: FootprintStack, messages: int, devices: int) -> Figures:
    """Memory as the messages add up, every registered device in turn."""
    samples = [stack.memory()]
    share = devices // ROUNDS
    for number in range(ROUNDS):
        run = stack.load(
            *("--messages", str(messages // ROUNDS), "--devices", str(share), "--first", str(number * share)),
            *("--timeout", "600"),
        )
        assert run["receipts"] == messages // ROUNDS, run
        samples.append(stack.memory())
        say(f"    {run['receipts']} at {run['per_s']}/s, {samples[-1]['sum']}")
    return {"messages": messages, "memory": samples}


def flood(stack: FootprintStack, seconds: int) -> Figures:
    """1,000 refused messages a second, twice: the first stretch has the log's bursts, the second is what stays."""
    first = processor(stack, seconds, lambda: stack.flood(1000, seconds))
    second = processor(stack, seconds, lambda: stack.flood(1000, seconds))
    refused = stack.status()["rejected"]
    assert second["receipts"] == 0
    return {
        "refused": refused,
        "cores": second["cores"],
        "seconds": second["seconds"],
        "log_bytes": [first["log_bytes"], second["log_bytes"]],
    }


def settled_disk(stack: FootprintStack) -> Figures:
    """What lies on the disk: at once, when maintenance has had a minute, and when the gateway has stopped."""
    found: Figures = {"entries": stack.status()["log_size"], "at_once": stack.disk()}
    time.sleep(60)
    found["maintained"] = stack.disk()
    stack.stop_gateway()
    return found | {"stopped": stack.disk()}


def start_times(folder: Path, chosen: dict[str, bool], fleets: tuple[int, ...]) -> Figures:
    """Seconds to ready, for each size of the fleet: the very first time, and again on the same journal."""
    found: Figures = {}
    for devices in fleets:
        stack = FootprintStack(folder / f"start-{devices}", devices, **chosen)
        try:
            first_s = stack.start()
            stack.stop_gateway()
            again = [stack.start()]
            memory = stack.memory()
            stack.stop_gateway()
            again.append(stack.start())
        finally:
            stack.stop()
        found[str(devices)] = {"first_s": round(first_s, 2), "again_s": round(min(again), 2), "memory": memory}
        say(f"    {devices}: {found[str(devices)]}")
    return found


def measure(folder: Path, name: str, options: argparse.Namespace) -> Figures:
    """Everything of one configuration."""
    chosen = CONFIGURATIONS[name]
    found: Figures = {"start": start_times(folder, chosen, tuple(n for n in FLEETS if n <= options.devices))}
    stack = FootprintStack(folder / "life", options.devices, **chosen)
    try:
        stack.start()
        if "models" in chosen:
            stack.wait_for_models()
        time.sleep(5)
        found["memory_at_start"] = stack.memory()
        found["idle"] = idle(stack, 3 * options.seconds)
        say(f"    idle: {found['idle']}")
        for rate in RATES:
            found[f"at_{rate}"] = at_rate(stack, rate, options.seconds)
            say(f"    {rate}/s: {found[f'at_{rate}']}")
        found["flat_out"] = flat_out(stack, min(40_000, options.messages), options.devices)
        say(f"    flat out: {found['flat_out']}")
        found["million"] = million(stack, options.messages, options.devices)
        found["idle_after"] = idle(stack, 3 * options.seconds)
        found["disk"] = settled_disk(stack)
        stack.start()
        found["flood"] = flood(stack, 3 * options.seconds)
        say(f"    flood: {found['flood']}")
    finally:
        stack.stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CONFIGURATIONS, action="append")
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=20, help="of each rate; idle and flood: three times as long")
    parser.add_argument("--write", action="store_true", help="rewrite footprint.json and docs/sizing.md")
    options = parser.parse_args()
    figures: Figures = json.loads(FOOTPRINT.read_text()) if FOOTPRINT.exists() else {}
    for name in options.only or CONFIGURATIONS:
        say(name)
        with tempfile.TemporaryDirectory(prefix="securenet-footprint-") as folder:
            found = measure(Path(folder), name, options)
        here = {key: value for key, value in machine().items() if key != "system"}
        about = {"date": time.strftime("%Y-%m-%d"), "machine": here, "devices": options.devices}
        figures[name] = about | found
        if options.write:
            FOOTPRINT.write_text(json.dumps(figures, indent=1) + "\n")
            rewrite()
    print(json.dumps({name: figures[name] for name in options.only or CONFIGURATIONS}, indent=1))


if __name__ == "__main__":
    main()
