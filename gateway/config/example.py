"""The configuration written out from ``model.py``: the commented example, and the effective values as TOML."""

from __future__ import annotations

import dataclasses
import json
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gateway.config.model import Config

_WIDTH: Final = 100
_EXAMPLES: Final = {"gateway.id": "gw-1", "gateway.fleet": "demo"}
_TABLE_EXAMPLES: Final = {"uri": "coap://192.0.2.7/sensors/up", "device": "urn:dev:mac:0024befffe804ff1"}
_UNITS: Final = (
    ("_per_s", "per second"),
    ("_ms", "milliseconds"),
    ("_s", "seconds"),
    ("_bytes", "bytes"),
    ("_messages", "messages"),
    ("_burst", "messages"),
)
_HEAD: Final = """\
# SecureNet Gateway: every key, with its default, unit and reason.
#
# A key that is commented out has the value shown. Unknown keys are faults; check with
#   securenet check-config --config FILE
# Secrets never stand here: keys that end in _file name a file that only the gateway may read, or a
# systemd credential as credential:NAME.
"""


def example_toml() -> str:
    """The text of ``config/gateway.example.toml``."""
    lines = [_HEAD]
    for section in dataclasses.fields(Config):
        kind = typing.cast("type", typing.get_type_hints(Config)[section.name])
        lines.extend(_comment((kind.__doc__ or "").strip().splitlines()[0]))
        lines.append(f"[{section.name}]")
        for field, field_type in _keys(kind):
            lines.extend(_key(f"{section.name}.{field.name}", field, field_type))
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def effective_toml(config: Config) -> str:
    """Every value in force as TOML that loads into the same ``Config``. Holds no secret: the model has none."""
    lines: list[str] = []
    for section in dataclasses.fields(Config):
        table = getattr(config, section.name)
        kinds = typing.get_type_hints(type(table))
        lines.append(f"[{section.name}]")
        tables: list[str] = []
        for field in dataclasses.fields(table):
            value = getattr(table, field.name)
            if typing.get_args(kinds[field.name])[:1] == (str,):
                lines.append(f"{field.name} = {_toml(value)}")
            elif isinstance(value, tuple):
                for each in value:
                    tables += ["", f"[[{section.name}.{field.name}]]"]
                    tables += [f"{name} = {_toml(item)}" for name, item in dataclasses.asdict(each).items()]
            else:
                lines.append(f"{field.name} = {_toml(value)}")
        lines += [*tables, ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def effective_values(config: Config) -> dict[str, Any]:
    """Every value in force as what JSON can hold."""
    return typing.cast("dict[str, Any]", json.loads(json.dumps(dataclasses.asdict(config), default=str)))


def _keys(kind: type) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    hints = types.MappingProxyType(typing.get_type_hints(kind))
    for field in dataclasses.fields(kind):
        yield field, hints[field.name]


def _key(name: str, field: dataclasses.Field[Any], kind: Any) -> list[str]:  # noqa: ANN401 -- a type hint
    if typing.get_origin(kind) is tuple and typing.get_args(kind)[0] is not str:
        table = typing.get_args(kind)[0]
        lines = ["", *_comment(f"{field.metadata['doc']} One such table for each:"), f"# [[{name}]]"]
        for part, _kind in _keys(table):
            lines += [f"#   {line[2:]}" for line in _comment(part.metadata["doc"])]
            lines.append(f"# {part.name} = {_toml(_TABLE_EXAMPLES[part.name])}")
        return lines
    lines = ["", *_comment(" ".join([field.metadata["doc"], *_facts(field)]))]
    if field.default is dataclasses.MISSING:
        return [*lines, f"{field.name} = {_toml(_EXAMPLES[name])}"]
    return [*lines, f"# {field.name} = {_toml(field.default)}"]


def _facts(field: dataclasses.Field[Any]) -> Iterator[str]:
    """Unit, bounds, and whether the key is required, as sentences."""
    unit = next((words for suffix, words in _UNITS if field.name.endswith(suffix)), None)
    if unit is not None:
        yield f"Unit: {unit}."
    low, high, choices = (field.metadata[name] for name in ("low", "high", "choices"))
    if low is not None and high is not None:
        yield f"From {_toml(low)} to {_toml(high)}."
    elif low is not None:
        yield f"At least {_toml(low)}."
    if choices is not None:
        yield f"One of: {', '.join(choices)}."
    yield "Required." if field.default is dataclasses.MISSING else f"Default: {_toml(field.default)}."


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH - 2, break_long_words=False, break_on_hyphens=False)]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int):
        return f"{value:_}" if value >= 100_000 else str(value)  # noqa: PLR2004 -- where digits need grouping
    if isinstance(value, (str, Path)):
        return _basic_string(str(value))
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    raise TypeError(f"no key has a {type(value).__name__}")


def _basic_string(text: str) -> str:
    """A TOML basic string. JSON's escapes are TOML's, but for surrogate pairs and DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
