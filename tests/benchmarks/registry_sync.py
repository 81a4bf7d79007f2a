"""How long 100,000 devices take to come from a chain: the first sync, a restart, the memory, the longest stall.

    python tests/benchmarks/registry_sync.py [--devices 100000] [--rounds 3] [--settle] [--json]

A real node (anvil, `make contracts`) is filled by batches of 256 registrations, one block each; ``setup_s`` is not a
part of what is measured. The endpoint is asked without a limit of requests (``--requests-per-s`` sets one; the
gateway's default is 20 a second with a burst of 80). Each round runs in a process of its own, in three steps that
each are one:

* ``sync``: an empty journal; ``sync_s`` is the first look from its beginning to its end, client and journal included.
* ``restart``: the journal of before; ``import_s`` is to import what a gateway with a chain imports, ``restore_s``
  is ``ChainRegistry.restore``, and ``first_look_s`` the look after it, which finds nothing new.
* ``change``: 256 suspensions in one block; ``change_s`` is the look that puts them in force at the head.

``resident_mb`` is resident memory: before anything, and after (with a collection of garbage). ``stall_ms`` is the
longest time for which a neighbour on the event loop, who wants to run every millisecond, did not. ``--settle`` sets
the interpreter as the gateway does at its start.
"""

# ruff: noqa: PLC0415 -- what is measured imports what the gateway does and no more
import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

BATCH = 256
TICK_S = 0.001


def fill(count: int) -> dict:
    """Anvil with the contracts and so many devices; it goes on running."""
    from support.anvil import Anvil
    from support.contracts_kit import Chain, ed25519_key
    from web3 import Web3

    node = Anvil("--slots-in-an-epoch", "1").__enter__()
    chain = Chain(node.web3())
    started = time.monotonic()
    keys = [ed25519_key(number) for number in range(1, 1025)]
    web3: Web3 = chain.web3
    for first in range(0, count, BATCH):
        batch = [(name_of(at), 1, keys[at % len(keys)]) for at in range(first, min(first + BATCH, count))]
        data = chain.registry.encode_abi("registerDevices", ["plant", batch])
        call = {"from": chain.registrar, "to": chain.registry.address, "gas": 16_000_000, "data": data}
        sent = web3.eth.send_transaction(call)
    assert web3.eth.wait_for_transaction_receipt(sent)["status"] == 1
    web3.provider.make_request("anvil_mine", ["0x2"])
    return {
        "node": node,
        "chain": chain,
        "setup_s": round(time.monotonic() - started, 1),
        "world": {"url": node.url, "registry": chain.registry.address, "anchor_log": chain.log.address},
    }


def name_of(number: int) -> str:
    return f"urn:dev:mac:{number:016x}"


class Neighbour:
    """Somebody on the event loop who wants to run every millisecond."""

    longest_s = 0.0

    async def __aenter__(self):
        self._task = asyncio.create_task(self._run())
        await asyncio.sleep(0.05)
        self.longest_s = 0.0
        return self

    async def __aexit__(self, *_):
        await asyncio.sleep(0.01)
        self._task.cancel()

    async def _run(self):
        before = time.perf_counter()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.perf_counter()
            self.longest_s = max(self.longest_s, now - before - TICK_S)
            before = now

    def stall_ms(self) -> float:
        return round(1000 * self.longest_s, 1)


def resident_mb() -> float:
    gc.collect()
    return round(psutil.Process().memory_info().rss / 2**20, 1)


async def one(step: str, directory: Path, world: dict) -> dict:
    """One step of a round, in this process."""
    started = time.perf_counter()
    from gateway.chain.client import EvmChain
    from gateway.chain.registry import ChainRegistry
    from gateway.config.model import ChainConfig, JournalConfig
    from gateway.journal import open_journal, open_reader
    from gateway.ops.interpreter import settle_interpreter

    report = {"import_s": round(time.perf_counter() - started, 2)}

    class Clock:
        monotonic_s = staticmethod(time.monotonic)
        wall_ms = staticmethod(lambda: time.time_ns() // 1_000_000)

    config = ChainConfig(
        rpc=(world["url"],),
        chain_id=31337,
        registry=world["registry"],
        anchor_log=world["anchor_log"],
        max_head_age_s=86400,
        requests_per_s=world["requests_per_s"],
    )
    journal = open_journal(directory, JournalConfig(), origin="securenet/plant/bench").journal
    registry = ChainRegistry(
        config,
        max_age_s=3600,
        store=journal,
        monotonic_s=Clock.monotonic_s,
        wall_ms=Clock.wall_ms,
        on_change=lambda: None,
    )
    if world["settle"]:
        settle_interpreter()
    report["resident_before_mb"] = resident_mb()
    async with EvmChain(config, Clock()) as chain, Neighbour() as neighbour:
        if step != "sync":
            before = time.perf_counter()
            with open_reader(directory) as reader:
                await registry.restore(reader)
            report["restore_s"] = round(time.perf_counter() - before, 2)
            report["stall_ms_restore"] = neighbour.stall_ms()
            neighbour.longest_s = 0.0
        before = time.perf_counter()
        async with chain.view() as view:
            await registry.look(view)
        took_s = round(time.perf_counter() - before, 3)
        report[{"sync": "sync_s", "restart": "first_look_s", "change": "change_s"}[step]] = took_s
        report["stall_ms"] = neighbour.stall_ms()
    report["resident_after_mb"] = resident_mb()
    report["peak_mb"] = round(peak_mb(), 1)
    report["counts"] = registry.snapshot.counts
    await journal.close()
    return report


def peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def in_a_process(step: str, directory: Path, world: dict) -> dict:
    command = [sys.executable, __file__, "--step", step, str(directory), json.dumps(world)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "PYTHONHASHSEED": "0"})
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests-per-s", type=float, default=10_000)
    parser.add_argument("--settle", action="store_true", help="set the interpreter as the gateway does")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        print(json.dumps(asyncio.run(one(args.step[0], Path(args.step[1]), json.loads(args.step[2])))))
        return
    filled = fill(args.devices)
    world = {**filled["world"], "settle": args.settle, "requests_per_s": args.requests_per_s}
    print(f"setup_s {filled['setup_s']}", file=sys.stderr)
    report = {"setup_s": filled["setup_s"], "rounds": []}
    try:
        for number in range(args.rounds):
            with tempfile.TemporaryDirectory() as directory:
                rounds = {"sync": in_a_process("sync", Path(directory), world)}
                rounds["restart"] = in_a_process("restart", Path(directory), world)
                first = number * BATCH
                filled["chain"].suspend(*(name_of(at) for at in range(first, min(first + BATCH, args.devices))))
                rounds["change"] = in_a_process("change", Path(directory), world)
            report["rounds"].append(rounds)
            for step, found in rounds.items():
                print(step, found, file=sys.stderr)
    finally:
        filled["node"].__exit__()
    if args.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
