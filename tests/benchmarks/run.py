"""The figures of docs/benchmarks.md: throughput, latency, processor and memory of the whole gateway.

    make bench                         # everything, about ten minutes
    make bench ARGS="--quick"          # throughput and latency alone, about one minute
    make bench ARGS="--output f.json"
    make bench ARGS="--chain"          # devices on a chain (anvil, on the same cores), anchors every ten seconds

Method. One machine carries everything: load generator, mosquitto on the recommended configuration, the gateway and
its signature worker. Messages are COSE_Sign1 with a SenML payload, Ed25519, QoS 1; each is verified, committed with
fsync and answered with a signed receipt at QoS 1. *Throughput*: closed loop, at most 2,000 messages unanswered,
best and median of three. *Latency*: open loop at a fixed rate, from the generator's write to its read of the receipt.
The raw Ed25519 rate is measured before and after, with nothing else running, and the ratio is taken with the mean.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.stack import Stack, raw_ed25519_rate

Figures = dict[str, Any]


def throughput(stack: Stack, messages: int) -> Figures:
    raw = [raw_ed25519_rate()]
    runs = [stack.load("--messages", str(messages), "--devices", "2000", "--first", str(2000 * n)) for n in range(3)]
    raw.append(raw_ed25519_rate())
    rates = [run["per_s"] for run in runs]
    mean_raw = statistics.mean(raw)
    return {
        "raw_ed25519_per_s": round(mean_raw),
        "per_s": rates,
        "median_per_s": statistics.median(rates),
        "ratio_to_raw_ed25519": round(statistics.median(rates) / mean_raw, 3),
        "lost": sum(run["messages"] - run["receipts"] for run in runs),
        "cpu_us_per_message": runs[-1]["cpu_us_per_message"],
        "message_bytes": runs[-1]["message_bytes"],
    }


def latency(stack: Stack, rate: int, seconds: int) -> Figures:
    before, start = stack.cpu_s(), time.perf_counter()
    run = stack.load("--messages", str(rate * seconds), "--devices", "2000", "--rate", str(rate))
    elapsed = time.perf_counter() - start
    used = stack.cpu_s()
    share = {name: round((used[name] - before[name]) / run["seconds"], 3) for name in used}
    return {
        **{key: run[key] for key in ("receipts", "p50_ms", "p99_ms", "max_ms")},
        "cores": share,
        "took_s": elapsed,
    }


def idle(stack: Stack, seconds: int) -> Figures:
    before = stack.cpu_s()
    time.sleep(seconds)
    used = stack.cpu_s()
    return {"seconds": seconds, "cores": {name: round((used[name] - before[name]) / seconds, 5) for name in used}}


def memory(stack: Stack, messages: int, rounds: int) -> Figures:
    """Resident memory as the messages add up, every registered device in turn."""
    samples = [stack.resident_mb()]
    for n in range(rounds):
        share = 100_000 // rounds
        run = stack.load(
            "--messages",
            str(messages // rounds),
            "--devices",
            str(share),
            "--first",
            str(n * share),
            "--timeout",
            "600",
        )
        samples.append(stack.resident_mb())
        print(f"  {run['receipts']} messages at {run['per_s']}/s, resident {samples[-1]}", file=sys.stderr)
    return {
        "messages": messages,
        "resident_mb": samples,
        "proportional_mb": stack.proportional_mb(),
        "disk_bytes": stack.status()["disk_bytes"],
    }


def start(stack: Stack) -> Figures:
    """Seconds to ready; with a chain the first time (every device is read from it), and then from the journal."""
    took_s = round(stack.start(), 2)
    if stack.chain is None:
        return {"start_to_ready_s": took_s}
    stack.stop_gateway()
    return {"first_start_to_ready_s": took_s, "start_to_ready_s": round(stack.start(), 2)}


def anchors(stack: Stack) -> Figures:
    """What anchoring came to, when everything that was sealed is final."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        status = stack.status()
        said = status["anchors"]
        if said["final_size"] == status["log_size"]:
            return {
                "final": said["counts"].get("final", 0),
                "counts": said["counts"],
                "gas_used": said["gas_used_total"],
                "gas_per_message": round(said["gas_used_total"] / status["log_size"], 2),
            }
        time.sleep(1)
    raise RuntimeError(f"never anchored to the end: {said}")


def machine() -> Figures:
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "system": platform.release()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="throughput and latency alone, few devices")
    parser.add_argument("--chain", action="store_true", help="the registry on a chain, and anchors every ten seconds")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    figures: Figures = {"machine": machine()}
    with tempfile.TemporaryDirectory(prefix="securenet-bench-") as folder:
        stack = Stack(Path(folder), 6_000 if options.quick else 100_000, on_chain=options.chain)
        try:
            figures |= start(stack)
            if not options.quick:
                figures["idle"] = idle(stack, 60)
            figures["throughput"] = throughput(stack, 40_000)
            figures["at_1000_per_s"] = latency(stack, 1000, 20)
            figures["at_500_per_s"] = latency(stack, 500, 20)
            if not options.quick:
                figures["memory"] = memory(stack, 1_000_000, 10)
                figures["idle_after"] = idle(stack, 30)
            if options.chain:
                figures["anchors"] = anchors(stack)
        finally:
            stack.stop()
    text = json.dumps(figures, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
