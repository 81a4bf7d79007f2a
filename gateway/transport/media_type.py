"""The Content Type property of MQTT 5, read as a media type (RFC 9110 §8.3.1; pure)."""

from __future__ import annotations

import re
from functools import lru_cache

from gateway.message import Encoding

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t !-~\x80-\xff])*"'
_TYPE = re.compile(rf"({_WORD}/{_WORD})")
_PARAMETER = re.compile(rf"[ \t]*;[ \t]*(?:({_WORD})=({_WORD}|{_QUOTED}))?")
_ESCAPE = re.compile(r"\\(.)")
_MAX_CHARACTERS = 256


def declared_encoding(content_type: str | None) -> Encoding | None:
    """What a content type declares: COSE, JWS, or OTHER for anything else that is not absent or empty.

    Type, subtype and parameter names have no case; ``application/cose`` needs ``cose-type="cose-sign1"``; further
    parameters are ignored. What is no media type at all is OTHER.
    """
    if not content_type:
        return None
    return Encoding.OTHER if len(content_type) > _MAX_CHARACTERS else _encoding(content_type)


@lru_cache(maxsize=64)
def _encoding(content_type: str) -> Encoding:
    """The same for a bounded text; a fleet sends few different ones, so the last are remembered."""
    start = _TYPE.match(content_type)
    parameters = None if start is None else _parameters(content_type, start.end())
    if start is None or parameters is None:
        return Encoding.OTHER
    essence = start[1].lower()
    if essence == "application/jose+json":
        return Encoding.JWS
    if essence == "application/cose" and parameters.get("cose-type") == "cose-sign1":
        return Encoding.COSE
    return Encoding.OTHER


def _parameters(text: str, at: int) -> dict[str, str] | None:
    """The parameters from ``at`` to the end, first of a name wins; None when the rest is something else."""
    parameters: dict[str, str] = {}
    end = len(text.rstrip(" \t"))
    while at < end:
        match = _PARAMETER.match(text, at)
        if match is None or match.end() == at:
            return None
        at = match.end()
        name, value = match.groups()
        if name is not None:
            unquoted = _ESCAPE.sub(r"\1", value[1:-1]) if value.startswith('"') else value
            parameters.setdefault(name.lower(), unquoted)
    return parameters
