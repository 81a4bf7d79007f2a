"""The demo's stage: the processes, brought up in order, looked at while they run, taken down in order."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gateway.cli.demo_chain import Office, chain_child, wait_for_chain
from gateway.cli.demo_kubo import kubo_child
from gateway.cli.demo_leaver import RATE, Leaver, Phase
from gateway.cli.demo_models import Cast, Delivery, Place
from gateway.cli.demo_papers import make_papers
from gateway.cli.demo_parts import (
    READY_S,
    Child,
    DemoError,
    embedded_broker,
    mosquitto,
    python_child,
    wait_for_port,
)
from gateway.cli.demo_world import DEVICE_RATE, DRAIN_S, FLEET, GATEWAY, KEYS, RECORD, REGISTRY, REPORT, World
from gateway.cli.output import plain
from gateway.ops.control import CONTROL_SOCKET, NoGatewayError, RequestRefusedError, request

_END_S: Final = 30.0
_HOSTILE_PER_S: Final = 10.0
_HOSTILE_SHARE_MAX: Final = 0.3
_SETTLED_LOOKS: Final = 3
_ANCHORED_S: Final = 60.0
_LEAVER_DRAIN_S: Final = 2.0
_FOR_EVER_S: Final = 1_000_000
_FILLING_SHARE: Final = 0.9
"""Of what the gateway allows a device, so that nothing of it is refused."""
_FILLING_BURST: Final = 80


class Stage:
    """The processes: brought up in order, looked at while they run, taken down in order.

    Args:
        world: the folder that they live from.
        check: called while something is waited for; ends the waiting by what it raises.
    """

    def __init__(self, world: World, check: Callable[[], None]) -> None:
        self.world = world
        self._interrupts = check
        self._is_delivering = False
        folder, options = world.folder, world.options
        self.broker = {"embedded": embedded_broker, "mosquitto": mosquitto}[options.broker](
            folder, world.ports["mqtt"]
        )
        self.gateway = python_child(
            "gateway", "gateway", ["run", "--config", world.config_file], folder / "gateway.log"
        )
        self.fleet = python_child("fleet", "firmware_sim.cli", list(_fleet_arguments(world)), folder / "fleet.log")
        self.chain = chain_child(folder) if options.chain else None
        self.office = Office(folder, world.config_file, self._check)
        self.leaver = _leaver(world, self.office) if options.chain else None
        self.kubo = kubo_child(world.kubo, folder, world.ports["kubo"]) if world.kubo else None
        self.delivery = None if world.no_models else _delivery(world, self.office)

    def open(self, say: Callable[[str], None]) -> None:
        """Start broker, chain, gateway and fleet, each when the one before is ready.

        Args:
            say: told what is being done.

        Raises:
            DemoError: one did not come up.
        """
        world, delivery = self.world, self.delivery
        self.broker.start()
        if self.kubo is not None:
            self.kubo.start()
        if self.chain is not None:
            self.chain.start()
            known = wait_for_chain(self.chain, world.folder, self._check)
            listed = [world.registry_file, world.leaver_folder / REGISTRY]
            listed += [world.soloists_folder / REGISTRY] if delivery is not None else []
            self._is_delivering = delivery is not None
            self.office.establish(known, listed, say, None if delivery is None else delivery.grant)
        wait_for_port(self.broker, self.world.ports["mqtt"])
        self.gateway.start()
        if self.kubo is not None:
            wait_for_port(self.kubo, world.ports["kubo"])
        self._wait_until_ready()
        self.fleet.start()
        if delivery is not None:
            for text in delivery.news():
                say(f"{text[0].upper()}{text[1:]}.")
            delivery.play()
        if self.leaver is not None:
            self.leaver.start()

    def look(self) -> dict[str, Any] | None:
        """The gateway's status; None when it does not answer just now.

        Raises:
            DemoError: broker, chain or gateway have ended.
        """
        self.broker.must_run()
        if self.chain is not None:
            self.chain.must_run()
        self.gateway.must_run()
        if self.kubo is not None:
            self.kubo.must_run()
        return self._ask("status")

    def farewell(self, status: Mapping[str, Any] | None, *, ending: bool) -> bool:
        """Move the stories of the leaver and of the models on; whether both are over. Raises as their ``look``."""
        gone = self.leaver is None or self.leaver.look(ending=ending) is Phase.GONE
        delivered = self.delivery is None or self.delivery.look(status, ending=ending)
        return gone and delivered

    def news(self) -> Iterator[str]:
        """What the stories have to tell since this was asked last."""
        if self.leaver is not None:
            yield self.leaver.phase.value
        if self.delivery is not None:
            yield from self.delivery.news()

    def settled_status(self) -> dict[str, Any]:
        """The gateway's status once nothing moves any more.

        Raises:
            DemoError: it never came to rest, or does not answer.
        """
        deadline_s = time.monotonic() + DRAIN_S
        quiet, last = 0, None
        while time.monotonic() < deadline_s:
            status = self.look()
            if status is not None:
                now = (status["received"], status["answered"], status["waiting"])
                quiet = quiet + 1 if now == last and status["waiting"] == 0 else 0
                if quiet >= _SETTLED_LOOKS:
                    return status
                last = now
            time.sleep(0.1)
        raise DemoError(f"the gateway is still at work {DRAIN_S:g} s after the fleet. {self.gateway.last_words()}")

    def anchored(self, size: int) -> None:
        """Let the gateway anchor what it has, and wait until so many entries are final, or patience ends.

        Raises:
            DemoError: a part has ended.
        """
        deadline_s = time.monotonic() + _ANCHORED_S
        asked = False
        while time.monotonic() < deadline_s:
            asked = asked or self._ask("anchor-now") is not None
            status = self.look()
            if status is not None and status["anchors"]["final_size"] >= size:
                return
            time.sleep(0.2)

    def results(self) -> list[dict[str, Any]]:
        """The reports of the fleet and of the leaver, after they have ended.

        Raises:
            DemoError: one ended without.
        """
        found = [_report_of(self.fleet, self.world.fleet_report_file)]
        if self.leaver is not None:
            found.append(_report_of(self.leaver.child, self.world.leaver_folder / REPORT))
        if self.delivery is not None:
            told = [(device, self.world.soloists_folder / device.name / REPORT) for device in self.delivery.devices]
            # One that Ctrl-C ended before it was up has nothing to report.
            whole = self.delivery.is_complete
            found += [_report_of(device, path) for device, path in told if whole or path.exists()]
        return found

    def close(self) -> None:
        """Stop the gateway cleanly, then the broker; the chain goes on until ``abandon``.

        Raises:
            DemoError: the gateway did not end as it should.
        """
        code = self.gateway.end(_END_S)
        if code:
            raise DemoError(f"the gateway ended with code {code} at its stop. {self.gateway.last_words()}")
        self.broker.end(_END_S)

    def abandon(self) -> None:
        """End whatever still runs, at once."""
        for child in self._children():
            child.kill()

    def _children(self) -> Iterator[Child]:
        yield self.fleet
        if self.leaver is not None:
            yield self.leaver.child
        if self.delivery is not None:
            yield from self.delivery.children()
        yield from self.office.children()
        yield self.gateway
        yield self.broker
        for child in (self.chain, self.kubo):
            if child is not None:
                yield child

    def _check(self) -> None:
        """What is done while something is waited for: see whether to end, and go on with the models."""
        self._interrupts()
        if self._is_delivering and self.delivery is not None:
            self.delivery.look()

    def _ask(self, command: str) -> dict[str, Any] | None:
        try:
            return asyncio.run(request(self.world.folder / "data" / CONTROL_SOCKET, command))
        except (NoGatewayError, RequestRefusedError):
            return None

    def _wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + READY_S
        problems: list[str] = []
        while time.monotonic() < deadline_s:
            self._check()
            status = self.look()
            if status is not None:
                if status["ready"]:
                    return
                problems = status["problems"]
            time.sleep(0.1)
        said = "; ".join(plain(problem) for problem in problems)
        raise DemoError(f"the gateway is not ready after {READY_S:g} s: {said}. {self.gateway.last_words()}")


def _report_of(child: Child, path: Path) -> dict[str, Any]:
    code = child.ended()
    if code not in {0, 1}:
        raise DemoError(f"the {child.name} ended with code {code}. {child.last_words()}")
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DemoError(f"the {child.name} left no report. {child.last_words()}") from None
    return report


def _fleet_arguments(world: World) -> Iterator[str | Path]:
    options = world.options
    yield from ("run", "--keys", world.keys_file)
    yield from _towards(world)
    yield from ("--mqtt", f"127.0.0.1:{world.ports['mqtt']}")
    yield from ("--devices", str(options.devices), "--rate", f"{options.rate:g}")
    yield from ("--duration", f"{options.duration_s:g}", "--seed", str(options.seed), "--drain", f"{DRAIN_S:g}")
    yield from ("--coap-share", f"{options.coap_share:g}", "--scenario", "all")
    yield from ("--hostile-share", f"{min(_HOSTILE_SHARE_MAX, _HOSTILE_PER_S / options.rate):g}")
    yield from ("--record", world.record_file, "--report", world.fleet_report_file)


def _towards(world: World) -> tuple[str, ...]:
    address = f"coap://127.0.0.1:{world.ports['coap']}"
    return "--fleet", FLEET, "--coap", address, "--log-key", world.log_key.text, "--no-live"


def _leaver(world: World, office: Office) -> Leaver:
    folder = world.leaver_folder
    arguments: list[str | Path] = ["run", "--keys", folder / KEYS, *_towards(world), "--rate", str(RATE)]
    arguments += ["--duration", str(_FOR_EVER_S), "--drain", f"{_LEAVER_DRAIN_S:g}"]
    arguments += ["--record", folder / RECORD, "--report", folder / REPORT]
    child = python_child("device to be revoked", "firmware_sim.cli", arguments, folder / "fleet.log")
    device_id = json.loads((folder / REGISTRY).read_text(encoding="utf-8"))["id"]
    return Leaver(child, folder / RECORD, device_id, office, world.options.duration_s / 2)


def _delivery(world: World, office: Office) -> Delivery:
    papers = make_papers(world.models_folder)
    allowed = ("--burst", str(_FILLING_BURST), "--rate", f"{_FILLING_SHARE * DEVICE_RATE:g}")
    filling = ("--filling", str(papers.filling), *allowed)
    cast = Cast(_soloist(world, "camera"), _soloist(world, "sensor", *filling), world.ports["authority"])
    place = Place(world.store, world.kubo_url, world.car_file)
    return Delivery(office, papers, cast, place, (GATEWAY, FLEET))


def _soloist(world: World, name: str, *more: str) -> Child:
    folder = world.soloists_folder / name
    arguments: list[str | Path] = [name, "--keys", folder / KEYS, "--mqtt", f"127.0.0.1:{world.ports['mqtt']}"]
    arguments += ["--log-key", world.log_key.text, "--record", folder / RECORD, "--report", folder / REPORT, *more]
    return python_child(name, "firmware_sim.solo", arguments, folder / "device.log")
