"""Print the tables, or bring docs/scaling.md and its plots up to date."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from .model import Assumptions, read_gas
from .plot import PLOTS
from .tables import TABLES

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "scaling.md"
BLOCK = re.compile(r"(?<=<!-- computed: )(?P<name>[a-z-]+)(?P<open> -->\n).*?(?=<!-- end -->)", re.DOTALL)


def filled(page: str, tables: dict[str, list[str]]) -> str:
    """The page with every computed block filled anew. A block of a name that no table has is an error."""

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in tables:
            raise KeyError(f"the page has a block {name!r}; the tables are {', '.join(tables)}")
        return name + match["open"] + "\n" + "\n".join(tables[name]) + "\n\n"

    return BLOCK.sub(block, page)


def documents(given: Assumptions) -> dict[Path, str]:
    """What the page and its plots should hold."""
    gas = read_gas()
    tables = {name: table(given, gas) for name, table in TABLES.items()}
    plots = {HERE / name: plot(given, gas) for name, plot in PLOTS.items()}
    return {PAGE: filled(PAGE.read_text(encoding="utf-8"), tables), **plots}


def parser() -> argparse.ArgumentParser:
    """One option for each assumption."""
    options = argparse.ArgumentParser(prog="python -m scaling", description=__doc__)
    options.add_argument("--write", action="store_true", help="write docs/scaling.md and its plots")
    options.add_argument(
        "--only", choices=list(TABLES), action="append", help="print this table alone; may be repeated"
    )
    for item in fields(Assumptions):
        flag = "--" + item.name.replace("_", "-")
        told = f"{item.metadata['unit']} (default %(default)s: {item.metadata['why']})"
        options.add_argument(flag, type=float, default=item.default, help=told.replace("100 s", "100 seconds"))
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says."""
    options = parser().parse_args(arguments)
    given = Assumptions(**{item.name: getattr(options, item.name) for item in fields(Assumptions)})
    if options.write:
        for path, text in documents(given).items():
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path.name}\n")
        return 0
    gas = read_gas()
    for name in options.only or TABLES:
        sys.stdout.write("\n".join([f"## {name}", "", *TABLES[name](given, gas), "", ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
