"""``demo``: a broker, a chain, a gateway, a fleet and those who attack it, on this machine alone, for half a minute.

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

from gateway.cli.demo_audit import Findings
from gateway.cli.demo_parts import DemoError
from gateway.cli.demo_stage import Stage
from gateway.cli.demo_verdict import Played, judge
from gateway.cli.demo_view import View, tell
from gateway.cli.demo_world import DRAIN_S, DemoOptions, make_world
from gateway.cli.output import CliError, json_option, to_json, wants_json
from gateway.ops.exitcodes import ExitCode

_LOOK_EVERY_S: Final = 0.25
_PATIENCE_S: Final = 120.0


class _Interrupts:
    """The first Ctrl-C or SIGTERM asks for an early end; the second one means now (KeyboardInterrupt)."""

    def __init__(self) -> None:
        self.asked = False
        self.opening = True

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def check(self) -> None:
        """End what is waited for while there is nothing yet to report on."""
        if self.asked and self.opening:
            raise KeyboardInterrupt


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
@click.option(
    "--chain/--no-chain",
    default=True,
    show_default=True,
    help="Register, revoke and anchor on an embedded chain, or take a registry file.",
)
@click.option("--kubo", default="", metavar="PROGRAM", help="IPFS node for the models; none: a block store alone.")
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
    chain: bool,
    kubo: str,
    report_path: Path | None,
    keep: Path | None,
) -> None:
    """See it all at work: a broker, a chain, a gateway, a fleet, and those who attack it.

    Exit code 0: all as it must be; 1: a hostile message was accepted, an honest one refused, or a promise not kept.
    """
    options = DemoOptions(duration, devices, rate, seed, broker, coap_share, chain, kubo)
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
        tell(console, report, findings, None if keep is None else keep.resolve())
    code = ExitCode.NEGATIVE if report["problems"] else ExitCode.INTERRUPTED if report["interrupted"] else ExitCode.OK
    click.get_current_context().exit(int(code))


def _perform(
    options: DemoOptions, folder: Path, view: View, interrupts: _Interrupts
) -> tuple[dict[str, Any], Findings]:
    """Make the world, play, stop, judge."""
    world = make_world(folder, options)
    stage = Stage(world, interrupts.check)
    try:
        chain = "a chain" if options.chain else "no chain"
        view.say(
            f"Starting a broker ({options.broker}), {chain}, the gateway, and {options.devices} devices with their "
            "enemies."
        )
        stage.open(view.say)
        interrupts.opening = False
        with view:
            lasted_s = _play(stage, options, view, interrupts)
            status = stage.settled_status()
            if options.chain:
                view.show(status, lasted_s, "waiting until everything is anchored for good")
                stage.anchored(status["log_size"])
        stage.close()
        view.say("The gateway has stopped. Looking up everything that it promised.")
        return judge(stage, Played(status, lasted_s, interrupts.asked))
    finally:
        stage.abandon()


def _play(stage: Stage, options: DemoOptions, view: View, interrupts: _Interrupts) -> float:
    """Show the run until the fleet has ended and the revoked device is gone; how long it lasted."""
    began_s = time.monotonic()
    deadline_s = began_s + options.duration_s + DRAIN_S + _PATIENCE_S
    told = False
    status: dict[str, Any] | None = None
    while not stage.farewell(status, ending=interrupts.asked) or stage.fleet.ended() is None:
        if interrupts.asked and not told:
            told = True
            stage.fleet.ask_to_end()
        elapsed_s = time.monotonic() - began_s
        if time.monotonic() > deadline_s:
            raise DemoError(f"the devices do not come to an end. {stage.fleet.last_words()}")
        status = stage.look()
        if status is not None:
            ending = told or elapsed_s > options.duration_s
            view.show(status, elapsed_s, "waiting for the last answers" if ending else "Ctrl-C ends it early")
            if (page := status.get("http", {}).get("address")) is not None:
                view.tell_once(f"the gateway's status page is {page} while this runs", elapsed_s)
            for text in stage.news():
                view.tell_once(text, elapsed_s)
        time.sleep(_LOOK_EVERY_S)
    return time.monotonic() - began_s


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
