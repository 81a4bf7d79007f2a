"""What scoring costs a message: the whole gateway with 0, 1 and 3 models, at a fixed rate.

    python tests/benchmarks/scoring.py [--rate 4000] [--seconds 4] [--rounds 5] [--batch 64 --batch 256] [--alone]

The same stack as in ``run.py`` (mosquitto, gateway, signature worker, load generator on one machine), with a scoring
process beside them. It is one gateway all the time, that takes its models and gives them back between two loads: the
machine is never the same twice, and neither are two processes. A round is 0, 1, 3 models or 3, 1, 0 in turn; what a
message costs with models is divided by what it cost in the same round without, and the median over the rounds is
told. A round in which one of the loads fell behind its rate says nothing about that rate, and is played again.
Cost is processor time, user and system, of the gateway and all its children; the broker is not counted.
Before it, ``alone``: what a batch costs this process and the scoring process with no gateway around them; that holds
on a busy machine too.

Models: an autoencoder of two readings; one of two readings and fifteen traffic statistics; one of a window of 4
messages. With three, devices are shared out among them by domain.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "detection"))

from benchmarks.stack import Stack

import gateway.app
from gateway.cli.main import main as securenet
from gateway.detection.frames import pack_models, unpack_models
from gateway.detection.port import LoadedModel
from gateway.detection.scorer import ModelSet
from gateway.detection.spec import (
    Column,
    ColumnKind,
    InputSpec,
    ModelSpec,
    OutputKind,
    OutputSpec,
    Selector,
    SmokeTest,
)
from gateway.detection.traffic import Statistic
from gateway.message import Alg, Encoding, Envelope, RawMessage, Score, VerifiedMessage
from gateway.ops.control import NoGatewayError

HELD = 0.97
"""A load that came this near to its rate kept up with it."""
TRIES = 3
MESSAGES = 40_000
READINGS = (Column("temp", mean=21, scale=2), Column("hum", mean=45, scale=5))
TRAFFIC = tuple(Column(name.value, ColumnKind.STATISTIC, 0.0, scale=1000.0) for name in Statistic)


def model(name: str, columns: tuple[Column, ...], window: int = 1, domains: tuple[str, ...] = ()) -> LoadedModel:
    """An autoencoder over these columns; it is here for its cost, its answers mean nothing."""
    import make_models  # noqa: PLC0415 -- the gateway that this file becomes must not load what is not its own
    import numpy as np  # noqa: PLC0415 -- likewise

    from gateway.training.export import litert  # noqa: PLC0415 -- likewise

    width = len(columns) * window
    data = make_models.autoencoder((width, 64, 16, 64, width))
    row = np.full((1, width), 0.5, np.float32)
    smoke = SmokeTest(tuple(map(float, row[0])), tuple(map(float, litert(data, row)[0])), 1e-4)
    spec = ModelSpec(
        InputSpec(columns, None, window, (width,)), OutputSpec(OutputKind.RECONSTRUCTION, 5.0, ()), smoke,
        Selector(domains=domains),
    )  # fmt: skip
    return LoadedModel(hashlib.sha256(name.encode()).digest(), name, 1, spec, data)


def models(count: int) -> list[LoadedModel]:
    """0, 1 or 3 models. Devices are numbered from 0x000 to 0x7cf: a quarter of them for each of the special ones."""
    head = "urn:dev:mac:0000000000000"
    made = [
        model("readings", READINGS),
        model("traffic", (*READINGS, *TRAFFIC), domains=(f"{head}1", f"{head}2")),
        model("window", READINGS, 4, domains=(f"{head}3", f"{head}4")),
    ]
    return made[:count]


class BenchSet(ModelSet):
    """Takes so many models as a file says when it gets a signal: nobody delivers them here."""

    def __init__(self, folder: Path) -> None:
        super().__init__(time.monotonic)
        self._folder = folder
        self._tasks: set[asyncio.Task[None]] = set()

    async def score(self, messages: Sequence[VerifiedMessage]) -> list[Score]:
        if not self._tasks:
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._told)
            self._tasks.add(asyncio.create_task(self.run()))
        return await super().score(messages)

    def _told(self) -> None:
        self._tasks.add(asyncio.create_task(self._take()))

    async def _take(self) -> None:
        count = int((self._folder / "wanted").read_text())
        known = unpack_models((self._folder / "models").read_bytes())
        refusals = await self.swap(known[:count])
        assert not any(refusals), refusals
        (self._folder / "taken").write_text(json.dumps({"count": count, **self.status()}))


class ScoringStack(Stack):
    """A stack whose gateway is this file's, with models."""

    def __init__(self, folder: Path, batch: int) -> None:
        super().__init__(folder, 2000)
        (folder / "models").write_bytes(pack_models(models(3)))
        config = folder / "gateway.toml"
        config.write_text(config.read_text() + f"\n[ingest]\nbatch_messages = {batch}\n")

    def take(self, count: int) -> dict[str, Any]:
        """Have the gateway take so many models; what it said of those before."""
        assert self.gateway is not None
        taken = self.folder / "taken"
        taken.unlink(missing_ok=True)
        (self.folder / "wanted").write_text(str(count))
        self.gateway.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                found: dict[str, Any] = json.loads(taken.read_text())
            except (FileNotFoundError, ValueError):
                time.sleep(0.05)
                continue
            return found
        raise RuntimeError((self.folder / "gateway.log").read_text()[-4000:])

    def start(self) -> float:
        self.broker.start()
        start = time.perf_counter()
        with (self.folder / "gateway.log").open("ab") as log:
            self.gateway = subprocess.Popen(
                [sys.executable, __file__, "--serve", str(self.folder)],
                stdout=log,
                stderr=log,
            )
        while time.perf_counter() - start < 60 and self.gateway.poll() is None:
            try:
                if self.status()["ready"]:
                    return time.perf_counter() - start
            except NoGatewayError:
                pass
            time.sleep(0.1)
        raise RuntimeError((self.folder / "gateway.log").read_text()[-4000:])

    def processes(self) -> dict[str, psutil.Process]:
        assert self.gateway is not None
        assert self.broker.process is not None
        found = {"gateway": psutil.Process(self.gateway.pid), "broker": psutil.Process(self.broker.process.pid)}
        for child in found["gateway"].children():
            found["scoring" if "gateway.detection.worker" in child.cmdline() else "signatures"] = child
        return found

    def cpu_s(self) -> dict[str, float]:
        # Without models there is no scoring process.
        return {"scoring": 0.0, **super().cpu_s()}


def measure(stack: ScoringStack, count: int, rate: int, seconds: int) -> dict[str, Any]:
    """A load of ``rate`` messages a second with ``count`` models."""
    stack.take(count)
    stack.load("--messages", str(rate), "--rate", str(rate))
    run = stack.load("--messages", str(rate * seconds), "--rate", str(rate))
    run["resident_mb"], run["proportional_mb"] = stack.resident_mb(), stack.proportional_mb()
    run["detection"] = stack.take(count)
    used = run["cpu_us_per_message"]
    run["all_us"] = sum(used[name] for name in ("gateway", "signatures", "scoring"))
    scored = sum(model["scored"] for model in run["detection"]["models"])
    assert not count or scored > rate * seconds * 0.9, run["detection"]
    return run


def compare(batch: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One gateway through all rounds; a line for each number of models."""
    runs: dict[int, list[dict[str, Any]]] = {0: [], 1: [], 3: []}
    with tempfile.TemporaryDirectory(prefix="securenet-bench-") as folder:
        stack = ScoringStack(Path(folder), batch)
        try:
            stack.start()
            stack.load("--messages", "8000", "--rate", "2000")
            for number in range(TRIES * options.rounds):
                played = {}
                for count in (0, 1, 3)[:: 1 if number % 2 else -1]:
                    played[count] = measure(stack, count, options.rate, options.seconds)
                    print(f"  {batch} {count}", json.dumps(played[count]), file=sys.stderr)
                if all(run["per_s"] >= HELD * options.rate for run in played.values()):
                    for count, run in played.items():
                        runs[count].append(run)
                if len(runs[0]) == options.rounds:
                    break
        finally:
            stack.stop()
    if not runs[0]:
        print(f"the machine did not hold {options.rate} messages a second in any round", file=sys.stderr)
        return []
    return [
        {
            "batch": batch,
            "rounds": len(found),
            "models": count,
            "ratio": round(
                statistics.median(run["all_us"] / bare["all_us"] for run, bare in zip(found, runs[0], strict=True)), 3
            ),
            "all_us": round(statistics.median(run["all_us"] for run in found), 1),
            **{
                f"{name}_us": statistics.median(run["cpu_us_per_message"][name] for run in found)
                for name in ("gateway", "signatures", "scoring")
            },
            **{key: statistics.median(run[key] for run in found) for key in ("p50_ms", "p99_ms", "per_s")},
            "resident_mb": found[-1]["resident_mb"],
            "proportional_mb": found[-1]["proportional_mb"],
        }
        for count, found in runs.items()
    ]


async def alone(batch: int, count: int) -> dict[str, Any]:
    """The share of this process and of the scoring process in a batch, without a gateway around them."""
    generator = random.Random(1)
    messages = []
    for number in range(MESSAGES):
        device = f"urn:dev:mac:{number % 2000:016x}"
        pack = [{"bn": device, "n": "temp", "u": "Cel", "v": round(generator.gauss(21, 2), 2)},
                {"n": "hum", "u": "%RH", "v": round(generator.gauss(45, 5), 2)}]  # fmt: skip
        payload = json.dumps(pack, separators=(",", ":")).encode()
        received_ms = 1_700_000_000_000 + number
        envelope = Envelope(
            Encoding.COSE, device, "f", Alg.ED25519, 110, received_ms / 1000, b"s" * 8, number, payload, b"", b"", b""
        )
        messages.append(VerifiedMessage(RawMessage(payload, "mqtt", device, received_ms, lambda _: None), envelope))
    scorer = ModelSet(time.monotonic)
    task = asyncio.create_task(scorer.run())
    assert not any(await scorer.swap(models(count)))
    (child,) = psutil.Process().children()
    used: list[tuple[float, float]] = []
    for _ in range(3):
        before, own_s = child.cpu_times(), time.process_time()
        for start in range(0, MESSAGES, batch):
            await scorer.score(messages[start : start + batch])
        after = child.cpu_times()
        child_s = after.user + after.system - before.user - before.system
        used.append((time.process_time() - own_s, child_s))
    resident = child.memory_full_info()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    own_us, child_us = (statistics.median(each) * 1e6 / MESSAGES for each in zip(*used, strict=True))
    return {
        "alone": True,
        "batch": batch,
        "models": count,
        "parent_us": round(own_us, 2),
        "child_us": round(child_us, 2),
        "child_resident_mb": round(resident.rss / 1e6, 1),
        "child_proportional_mb": round(resident.pss / 1e6, 1),
    }


def serve(folder: Path) -> None:
    """Be the gateway, with models."""
    gateway.app.NoModel = lambda: BenchSet(folder)  # type: ignore[assignment,misc]
    sys.argv = ["securenet", "run", "--config", str(folder / "gateway.toml")]
    securenet()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=4000)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, action="append")
    parser.add_argument("--alone", action="store_true", help="without a gateway: for a machine that is busy")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    for batch in options.batch or (64, 256):
        for count in (1, 3):
            print(json.dumps(asyncio.run(alone(batch, count))), flush=True)
        if options.alone:
            continue
        for line in compare(batch, options):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
