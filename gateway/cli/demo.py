"""``demo``: a broker, a gateway, a fleet and those who attack it, on this machine alone, for half a minute.

Afterwards the gateway is stopped, and everything that it promised is looked up; the report says what came out. The
demo needs neither root nor any package of the system, touches loopback only, and leaves nothing behind but what it
was asked to (``--report``, ``--keep``).
"""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click
from rich.console import Console

from gateway.cli.demo_audit import Findings, audit
from gateway.cli.demo_parts import DemoError
from gateway.cli.demo_view import View, tell
from gateway.cli.demo_world import DRAIN_S, DemoOptions, Stage, World, make_world
from gateway.cli.fsck import FsckReport, fsck
from gateway.cli.options import journal_in, registry_at
from gateway.cli.output import CliError, json_option, to_json, wants_json
from gateway.cli.proof import build_proof
from gateway.journal import Reader
from gateway.message import Alg
from gateway.ops.exitcodes import ExitCode
from gateway.tlog.proof import dump
from gateway.tlog.verification import Result, Trust, verify_file

_LOOK_EVERY_S: Final = 0.25
_PATIENCE_S: Final = 30.0


class _Interrupts:
    """The first Ctrl-C or SIGTERM asks for an early end; the second one means now (KeyboardInterrupt)."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@click.command()
@click.option("--duration", type=click.FloatRange(1, 86400), default=30.0, show_default=True, help="Seconds.")
@click.option("--devices", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Honest devices.")
@click.option(
    "--rate",
    type=click.FloatRange(1, 10_000),
    default=100.0,
    show_default=True,
    help="Messages a second; floods on top.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the devices' signals.")
@click.option("--coap-share", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Devices over CoAP.")
@click.option(
    "--broker", type=click.Choice(["embedded", "mosquitto"]), default="embedded", show_default=True, help="Which one."
)
@click.option("--report", "report_path", type=click.Path(path_type=Path), help="Write the report (JSON) here.")
@click.option("--keep", type=click.Path(path_type=Path), help="Work in this new or empty folder, and keep it.")
@json_option
def demo(  # noqa: PLR0913 -- click passes one argument for each option
    *,
    duration: float,
    devices: int,
    rate: float,
    seed: int,
    coap_share: float,
    broker: str,
    report_path: Path | None,
    keep: Path | None,
) -> None:
    """See it all at work: a broker, a gateway, a fleet, and those who attack it.

    Exit code 0: all as it must be; 1: a hostile message was accepted, an honest one refused, or a promise not kept.
    """
    options = DemoOptions(duration, devices, rate, seed, broker, coap_share)
    console = Console(stderr=wants_json())
    interrupts = _Interrupts()
    with _handling(interrupts):
        try:
            with _folder(keep) as folder:
                report, findings = _perform(options, folder, View(console), interrupts)
        except DemoError as error:
            raise CliError(ExitCode.UNAVAILABLE, str(error)) from None
        except KeyboardInterrupt:
            raise CliError(ExitCode.INTERRUPTED, "interrupted; everything is stopped and cleaned up") from None
    if report_path is not None:
        _write(report_path, report)
    if wants_json():
        click.echo(to_json(report))
    else:
        tell(console, report, findings)
    code = ExitCode.NEGATIVE if report["problems"] else ExitCode.INTERRUPTED if report["interrupted"] else ExitCode.OK
    click.get_current_context().exit(int(code))


def _perform(
    options: DemoOptions, folder: Path, view: View, interrupts: _Interrupts
) -> tuple[dict[str, Any], Findings]:
    """Make the world, play, stop, judge."""
    world = make_world(folder, options)
    stage = Stage(world)
    try:
        view.say(
            f"Starting a broker ({options.broker}), the gateway, and {options.devices} devices with their enemies."
        )
        stage.open()
        with view:
            _play(stage, options, view, interrupts)
            fleet = stage.fleet_result()
            status = stage.settled_status()
        stage.close()
    finally:
        stage.abandon()
    view.say("The gateway has stopped. Looking up everything that it promised.")
    return _judge(world, fleet, status, interrupted=interrupts.asked)


def _play(stage: Stage, options: DemoOptions, view: View, interrupts: _Interrupts) -> None:
    """Show the run until the fleet has ended."""
    began_s = time.monotonic()
    deadline_s = began_s + options.duration_s + DRAIN_S + _PATIENCE_S
    told = False
    while stage.fleet.ended() is None:
        if interrupts.asked and not told:
            told = True
            stage.fleet.ask_to_end()
        elapsed_s = time.monotonic() - began_s
        if time.monotonic() > deadline_s:
            raise DemoError(f"the fleet does not come to an end. {stage.fleet.last_words()}")
        status = stage.look()
        if status is not None:
            ending = told or elapsed_s > options.duration_s
            view.show(status, elapsed_s, "waiting for the last answers" if ending else "Ctrl-C ends it early")
        time.sleep(_LOOK_EVERY_S)


def _judge(
    world: World, fleet: dict[str, Any], status: dict[str, Any], *, interrupted: bool
) -> tuple[dict[str, Any], Findings]:
    """Compare the fleet's record with the journal, check the log, prove one message."""
    with journal_in(world.config().gateway.data_dir) as reader:
        findings = audit(world.record_file, reader)
        checked = fsck(reader, world.log_key)
        proofs, proof_problems = _prove(world, reader, findings)
    report = {
        "sent": fleet["sent"],
        "acknowledged": fleet["acknowledged"],
        "accepted": checked.messages,
        "rejected": dict(sorted(status["rejected"].items())),
        "honest_rejected": len(findings.honest_rejected),
        "hostile_accepted": len(findings.hostile_accepted),
        "lost": len(findings.lost),
        "log_size": checked.size,
        "root": None if checked.root is None else checked.root.hex(),
        "p50_ms": fleet["p50_ms"],
        "p99_ms": fleet["p99_ms"],
        "proofs_verified": proofs,
        "doubled": len(findings.doubled),
        "unanswered": fleet["unanswered"],
        "receipts_verified": fleet["receipts_verified"],
        "receipts_bad": fleet["receipts_bad"],
        "received": status["received"],
        "scenarios": {
            name: {
                "sent": scenario.sent,
                "expected": sorted(scenario.expected),
                "seen": dict(sorted(scenario.seen.items())),
                "shown": scenario.shown,
            }
            for name, scenario in sorted(findings.scenarios.items())
        },
        "broker": world.options.broker,
        "interrupted": interrupted,
    }
    report["problems"] = [*_problems(report, findings, checked), *proof_problems]
    return report, findings


def _problems(report: dict[str, Any], findings: Findings, checked: FsckReport) -> Iterator[str]:
    yield from findings.samples()
    for name in findings.wrong_reasons:
        yield f"scenario {name}: some messages ended otherwise than they must"
    if checked.difference is not None:
        yield f"the log does not hold from entry {checked.difference.index}: {checked.difference.sentence}"
    if report["receipts_bad"]:
        yield f"{report['receipts_bad']} receipts do not hold"
    if not report["sent"]:
        yield "nothing was sent"


def _prove(world: World, reader: Reader, findings: Findings) -> tuple[int, list[str]]:
    """Export the proof of one honest message, forget the journal, and verify the file with the registry's keys."""
    if not findings.provable:
        return 0, ["no honest message was accepted, so there is nothing to prove"]
    index = next(iter(findings.provable.values()))
    snapshot = registry_at(world.registry_file)
    file = world.folder / "proof.json"
    file.write_bytes(dump(build_proof(reader, index, world.config(), snapshot)))
    row = reader.message(index)
    device = None if row is None else snapshot.device(row.device_id)
    miner = snapshot.miner(world.config().gateway.id)
    if device is None or miner is None or miner.key.alg is not Alg.ED25519:
        return 0, ["the registry does not know who signed the message that was to be proven"]
    verified = verify_file(file.read_bytes(), Trust(device.key, world.log_key))
    if verified.result is Result.VALID:
        return 1, []
    return 0, [f"the proof of entry {index} does not hold: {', '.join(verified.failed)}"]


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """A temporary folder that goes away, or the one that is to be kept."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="securenet-demo-") as made:
            yield Path(made)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise CliError(ExitCode.CANNOT_CREATE, f"{keep} is not empty; name a new folder")
    except OSError as error:
        raise CliError(ExitCode.CANNOT_CREATE, f"{keep} cannot be used: {error.strerror}") from None
    yield keep.resolve()


@contextlib.contextmanager
def _handling(interrupts: _Interrupts) -> Iterator[None]:
    before = {number: signal.signal(number, interrupts) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write(path: Path, report: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise CliError(ExitCode.CANNOT_CREATE, f"{path} cannot be written: {error.strerror}") from None
