"""The sums of a run as one JSON object, and the record file behind them."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from firmware_sim.keys import HONEST
from firmware_sim.ledger import ACCEPTED, DUPLICATE, REFUSED_BY_BROKER, SILENT, UNANSWERED, Ledger, Outgoing

_NO_REASONS: Final = {ACCEPTED, DUPLICATE, SILENT, UNANSWERED, REFUSED_BY_BROKER}


class Recorder:
    """Writes one JSON line for each message whose story has ended, flushed at once.

    Args:
        path: the file, or None to write nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            OSError: it cannot be written.
        """
        if self._path is not None:
            self._file = self._path.open("w", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def write(self, message: Outgoing) -> None:
        """Write a message's line."""
        if self._file is not None:
            self._file.write(json.dumps(message.as_record()) + "\n")
            self._file.flush()


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile, or None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)


def hostile_accepted(ledger: Ledger) -> int:
    """Hostile messages that were accepted though nothing about them allowed it."""
    return sum(
        tally.outcomes[ACCEPTED] for kind, tally in ledger.tallies.items() if kind != HONEST and _is_attack(kind)
    )


def _is_attack(kind: str) -> bool:
    return not kind.endswith(PRELUDE) and kind != FLOODING


PRELUDE: Final = "/prelude"
FLOODING: Final = "flooding"


def report_of(ledger: Ledger, elapsed_s: float) -> dict[str, object]:
    """The report.

    Args:
        ledger: closed.
        elapsed_s: from the first message to the last, without the drain.
    """
    total: Counter[str] = Counter()
    for tally in ledger.tallies.values():
        total.update(tally.outcomes)
    honest = ledger.tallies.get(HONEST)
    outcomes: Counter[str] = honest.outcomes if honest is not None else Counter()
    sent = sum(tally.sent for tally in ledger.tallies.values())
    return {
        "sent": sent,
        "acknowledged": ledger.acknowledged,
        "accepted": total[ACCEPTED],
        "rejected": {reason: count for reason, count in sorted(total.items()) if reason not in _NO_REASONS},
        "silent": total[SILENT],
        "duplicates": total[DUPLICATE],
        "refused_by_broker": total[REFUSED_BY_BROKER],
        "honest_sent": honest.sent if honest is not None else 0,
        "honest_rejected": sum(
            count for outcome, count in outcomes.items() if outcome not in {ACCEPTED, DUPLICATE, UNANSWERED}
        ),
        "hostile_accepted": hostile_accepted(ledger),
        "unexpected": sum(tally.unexpected for tally in ledger.tallies.values()),
        "unanswered": total[UNANSWERED],
        "resent": ledger.resent,
        "pushed_back": ledger.pushed_back,
        "receipts_verified": ledger.receipts_verified,
        "receipts_bad": ledger.receipts_bad,
        "receipts_foreign": ledger.receipts_foreign,
        "receipt_faults": dict(ledger.faults),
        "p50_ms": percentile(ledger.latencies_ms, 0.50),
        "p99_ms": percentile(ledger.latencies_ms, 0.99),
        "elapsed_s": round(elapsed_s, 3),
        "rate": round(sent / elapsed_s, 1) if elapsed_s > 0 else None,
        "by_scenario": {
            kind: {
                "sent": tally.sent,
                "expected": sorted(tally.expected),
                "outcomes": dict(sorted(tally.outcomes.items())),
                "unexpected": tally.unexpected,
            }
            for kind, tally in sorted(ledger.tallies.items())
        },
    }
