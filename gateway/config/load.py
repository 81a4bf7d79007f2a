"""TOML to ``Config``: strict, and every fault at once.

Unknown keys are faults; a bool is no integer; whatever stands in the file is judged against the declarations in
``model.py``, and what is sound in each table against ``cross.py``.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from gateway.config.cross import cross_faults
from gateway.config.fault import ConfigError, Fault
from gateway.config.lines import KeyPath, key_lines, line_of
from gateway.config.model import Config

__all__ = ["ConfigError", "Fault", "load_config", "parse_config"]

MAX_FILE_BYTES: Final = 1 << 20
_SYNTAX: Final = re.compile(r"(?P<what>.*?)\s*\(at (?:line (?P<line>\d+), column \d+|end of document)\)", re.DOTALL)
_SHOWN_CHARACTERS: Final = 60
_TEXTS_MAX = 16
_TYPE_NAMES: Final = {str: "a string", int: "an integer", float: "a number", bool: "true or false", Path: "a path"}


def load_config(path: Path) -> Config:
    """Read and check the configuration file.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or does not hold; it carries all faults.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        hint = "name the file with --config; securenet example-config writes one to start from"
        raise ConfigError(path, [Fault(0, "", f"cannot be read: {error.strerror}", hint)]) from None
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(path, [Fault(0, "", f"is larger than {MAX_FILE_BYTES} bytes", "is this the right file?")])
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(path, [Fault(line, "", "is not UTF-8", "save the file as UTF-8")]) from None
    return parse_config(text, path)


def parse_config(text: str, path: Path) -> Config:
    """Check the text of a configuration file; ``path`` is for the error alone.

    Raises:
        ConfigError: it carries all faults.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, [_syntax_fault(str(error), text)]) from None
    except (RecursionError, ValueError):
        fault = Fault(0, "", "cannot be parsed as TOML", "a value nests too deeply or a number is too long")
        raise ConfigError(path, [fault]) from None
    reading = _Reading(key_lines(text))
    config = reading.table(Config, document, ())
    faults = reading.faults + cross_faults(reading.sound, lambda key: line_of(reading.lines, key))
    if faults or config is None:
        raise ConfigError(path, faults)
    return typing.cast("Config", config)


def _syntax_fault(message: str, text: str) -> Fault:
    match = _SYNTAX.fullmatch(message)
    if match is None:
        return Fault(0, "", "is not TOML", "see toml.io")
    line = int(match["line"]) if match["line"] else text.count("\n") + 1
    what = match["what"].encode("ascii", "backslashreplace").decode("ascii")[:_SHOWN_CHARACTERS]
    return Fault(line, "", f"is not TOML: {what}", 'strings stand in quotes, true and false do not: key = "value"')


@functools.cache
def _types(kind: type) -> Mapping[str, Any]:
    return types.MappingProxyType(typing.get_type_hints(kind))


class _Reading:
    """One pass over a document. ``sound`` holds each table that came out without a fault, by its dotted name."""

    def __init__(self, lines: dict[KeyPath, int]) -> None:
        self.lines = lines
        self.faults: list[Fault] = []
        self.sound: dict[str, object] = {}

    def _fault(self, path: KeyPath, problem: str, hint: str) -> None:
        self.faults.append(Fault(line_of(self.lines, path), dotted(path), problem, hint))

    def table(self, kind: type, found: object, path: KeyPath) -> object | None:
        """Read one table; None when it has a fault, which is noted."""
        if not isinstance(found, dict):
            self._fault(path, f"is {_shown(found)}, not a table", f"write [{dotted(path)}] on a line of its own")
            return None
        before = len(self.faults)
        fields = {field.name: field for field in dataclasses.fields(kind)}
        for name in found:
            if name not in fields:
                self._fault((*path, name), "is unknown", _did_you_mean(name, fields, path))
        values: dict[str, Any] = {}
        for name, field in fields.items():
            if name in found:
                values[name] = self._value(_types(kind)[name], field.metadata, found[name], (*path, name))
            elif field.default is dataclasses.MISSING and dataclasses.is_dataclass(_types(kind)[name]):
                values[name] = self.table(typing.cast("type", _types(kind)[name]), {}, (*path, name))
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                self._fault((*path, name), "is missing", f"it is required: {field.metadata.get('doc', '')}")
        if len(self.faults) > before:
            return None
        made: object = kind(**values)
        self.sound[dotted(path)] = made
        return made

    def _value(self, kind: Any, metadata: Mapping[str, Any], found: object, path: KeyPath) -> object:  # noqa: ANN401 -- a type hint
        if dataclasses.is_dataclass(kind):
            return self.table(typing.cast("type", kind), found, path)
        if typing.get_origin(kind) is tuple:
            item = typing.get_args(kind)[0]
            return self._texts(metadata, found, path) if item is str else self._tables(item, found, path)
        if kind is float and type(found) is int:
            found = _as_float(found)
        wanted = str if kind is Path else kind
        if type(found) is not wanted:
            self._fault(path, f"is {_shown(found)}", f"it is {_TYPE_NAMES[kind]}: {metadata['doc']}")
            return None
        fault = _out_of_bounds(found, metadata) or (_bad_path(str(found)) if kind is Path else None)
        if fault is not None:
            self._fault(path, *fault)
            return None
        return Path(str(found)) if kind is Path else found

    def _texts(self, metadata: Mapping[str, Any], found: object, path: KeyPath) -> tuple[str, ...]:
        if not isinstance(found, list) or len(found) > _TEXTS_MAX:
            self._fault(path, f"is {_shown(found)}", f"it is a list of at most {_TEXTS_MAX} texts: {metadata['doc']}")
            return ()
        return tuple(str(self._value(str, metadata, each, (*path, index))) for index, each in enumerate(found))

    def _tables(self, kind: type, found: object, path: KeyPath) -> tuple[object, ...]:
        if not isinstance(found, list):
            self._fault(path, f"is {_shown(found)}, not a list of tables", f"write [[{dotted(path)}]] for each")
            return ()
        return tuple(self.table(kind, each, (*path, index)) for index, each in enumerate(found))


def dotted(path: KeyPath) -> str:
    """A key path as it is written in messages: ``coap.observe[0].uri``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", part) else _shown(part)
            text += f".{name}" if text else name
    return text


def _did_you_mean(name: str, known: Iterable[str], path: KeyPath) -> str:
    near = difflib.get_close_matches(name[:_SHOWN_CHARACTERS], list(known), n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    where = f"[{dotted(path)}]" if path else "the file"
    return f"{where} knows {', '.join(known)}"


def _as_float(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _out_of_bounds(found: object, metadata: Mapping[str, Any]) -> tuple[str, str] | None:
    """The problem and hint for a value of the right type that is not allowed."""
    low, high, choices, pattern = (metadata[name] for name in ("low", "high", "choices", "pattern"))
    if isinstance(found, float) and not math.isfinite(found):
        return f"is {found}", "it is a finite number"
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        if (low is not None and found < low) or (high is not None and found > high):
            return f"is {_shown(found)}", f"it is {bounds(low, high)}"
    elif isinstance(found, str):
        if "\0" in found:
            return "holds a NUL character", "remove it"
        if choices is not None and found not in choices:
            return f"is {_shown(found)}", f"it is one of {', '.join(choices)}"
        if pattern is not None and re.fullmatch(pattern, found) is None:
            return f"is {_shown(found)}", f"it is written {pattern}"
    return None


def _bad_path(text: str) -> tuple[str, str] | None:
    return ("is empty", "name a path") if not text else None


def bounds(low: float | None, high: float | None) -> str:
    """Bounds in words."""
    if low is not None and high is not None:
        return f"from {low:g} to {high:g}" if isinstance(low, float) else f"from {low} to {high}"
    return f"at least {low}" if low is not None else f"at most {high}"


def _shown(found: object) -> str:
    if isinstance(found, (str, int, float, bool)):
        text = _bounded_json(found)
    elif isinstance(found, dict):
        text = "a table"
    else:
        text = "a list" if isinstance(found, list) else f"a {type(found).__name__}"
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _bounded_json(found: str | float) -> str:
    try:
        return json.dumps(found)
    except ValueError:  # an integer of more than 4,300 digits, which hexadecimal TOML can write
        return "a very long number"
