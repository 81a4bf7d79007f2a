"""One screen of status for a person: what matters first, nothing cut that says what to do (pure).

Twenty-four lines of eighty characters hold it. What the gateway does not have takes no line. Every line says in words
what its colour says.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from gateway.cli.output import plain

Status = Mapping[str, Any]

_LABEL: Final = 11
_TOLD_LINES: Final = 8
_MOST: Final = 4
_KIB: Final = 1024
_CERTIFICATE_DAYS: Final = 30
_NEARLY_FULL: Final = 0.9
_DAY_S: Final = 86400


class Mood(Enum):
    """How a line stands; the words in it say the same."""

    PLAIN = "plain"
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


class Line(NamedTuple):
    """One line of the screen."""

    text: str
    mood: Mood = Mood.PLAIN


class Rates(NamedTuple):
    """Messages a second between two looks."""

    accepted: float
    refused: float


def rates_between(before: Status, after: Status, seconds: float) -> Rates | None:
    """What happened between two looks; None when the gateway was started anew between them."""
    if seconds <= 0 or after["uptime_s"] < before["uptime_s"] or after["accepted"] < before["accepted"]:
        return None
    refused = sum(after["rejected"].values()) - sum(before["rejected"].values())
    return Rates((after["accepted"] - before["accepted"]) / seconds, max(0, refused) / seconds)


def screen(
    status: Status, rates: Rates | None, *, now_ms: int, width: int = 80, height: int | None = 24
) -> list[Line]:
    """Draw it.

    Args:
        status: as ``securenet status --json`` shows it.
        rates: since the look before.
        now_ms: the wall clock here.
        width: characters of a line.
        height: lines at most; None for no end. What stands in the way comes before everything else.
    """
    head = Line(
        f"{status['gateway']} · {status['fleet']} · {'READY' if status['ready'] else 'NOT READY'}"
        f" · up {_lasting(status['uptime_s'])} · version {status.get('version', '?')}",
        Mood.GOOD if status["ready"] else Mood.BAD,
    )
    lines = [head]
    for mood, mark, sentences in ((Mood.BAD, "! ", status["problems"]), (Mood.WARNING, "? ", status["warnings"])):
        for sentence in sentences:
            wrapped = textwrap.wrap(plain(sentence), width, initial_indent=mark, subsequent_indent="  ")
            lines += [Line(text, mood) for text in wrapped]
    if height is not None and len(lines) > 1 + _TOLD_LINES:
        left = len(lines) - _TOLD_LINES
        lines = [*lines[:_TOLD_LINES], Line(f"  … {left} lines more: securenet status --json", Mood.WARNING)]
    lines += [Line(f"{label:<{_LABEL}}{text}", mood) for label, text, mood in _rows(status, rates, now_ms) if text]
    return [Line(_cut(plain(line.text), width), line.mood) for line in lines[:height]]


def _rows(status: Status, rates: Rates | None, now_ms: int) -> Iterator[tuple[str, str, Mood]]:
    refused = sum(status["rejected"].values())
    kept = f", {status['quarantined']:,} kept" if status.get("quarantined") else ""
    share = f" ({refused / (refused + status['accepted']):.1%}{kept})" if refused else ""
    yield "messages", f"{status['accepted']:,} accepted · {refused:,} refused{share}{_held(status)}", Mood.PLAIN
    if rates is not None:
        yield "now", f"{rates.accepted:,.0f}/s accepted · {rates.refused:,.0f}/s refused", Mood.PLAIN
    yield "refused", _largest(status["rejected"]), Mood.PLAIN
    if status["p50_ms"] is not None:
        yield "answers", f"p50 {status['p50_ms']} ms · p99 {status['p99_ms']} ms{_waiting(status)}", Mood.PLAIN
    yield "verdicts", _largest(status.get("verdicts", {})), Mood.PLAIN
    links = status["transports"]
    up = all(link["state"] == "up" for link in links.values())
    yield "links", _joined(f"{name} {link['state']}" for name, link in links.items()), Mood.GOOD if up else Mood.BAD
    yield "log", f"{status['log_size']:,} entries", Mood.PLAIN
    yield from _chain_rows(status, now_ms)
    yield from _model_rows(status)
    yield from _machine_rows(status, now_ms)


def _held(status: Status) -> str:
    return f" · {status['pushed_back']:,} told to wait" if status["pushed_back"] else ""


def _waiting(status: Status) -> str:
    return f" · {status['waiting']:,} of {status['queue_messages']:,} waiting" if "queue_messages" in status else ""


def _chain_rows(status: Status, now_ms: int) -> Iterator[tuple[str, str, Mood]]:
    anchors, chain, registry = status.get("anchors"), status.get("chain"), status["registry"]
    if anchors is not None:
        mood = Mood.WARNING if anchors["hold"] is not None else Mood.PLAIN
        yield "anchors", f"{anchors['unanchored']:,} entries wait · {anchors['state']}", mood
    devices = f"{registry['devices']:,} devices, {registry['active']:,} active"
    if chain is None:
        yield "registry", devices, Mood.PLAIN
        return
    ages = [each["head_age_s"] for each in chain["endpoints"] if each["head_age_s"] is not None]
    age = f" · newest block {_lasting(min(ages))} old" if ages else ""
    well = sum(not each["fault"] for each in chain["endpoints"])
    state = f"{chain['state']} · {well} of {len(chain['endpoints'])} endpoints well{age}"
    yield "chain", state, Mood.GOOD if chain["state"] == "up" else Mood.WARNING
    known = registry["as_of_ms"]
    confirmed = f"confirmed {_lasting((now_ms - known) / 1000)} ago" if known else "never confirmed"
    yield "registry", f"{devices} · {confirmed}", Mood.PLAIN if known else Mood.BAD


def _model_rows(status: Status) -> Iterator[tuple[str, str, Mood]]:
    models = (status.get("models") or {}).get("models", {})
    said = []
    for name, model in models.items():
        version = "none in force" if model["running"] is None else f"version {model['running']}"
        why = f" ({model['refused']} refused: {model['reason']})" if model["refused"] is not None else ""
        said.append(f"{name} {version}{', time is over' if model['expired'] else ''}{why}")
    bad = any(model["running"] is None or model["expired"] or model["refused"] for model in models.values())
    yield "models", _some(said), Mood.WARNING if bad else Mood.PLAIN


def _machine_rows(status: Status, now_ms: int) -> Iterator[tuple[str, str, Mood]]:
    ends = sorted((each["not_after_ms"], each["name"]) for each in status.get("certificates") or ())
    if ends:
        first_s = (ends[0][0] - now_ms) / 1000
        said = [f"{name} {_until((end - now_ms) / 1000)}" for end, name in ends]
        yield "certs", _some(said), Mood.BAD if first_s < _CERTIFICATE_DAYS * _DAY_S else Mood.PLAIN
    used, budget = status["disk_bytes"], status["budget_bytes"]
    if used is not None:
        full = used > _NEARLY_FULL * budget
        words = f"{_bytes(used)} of {_bytes(budget)} ({used / budget:.0%}{', nearly full' if full else ''})"
        yield "disk", words, Mood.WARNING if full else Mood.PLAIN
    clock = status.get("clock")
    if clock is not None:
        offset = "" if clock.get("offset_ms") is None else f" · {clock['offset_ms']} ms off"
        steps = f" · {clock['steps']} jumps" if clock["steps"] else ""
        words = f"{'believed' if clock['trusted'] else 'not believed'}{offset}{steps} · {clock['why']}"
        yield "clock", words, Mood.PLAIN if clock["trusted"] else Mood.WARNING
    http = status.get("http")
    if http is not None:
        yield "page", http["address"] or f"{http['state']}: {http['detail']}", Mood.PLAIN
    restarts = {name: task["restarts"] for name, task in status.get("tasks", {}).items() if task["restarts"]}
    if status["crypto_restarts"]:
        restarts["signatures"] = status["crypto_restarts"]
    yield "restarts", _largest(restarts), Mood.WARNING


def _largest(counts: Mapping[str, int]) -> str:
    """The largest counts first, as many as are worth a line."""
    ranked = sorted(((count, name) for name, count in counts.items() if count), key=lambda item: (-item[0], item[1]))
    return _some([f"{name} {count:,}" for count, name in ranked])


def _some(said: Sequence[str]) -> str:
    more = f" · {len(said) - _MOST} more" if len(said) > _MOST else ""
    return _joined(said[:_MOST]) + more


def _joined(said: Iterator[str] | Sequence[str]) -> str:
    return " · ".join(said)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _lasting(seconds: float) -> str:
    """A time span in its two largest units."""
    whole = max(0, int(seconds))
    for unit_s, unit, part_s, part in ((_DAY_S, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit_s:
            rest = whole % unit_s // part_s
            return f"{whole // unit_s} {unit} {rest} {part}" if rest else f"{whole // unit_s} {unit}"
    return f"{whole} s"


def _until(seconds: float) -> str:
    return f"{int(seconds // _DAY_S)} days left" if seconds > 0 else "is over"


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < _KIB:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _KIB
    return f"{count:.1f} TiB"
