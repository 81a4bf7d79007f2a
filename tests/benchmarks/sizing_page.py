"""The tables of docs/sizing.md, made of footprint.json and wheels.json and of nothing else.

python tests/benchmarks/sizing_page.py --write     # after footprint.py or wheels.py, which do it themselves
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
PAGE: Final = HERE.parents[1] / "docs" / "sizing.md"
FOOTPRINT: Final = HERE / "footprint.json"
WHEELS: Final = HERE / "wheels.json"
BLOCK: Final = re.compile(r"(?<=<!-- measured: )(?P<name>[a-z-]+)(?P<open> -->\n).*?(?=<!-- end -->)", re.DOTALL)
CONFIGURATIONS: Final = {
    "plain": "registry by file",
    "chain": "with a chain",
    "models": "with a chain and three models",
}
PROCESSES: Final = ("gateway", "signatures", "scoring")
RATES: Final = (10, 100, 1000)
FLEETS: Final = (100, 10_000, 100_000)
BUDGET_MB: Final = 220
_HOUR_S: Final = 3600

Figures = dict[str, Any]
Lines = list[str]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Lines:
    """Lines of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(row)} |" for row in lines]


def by_configuration(found: Figures, rows: Sequence[tuple[str, Callable[[Figures], str]]], first: str) -> Lines:
    """A column for each configuration that was measured, a row for each question."""
    names = [name for name in CONFIGURATIONS if name in found]
    head = [first, *(CONFIGURATIONS[name] for name in names)]
    return table(head, [[words, *(ask(found[name]) for name in names)] for words, ask in rows])


def _parts(memory: Figures, key: str) -> str:
    if key not in memory["sum"]:
        return "-"
    each = [f"{memory[name][key]:.0f}" for name in PROCESSES if name in memory and key in memory[name]]
    if not each:
        return f"**{memory['sum'][key]:.0f}**"
    return f"{' + '.join(each)} = **{memory['sum'][key]:.0f}**"


def memory(found: Figures) -> Lines:
    """Resident and proportional, at the start and as messages add up."""

    def after(share: float) -> Callable[[Figures], Figures]:
        def sample(one: Figures) -> Figures:
            samples = one["million"]["memory"]
            taken: Figures = samples[round(share * (len(samples) - 1))]
            return taken

        return sample

    moments: list[tuple[str, Callable[[Figures], Figures]]] = [
        ("ready, no message yet", lambda one: one["memory_at_start"]),
        ("after the loads below", after(0)),
        ("after half a million more, of all devices", after(0.5)),
        ("after a million more", after(1)),
    ]
    rows: list[tuple[str, Callable[[Figures], str]]] = []
    for words, at in moments:
        rows.append((f"RSS, {words}", lambda one, at=at: _parts(at(one), "rss_mb")))
        rows.append((f"PSS, {words}", lambda one, at=at: _parts(at(one), "pss_mb")))
        rows.append((f"once, {words}", lambda one, at=at: _parts(at(one), "once_mb")))
    return by_configuration(found, rows, "MB: gateway + signatures (+ scoring)")


def budget(found: Figures) -> Lines:
    """Is the budget held, by each way to count?"""

    def verdict(key: str) -> Callable[[Figures], str]:
        def said(one: Figures) -> str:
            used = one["million"]["memory"][-1]["sum"].get(key)
            if used is None:
                return "-"
            return f"{used:.0f} MB: " + ("held" if used <= BUDGET_MB else f"**{used - BUDGET_MB:.0f} MB over**")

        return said

    rows = [("sum of RSS", verdict("rss_mb")), ("sum of PSS", verdict("pss_mb")), ("once", verdict("once_mb"))]
    return by_configuration(found, rows, f"at most {BUDGET_MB} MB, after the million")


def _share(cores: Figures) -> str:
    each = [f"{100 * cores[name]:.2g}" for name in PROCESSES if name in cores]
    return f"{' + '.join(each)} = **{100 * cores['sum']:.2g} %**"


def processor(found: Figures) -> Lines:
    """Shares of one core, and what a message takes at full speed."""
    rows: list[tuple[str, Callable[[Figures], str]]] = [("idle", lambda one: _share(one["idle"]["cores"]))]
    rows += [(f"{rate:,} messages/s", lambda one, rate=rate: _share(one[f"at_{rate}"]["cores"])) for rate in RATES]
    rows += [
        ("idle after a million messages", lambda one: _share(one["idle_after"]["cores"])),
        ("1,000 refused messages/s", lambda one: _share(one["flood"]["cores"])),
        ("flat out, a message", _flat_cost),
        ("flat out, messages/s", lambda one: " / ".join(f"{rate:,.0f}" for rate in one["flat_out"]["per_s"])),
        ("load average then", lambda one: f"{one['flat_out']['load_average']}"),
    ]
    return by_configuration(found, rows, "% of a core: gateway + signatures (+ scoring)")


def _flat_cost(one: Figures) -> str:
    used = one["flat_out"]["cpu_us_per_message"]
    each = [f"{used[name]:.0f}" for name in PROCESSES if name in used]
    return f"{' + '.join(each)} = **{used['sum']:.0f} µs**"


def disk(found: Figures) -> Lines:
    """Bytes on the disk, scaled to a million entries."""

    def scaled(moment: str, *files: str) -> Callable[[Figures], str]:
        def said(one: Figures) -> str:
            lies = one["disk"][moment]
            wanted = [size for name, size in lies.items() if not files or name in files]
            return f"{sum(wanted) * 1_000_000 / one['disk']['entries'] / 1e6:,.0f} MB"

        return said

    rows = [
        ("journal.db", scaled("maintained", "journal.db")),
        ("journal.leaves", scaled("maintained", "journal.leaves")),
        ("all of data_dir, at once", scaled("at_once")),
        ("all of data_dir, after a minute of maintenance", scaled("maintained")),
        ("all of data_dir, stopped", scaled("stopped")),
    ]
    return by_configuration(found, rows, "a million messages of 318 bytes")


def start(found: Figures) -> Lines:
    """Seconds to ready, and what is resident then."""

    def said(devices: int) -> Callable[[Figures], str]:
        def one_of(one: Figures) -> str:
            took = one["start"][str(devices)]
            return f"{took['first_s']:.1f} s; {took['again_s']:.1f} s; {took['memory']['sum']['rss_mb']:.0f} MB"

        return one_of

    rows = [(f"{devices:,}", said(devices)) for devices in FLEETS]
    return by_configuration(found, rows, "devices: the very first start; later; RSS then")


def log(found: Figures) -> Lines:
    """Bytes of log, scaled to an hour."""

    def hourly(size: int, seconds: float) -> str:
        return f"{size * _HOUR_S / seconds / 1e3:,.0f} kB"

    rows: list[tuple[str, Callable[[Figures], str]]] = [
        ("idle", lambda one: hourly(one["idle"]["log_bytes"], one["idle"]["seconds"])),
        (
            "1,000 refused messages/s",
            lambda one: hourly(one["flood"]["log_bytes"][1], one["flood"]["seconds"]),
        ),
    ]
    return by_configuration(found, rows, "an hour of log, as JSON lines")


def measured(found: Figures) -> Lines:
    """When and on what."""
    rows = []
    for name, one in found.items():
        machine = one["machine"]
        where = f"{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}"
        counts = (f"{one['devices']:,}", f"{one['million']['messages']:,}")
        rows.append([CONFIGURATIONS[name], one["date"], where, *counts])
    return table(["configuration", "measured", "on", "devices", "messages"], rows)


def wheels_missing(found: Figures) -> Lines:
    """What cannot be had as a wheel, by target."""
    rows = []
    for target, one in found.items():
        asked = ", ".join(f"{part} {count}" for part, count in one["asked"].items())
        gone = [f"`{name}` {each['version']} ({each['needs']})" for name, each in one["missing"].items()]
        rows.append([target, asked, ", ".join(gone) or "none"])
    return table(["target", "asked for", "without a wheel (wanted by)"], rows)


def wheels_native(found: Figures) -> Lines:
    """Which wheels hold compiled code, by the part that wants them and the oldest glibc that they run on."""
    seen: dict[str, Figures] = {}
    for one in found.values():
        for name, each in one["native"].items():
            known = seen.setdefault(name, each)
            seen[name] = known if (known["glibc"] or 0) <= (each["glibc"] or 0) else each
    rows = []
    for floor in sorted({each["glibc"] or 0 for each in seen.values()}):
        names = [f"`{name}`" for name, each in sorted(seen.items()) if (each["glibc"] or 0) == floor]
        rows.append([f"2.{floor}" if floor else "any", ", ".join(names)])
    return table(["glibc at least", "wheels with compiled code"], rows)


OF_FOOTPRINT: Final = {
    "memory": memory, "budget": budget, "processor": processor, "disk": disk, "start": start, "log": log,
    "measured": measured,
}  # fmt: skip
OF_WHEELS: Final = {"wheels-missing": wheels_missing, "wheels-native": wheels_native}


def tables() -> dict[str, Lines]:
    """Every table of the page by its name."""
    footprint, wheels = json.loads(FOOTPRINT.read_text()), json.loads(WHEELS.read_text())
    made = {name: table_of(footprint) for name, table_of in OF_FOOTPRINT.items()}
    return made | {name: table_of(wheels) for name, table_of in OF_WHEELS.items()}


def filled(page: str, made: dict[str, Lines]) -> str:
    """The page with every measured block filled anew.

    Raises:
        KeyError: the page has a block that no table fills.
    """

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in made:
            raise KeyError(f"the page has a block {name!r}; the tables are {', '.join(made)}")
        return name + match["open"] + "\n" + "\n".join(made[name]) + "\n\n"

    return BLOCK.sub(block, page)


def rewrite() -> None:
    """Bring the page up to date with the results."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), tables()), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        rewrite()
    else:
        sys.stdout.write(filled(PAGE.read_text(encoding="utf-8"), tables()))


if __name__ == "__main__":
    main()
