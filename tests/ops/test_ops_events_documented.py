"""Every event of the source is a row of docs/operations/events.md, and every row an event of the source."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "operations" / "events.md"
LEVELS = {"debug", "info", "warning", "error"}
METHODS = LEVELS | {"exception", "critical", "log", "msg", "warn", "fatal"}
NAME = re.compile(r"[a-z]+\.[a-z_]+")
ROW = re.compile(r"^\| `([a-z_.]+)` \| ([a-z, ]+) \| (.+) \| (.+) \|$", re.MULTILINE)

DYNAMIC = {
    "gateway/anchor/book.py": {"log.info(told", "f'anchor.{row.state}'"},
    "gateway/ops/logging.py": {"logger.log(getattr(logging, level.upper(), logging.INFO), FOLDED"},
}
"""Where a name is no literal at the call; their names are literals elsewhere in such a file, or in EXPANDED."""
EXPANDED = {"anchor.failed", "library"}
"""anchor.{row.state} when a reverted attempt becomes final; what the handler of libraries logs."""


def sources():
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "get_logger" in text or "_say(" in text:
            yield path.relative_to(ROOT).as_posix(), ast.parse(text)


def literals(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def calls(tree):
    """Calls of a level on a logger."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            receiver = ast.unparse(node.func.value).split(".")[-1].split("(")[0]
            if receiver in {"log", "_log", "logger", "_logger", "get_logger"}:
                yield node


def is_literal(node):
    if isinstance(node, ast.IfExp):
        return is_literal(node.body) and is_literal(node.orelse)
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value) is not None


def logged():
    return {
        node.value for _path, tree in sources() for node in literals(tree) if NAME.fullmatch(node.value)
    } | EXPANDED


def documented():
    return {name: set(levels.split(", ")) for name, levels, _means, _do in ROW.findall(PAGE.read_text("utf-8"))}


def test_the_scan_sees_the_events_that_are_known_to_be_there():
    assert {"gateway.started", "mqtt.down", "model.loaded", "chain.endpoint_down", "log.over_budget"} <= logged()


def test_every_event_is_documented():
    missing = logged() - documented().keys()
    assert not missing, f"add a row to docs/operations/events.md: {sorted(missing)}"


def test_nothing_is_documented_that_is_gone():
    gone = documented().keys() - logged()
    assert not gone, f"nobody logs these any more: {sorted(gone)}"


def test_no_event_is_documented_twice_or_with_a_level_that_is_none():
    names = [name for name, *_rest in ROW.findall(PAGE.read_text("utf-8"))]
    assert sorted(names) == sorted(set(names))
    assert all(levels <= LEVELS for levels in documented().values())


def test_every_row_of_the_event_tables_is_read_by_this_test():
    text = PAGE.read_text("utf-8")
    begun = [line for line in text.splitlines() if line.startswith(("| `", "|`")) and line.count("|") == 5]
    assert len(begun) == len(documented())


def test_the_documented_level_is_the_one_that_is_logged():
    wrong = []
    for path, tree in sources():
        for call in calls(tree):
            first = call.args[0] if call.args else None
            if not is_literal(first) or call.func.attr not in LEVELS | {"exception"}:
                continue
            level = "error" if call.func.attr == "exception" else call.func.attr
            names = [node.value for node in literals(first) if NAME.fullmatch(node.value)]
            wrong += [(path, name, level) for name in names if level not in documented().get(name, {level})]
    assert not wrong


def test_a_name_that_is_put_together_is_known_here():
    unknown = []
    for path, tree in sources():
        known = DYNAMIC.get(path, set())
        put_together = [
            ast.unparse(call) for call in calls(tree) if not call.args or not is_literal(call.args[0])
        ] + [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
        for text in put_together:
            is_event = re.match(r"f'[a-z]+\.\{", text) or not text.startswith("f")
            if is_event and "'library'" not in text and not any(text.startswith(each) for each in known):
                unknown.append((path, text))
    assert not unknown, "log a literal name, or say in DYNAMIC which names it may have"


@pytest.mark.parametrize("name", ["id", "why", "error", "device_id", "path_"])
def test_values_have_their_agreed_names(name):
    known = {"gateway/chain/registry.py": {"id", "why"}}
    used = [
        path
        for path, tree in sources()
        for call in calls(tree)
        for each in call.keywords
        if each.arg == name and name not in known.get(path, ())
    ]
    assert not used, "see the names of values in docs/operations/events.md"
