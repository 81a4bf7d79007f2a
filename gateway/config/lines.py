"""On which line does a key stand? ``tomllib`` does not say, so this walks a document that it has already accepted.

Because the document is valid TOML, the walk may be simple: it only has to know where keys, strings, brackets and
comments begin and end.
"""

from __future__ import annotations

import re
from typing import Final

KeyPath = tuple[str | int, ...]

_BARE_OR_QUOTED: Final = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_STRINGS: Final = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL)
_COMMENT: Final = re.compile(r"#[^\n]*")
_SPACE: Final = re.compile(r"[ \t]*")


class _Walk:
    """One pass over the text; ``found`` maps each key path to its line, from 1."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[KeyPath, int] = {}
        self._arrays: dict[KeyPath, int] = {}
        self._table: KeyPath = ()

    def walk(self) -> None:
        while self.at < len(self.text):
            character = self.text[self.at]
            if character in " \t\r\n":
                self.at += 1
            elif character == "#":
                self._skip(_COMMENT)
            elif character == "[":
                self._header()
            else:
                self._note(self._table + self._keys())
                self._value()

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def _note(self, path: KeyPath) -> None:
        line = self._line()
        for length in range(1, len(path) + 1):
            self.found.setdefault(path[:length], line)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:  # nothing of the kind here: step on, so that the walk always ends
            self.at += 1
            return ""
        self.at = match.end()
        return match.group()

    def _keys(self) -> KeyPath:
        keys: list[str | int] = []
        while True:
            self._skip(_SPACE)
            token = self._skip(_BARE_OR_QUOTED)
            keys.append(token[1:-1] if token[:1] in {'"', "'"} else token)
            self._skip(_SPACE)
            if self.text[self.at : self.at + 1] != ".":
                return tuple(keys)
            self.at += 1

    def _header(self) -> None:
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        named = self._keys()
        path: KeyPath = ()
        for key in named[:-1]:
            path += (key,)
            if path in self._arrays:
                path += (self._arrays[path],)
        path += named[-1:]
        if is_array:
            self._arrays[path] = self._arrays.get(path, -1) + 1
            path += (self._arrays[path],)
        self._table = path
        self._note(path)
        self.at += 2 if is_array else 1

    def _value(self) -> None:
        depth = 0
        while self.at < len(self.text):
            character = self.text[self.at]
            if character in "\"'":
                self._skip(_STRINGS)
            elif character == "#":
                self._skip(_COMMENT)
            elif character == "\n" and depth == 0:
                return
            else:
                depth += (character in "[{") - (character in "]}")
                self.at += 1


def key_lines(text: str) -> dict[KeyPath, int]:
    """Map every key path of a valid TOML document to its line, from 1. Elements of arrays of tables by index.

    Keys inside inline tables are not listed; ask for their parent.
    """
    walk = _Walk(text)
    walk.walk()
    return walk.found


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int:
    """The line of ``path``, or of the nearest parent that stands in the file; 0 when none does."""
    for length in range(len(path), 0, -1):
        line = lines.get(path[:length])
        if line is not None:
            return line
    return 0
