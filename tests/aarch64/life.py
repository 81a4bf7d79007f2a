"""One message's life on an emulated aarch64: a gateway starts, takes it, and a proof of it is exported and verified.

    python tests/aarch64/life.py INTERPRETER

``INTERPRETER`` starts Python for aarch64 with the gateway on its path; ``tests/aarch64/run`` makes one. The broker
and the device are this machine's own. It prints one JSON object; a promise that is broken is an ``AssertionError``.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kill"))

from kill_world import mqtt_gateway
from support.fleet import Fleet, devices
from support.gateway import Gateway
from support.mosquitto import ACCOUNTS, Mosquitto

PATIENCE_S = 180


async def life(folder: Path, interpreter: str) -> dict[str, Any]:
    """Start, one message of each of two devices, proof, stop."""
    records = devices(2)
    broker = Mosquitto(folder / "broker").start()
    program = (interpreter, "-m", "gateway")
    gateway = mqtt_gateway(folder / "gateway", records, {"port": broker.port}, program=program)
    fleet = Fleet(records, random.Random(1), broker.port, ACCOUNTS["bench"], patience_s=60.0)
    started_s = time.monotonic()
    try:
        checked = await command(program, "check-config", "--config", str(gateway.config))
        assert checked[0] == 0, checked
        gateway.start()
        await gateway.ready(PATIENCE_S)
        ready_s = time.monotonic() - started_s
        async with fleet.publishing(2):
            await asyncio.sleep(1)
        assert await fleet.drain(PATIENCE_S) == 0
        assert fleet.messages
        assert not fleet.strays, fleet.strays
        proofs = [await prove(folder, gateway, program, message.digest.hex()) for message in fleet.messages[:2]]
        await fleet.close()
        assert await gateway.stop(PATIENCE_S) == 0
    finally:
        gateway.end()
        broker.stop()
    return {"ready_s": round(ready_s, 1), "messages": len(fleet.messages), "proofs": proofs}


async def prove(folder: Path, gateway: Gateway, program: tuple[str, ...], digest: str) -> str:
    """Export the proof of a message and verify it, both emulated; and what the verification says here."""
    file = folder / f"{digest}.proof"
    code, said = await command(
        program, "proof", "export", "--digest", digest, "--config", str(gateway.config), "--out", str(file)
    )
    assert code == 0, said
    question = ("proof", "verify", "--registry", str(gateway.registry), "--offline", "--json", str(file))
    there = await command(program, *question)
    here = await command((sys.executable, "-m", "gateway"), *question)
    assert there[0] == here[0] == 0, (there, here)
    assert json.loads(there[1]) == json.loads(here[1])
    result: str = json.loads(here[1])["result"]
    return result


async def command(program: tuple[str, ...], *arguments: str) -> tuple[int, str]:
    """Run it to its end; its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(*program, *arguments, stdout=asyncio.subprocess.PIPE)
    said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    return process.returncode or 0, said.decode()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="securenet-aarch64-") as folder:
        print(json.dumps(asyncio.run(life(Path(folder), sys.argv[1]))))


if __name__ == "__main__":
    main()
