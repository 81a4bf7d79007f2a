"""What the conformance kit found: one row a case and transport, as JSON and as a table of what is wrong."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Finding:
    """How one case ended on one transport.

    Attributes:
        name: the case.
        section: where the page demands it.
        via: the transport, `mqtt` or `coap`.
        expected: what each step must end in; further readings after a bar.
        outcome: what each step ended in.
        verdict: `passed`, `failed`, `second reading` or `skipped`.
        note: anything worth knowing.
        unclear: why two readings are possible, or an empty text.
    """

    name: str
    section: str
    via: str
    expected: tuple[str, ...]
    outcome: tuple[str, ...]
    verdict: str
    note: str = ""
    unclear: str = ""

    def as_row(self) -> dict[str, object]:
        """The finding as JSON."""
        return {
            "name": self.name,
            "section": self.section,
            "via": self.via,
            "expected": list(self.expected),
            "outcome": list(self.outcome),
            "verdict": self.verdict,
            "note": self.note,
            "unclear": self.unclear,
        }


def kit_report(findings: Sequence[Finding], strays: Sequence[str]) -> dict[str, Any]:
    """The report: sums, what failed, and every finding.

    Args:
        findings: one for each case and transport.
        strays: receipts that nobody should have got, in words.
    """
    verdicts = Counter(finding.verdict for finding in findings)
    return {
        "total": len(findings),
        "passed": verdicts["passed"],
        "failed": verdicts["failed"] + len(strays),
        "second_reading": verdicts["second reading"],
        "skipped": verdicts["skipped"],
        "stray_receipts": list(strays),
        "failures": [finding.as_row() for finding in findings if finding.verdict == "failed"],
        "second_readings": [finding.as_row() for finding in findings if finding.verdict == "second reading"],
        "cases": [finding.as_row() for finding in findings],
    }


def kit_table(report: dict[str, Any]) -> Group:
    """The sums, and a row for whatever is not as the page says."""
    table = Table(title="Conformance", expand=False)
    for column in ("via", "case", "the page", "the gateway", "verdict", "note"):
        table.add_column(column, overflow="fold")
    for row in (*report["failures"], *report["second_readings"]):
        style = "red" if row["verdict"] == "failed" else "yellow"
        cells = (row["via"], row["name"], ", ".join(row["expected"]), ", ".join(row["outcome"]), row["verdict"])
        # Names hold brackets and control characters on purpose; they are text, not markup.
        table.add_row(*(Text(ascii(cell)[1:-1]) for cell in (*cells, row["note"] or row["unclear"])), style=style)
    sums = (
        f"{report['total']} inputs: {report['passed']} as the page says, {report['second_reading']} by the second "
        f"reading, {report['skipped']} skipped, {report['failed']} failed"
    )
    strays = [Text(f"a receipt that should not be: {each}", style="red") for each in report["stray_receipts"]]
    return Group(*([table] if table.row_count else []), *strays, Text(sums))
