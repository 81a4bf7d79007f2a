"""What the demo shows: a live table in a terminal, plain lines elsewhere, and the last words."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway.cli.demo_audit import HONEST, Findings
from gateway.cli.output import plain

_LINE_EVERY_S: Final = 2.0
_PIPE_COLUMNS: Final = 100
_CARRIERS: Final = {"kubo": "through IPFS", "store": "carried as a CAR file"}


class View:
    """The picture while it runs: redrawn in place in a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._line_due_s = 0.0
        self._told: set[str] = set()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """One line of its own."""
        self._console.print(Text(text), soft_wrap=not self._console.is_terminal)

    def tell_once(self, text: str, elapsed_s: float) -> None:
        """A line of its own, the first time that this is said."""
        if text not in self._told:
            self._told.add(text)
            self.say(f"{elapsed_s:5.1f} s  {text}")

    def show(self, status: Mapping[str, Any], elapsed_s: float, state: str) -> None:
        """The gateway's figures now."""
        if self._live is not None:
            self._live.update(_picture(status, elapsed_s, state), refresh=True)
        elif time.monotonic() >= self._line_due_s:
            self._line_due_s = time.monotonic() + _LINE_EVERY_S
            self._console.print(Text(_status_line(status, elapsed_s)), soft_wrap=True)


def _status_line(status: Mapping[str, Any], elapsed_s: float) -> str:
    received, rejected, anchors = status["received"], status["rejected"], status["anchors"]
    reasons = f" for {len(rejected)} reasons" if len(rejected) > 1 else ""
    anchored = "" if anchors is None else f", anchored {anchors['final_size']}"
    return (
        f"{elapsed_s:5.1f} s  received {sum(received.values())}, accepted {status['accepted']}, "
        f"refused {sum(rejected.values())}{reasons}; log {status['log_size']}{anchored}"
    )


def _picture(status: Mapping[str, Any], elapsed_s: float, state: str) -> RenderableType:
    drawn = Table(title="SecureNet Gateway", title_justify="left", box=None, pad_edge=False)
    for column in ("", "messages"):
        drawn.add_column(column, justify="right" if column else "left")
    for transport, count in sorted(status["received"].items()):
        drawn.add_row(f"received over {plain(transport)}", f"{count}")
    drawn.add_row("accepted", f"{status['accepted']}", style="green")
    for reason, count in sorted(status["rejected"].items()):
        drawn.add_row(f"refused: {plain(reason)}", f"{count}", style="yellow")
    drawn.add_row("in the log", f"{status['log_size']}")
    if status["anchors"] is not None:
        drawn.add_row("anchored for good", f"{status['anchors']['final_size']}", style="cyan")
        drawn.add_row("final anchors", f"{status['anchors']['counts'].get('final', 0)}", style="cyan")
    for share, figure in (("half", "p50_ms"), ("99 %", "p99_ms")):
        if status[figure] is not None:
            drawn.add_row(f"{share} answered within", f"{status[figure]} ms")
    return Group(drawn, Text(f"{elapsed_s:.0f} s, {state}", style="dim"))


def tell(console: Console, report: Mapping[str, Any], findings: Findings, kept: Path | None) -> None:
    """The last words: each scenario against what it must get, then the sums, the verdict, and what to do next."""
    drawn = Table(box=None, pad_edge=False)
    for column, justify in (("who", "left"), ("sent", "right"), ("must be", "left"), ("was", "left"), ("", "left")):
        drawn.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type] # rich's Literal
    for name, scenario in sorted(findings.scenarios.items(), key=lambda item: (item[0] != HONEST, item[0])):
        was = ", ".join(f"{plain(reason)} {count}" for reason, count in sorted(scenario.seen.items()))
        mark = "WRONG" if scenario.wrong else "as it must be" if scenario.shown else "did not come to it"
        style = "red" if scenario.wrong else "green" if scenario.shown else "dim"
        drawn.add_row(name, f"{scenario.sent}", ", ".join(sorted(scenario.expected)), was, mark, style=style)
    if not console.is_terminal:
        console = Console(file=console.file, width=_PIPE_COLUMNS)
    console.print(drawn)
    console.print()
    proofs = f"{report['proofs_verified']} proof{'s' * (report['proofs_verified'] != 1)} verified offline"
    refused = sum(report["rejected"].values())
    sums = {name: name for name in ("sent", "acknowledged", "accepted")}
    wrongs = {"hostile accepted": "hostile_accepted", "honest refused": "honest_rejected", "lost": "lost"}
    cut_off = f", cut off as too large by CoAP {report['cut_off']}" if report["cut_off"] else ""
    p50, p99 = _ms(report["p50_ms"]), _ms(report["p99_ms"])
    for text in (
        f"{_listed(sums, report)}, refused {refused}{cut_off}",
        _listed(wrongs, report),
        f"p50 {p50}, p99 {p99}, from a device's sending to the receipt in its hands",
        f"log: {report['log_size']} entries, {proofs}",
        f"root: {report['root']}",
        *_chain_lines(report),
        *_model_lines(report),
    ):
        console.print(Text(text), soft_wrap=True)
    for problem in report["problems"]:
        console.print(Text(f"WRONG: {plain(problem)}", style="red"), soft_wrap=True)
    console.print(Text(f"\n{_verdict(report)}", style="red" if report["problems"] else "bold green"))
    for text in _next_steps(kept):
        console.print(Text(text), soft_wrap=True)


def _verdict(report: Mapping[str, Any]) -> str:
    if report["problems"]:
        return f"NOT as it must be: {len(report['problems'])} of the above."
    early = " It was ended early: what it did not come to is not shown." if report["interrupted"] else ""
    return f"All as it must be.{early}"


def _next_steps(kept: Path | None) -> Iterator[str]:
    """What a newcomer can do now: with what was kept, or else how to keep it."""
    yield "docs/operations/demo.md says what each figure means; docs/operations/quickstart.md does it by hand."
    if kept is None:
        yield "To keep the keys, the log and the proof of a run: make demo ARGS='--keep FOLDER'"
        return
    program = sys.argv[0] if Path(sys.argv[0]).name == "securenet" else "securenet"
    yield f"Keys, log and proof are in {kept}. With them:"
    verify = (program, "proof", "verify", f"{kept}/proof.json", "--registry", f"{kept}/registry.jsonl")
    show = (program, "log", "show", "--last", "5", "--config", f"{kept}/gateway.toml")
    yield from (f"    {shlex.join(command)}" for command in (verify, show))


def _ms(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.0f} ms"


def _chain_lines(report: Mapping[str, Any]) -> Iterator[str]:
    if report["anchors_final"] is None:
        return
    verified = "a proof verified to the chain" if report["proof_chain_verified"] else "NO proof verified to the chain"
    yield f"chain: {report['anchors_final']} anchors final, {report['gas_per_message']} gas a message, {verified}"
    if report["revocation_effective"]:
        yield f"a device was revoked while it spoke; it was refused {report['revocation_s']} s after its block's time"


def _model_lines(report: Mapping[str, Any]) -> Iterator[str]:
    if report["models_missing"]:
        yield f"no models: {report['models_missing']}"
    elif report["scored"]:
        digits = "read rightly" if report["digit_correct"] else "NOT read rightly"
        closed = "stayed closed" if report["revoked_grant_refused"] else "was NOT refused"
        fault = "seen" if report["anomaly_detected"] else "NOT told apart"
        first = f"the first image was read {report['publish_to_first_score_s']} s after finality"
        yield f"models, {_CARRIERS[report['models_by']]}: {report['scored']} messages scored; {first}"
        yield f"digits {digits}, the version without a grant {closed}, a fault among good readings {fault}"


def _listed(names: Mapping[str, str], report: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {report[key]}" for name, key in names.items())
