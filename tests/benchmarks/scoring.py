"""What scoring costs a message: the whole gateway with 0, 1 and 3 models, at a fixed rate.

    python tests/benchmarks/scoring.py [--rate 4000] [--seconds 10] [--rounds 2]

The same stack as in ``run.py`` (mosquitto, gateway, signature worker, load generator on one machine), with a scoring
process beside them. The variants are run in turn, several rounds, because the machine is never the same twice;
the figures are medians. Models: an autoencoder of two readings; one of two readings and fifteen traffic statistics;
one of a window of 4 messages. With three, devices are shared out among them by domain.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import hashlib
import json
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
from gateway.message import Score, VerifiedMessage
from gateway.ops.control import NoGatewayError

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
    """Takes its models with the first message, because nobody delivers them here."""

    def __init__(self, folder: Path) -> None:
        super().__init__(time.monotonic)
        self._file = folder / "models"
        self._running: asyncio.Task[None] | None = None
        atexit.register(lambda: (folder / "scoring.json").write_text(json.dumps(self.status())))

    async def score(self, messages: Sequence[VerifiedMessage]) -> list[Score]:
        if self._running is None:
            self._running = asyncio.create_task(self.run())
            refusals = await self.swap(unpack_models(self._file.read_bytes()))
            assert not any(refusals), refusals
        return await super().score(messages)


class ScoringStack(Stack):
    """A stack whose gateway is this file's, with models."""

    def __init__(self, folder: Path, count: int, batch: int) -> None:
        super().__init__(folder, 2000)
        self.count = count
        (folder / "models").write_bytes(pack_models(models(count)))
        config = folder / "gateway.toml"
        config.write_text(config.read_text() + f"\n[ingest]\nbatch_messages = {batch}\n")

    def start(self) -> float:
        self.broker.start()
        start = time.perf_counter()
        with (self.folder / "gateway.log").open("ab") as log:
            self.gateway = subprocess.Popen(
                [sys.executable, __file__, "--serve", str(self.folder), "--models", str(self.count)],
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
        # The scoring process comes with the first message.
        return {"scoring": 0.0, **super().cpu_s()}


def measure(count: int, batch: int, rate: int, seconds: int) -> dict[str, Any]:
    """One gateway with ``count`` models under ``rate`` messages a second."""
    with tempfile.TemporaryDirectory(prefix="securenet-bench-") as folder:
        stack = ScoringStack(Path(folder), count, batch)
        try:
            stack.start()
            stack.load("--messages", "4000", "--rate", "2000")
            run = stack.load("--messages", str(rate * seconds), "--rate", str(rate))
            run["resident_mb"], run["proportional_mb"] = stack.resident_mb(), stack.proportional_mb()
        finally:
            stack.stop()
        run["detection"] = json.loads((Path(folder) / "scoring.json").read_text())
    used = run["cpu_us_per_message"]
    run["gateway_us"] = used["gateway"]
    run["all_us"] = sum(used.get(name, 0.0) for name in ("gateway", "signatures", "scoring"))
    return run


def serve(folder: Path, count: int) -> None:
    """Be the gateway, with models."""
    if count:
        gateway.app.NoModel = lambda: BenchSet(folder)  # type: ignore[assignment,misc]
    else:
        (folder / "scoring.json").write_text("{}")
    sys.argv = ["securenet", "run", "--config", str(folder / "gateway.toml")]
    securenet()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=4000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch", type=int, action="append")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--models", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.models)
        return
    for batch in options.batch or (64, 256):
        runs: dict[int, list[dict[str, Any]]] = {0: [], 1: [], 3: []}
        for _ in range(options.rounds):
            for count, found in runs.items():
                found.append(measure(count, batch, options.rate, options.seconds))
                print(f"  {batch} {count}", json.dumps(found[-1]), file=sys.stderr)
        for count, found in runs.items():
            middle = {
                key: statistics.median(run[key] for run in found)
                for key in ("gateway_us", "all_us", "p50_ms", "p99_ms", "per_s")
            }
            print(json.dumps({"batch": batch, "models": count, **middle, "resident_mb": found[-1]["resident_mb"],
                              "proportional_mb": found[-1]["proportional_mb"]}))  # fmt: skip


if __name__ == "__main__":
    main()
