"""The live table of a run, and its last words."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

REFRESH_S: Final = 0.5


def scenario_table(report: Mapping[str, Any]) -> Table:
    """What was sent and what became of it, one row a kind."""
    table = Table(title="SecureNet fleet", expand=False)
    table.add_column("who")
    table.add_column("sent", justify="right")
    table.add_column("must be")
    table.add_column("was")
    table.add_column("wrong", justify="right")
    for kind, row in report["by_scenario"].items():
        outcomes = ", ".join(f"{outcome} {count}" for outcome, count in row["outcomes"].items())
        wrong = row["unexpected"]
        style = "red" if wrong else ("green" if kind == "honest" else "")
        expected = ", ".join(row["expected"])
        table.add_row(kind, str(row["sent"]), expected, outcomes, str(wrong) if wrong else "", style=style)
    return table


def sums_line(report: Mapping[str, Any]) -> str:
    """The sums in one line."""
    return (
        f"sent {report['sent']}, acknowledged {report['acknowledged']}, accepted {report['accepted']}, "
        f"honest rejected {report['honest_rejected']}, hostile accepted {report['hostile_accepted']}, "
        f"unanswered {report['unanswered']}, receipts verified {report['receipts_verified']} "
        f"(bad {report['receipts_bad']}), p50 {report['p50_ms']} ms, p99 {report['p99_ms']} ms"
    )


async def show_live(console: Console, report: Callable[[], Mapping[str, Any]], state: Callable[[], str]) -> None:
    """Redraw the table until cancelled."""

    def picture() -> Group:
        now = report()
        return Group(scenario_table(now), Text(sums_line(now)), Text(state(), style="dim"))

    with Live(picture(), console=console, auto_refresh=False, transient=True) as live:
        while True:
            await asyncio.sleep(REFRESH_S)
            live.update(picture(), refresh=True)
