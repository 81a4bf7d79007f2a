"""Takes out of a text what nobody outside needs: keys in URLs, passwords, private keys, the devices' ids (pure).

What is taken out leaves a mark, so that whoever reads the text sees that something stood there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

MARK: Final = "(withheld)"
_URL: Final = re.compile(r"""\b[a-zA-Z][a-zA-Z0-9+.-]{1,15}://[^\s"'<>\\,;\]}]{1,2048}""")
_PEM: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}-----.*?(?:-----END [A-Z0-9 ]{0,40}-----|\Z)", re.DOTALL)
_NAMED: Final = re.compile(
    r"""((?:^|[\s{,"'\[])["']?[\w.-]*"""
    r"""(?:password|passphrase|secret|seed|token|private[_-]?key|mnemonic|authorization|bearer|api[_-]?key)"""
    r"""["']?\s*[=:]\s*)("[^"\n]*"|'[^'\n]*'|[^\s,}\]]+)""",
    re.IGNORECASE | re.MULTILINE,
)
_LONG_HEX: Final = re.compile(r"\b(?:0x)?[0-9a-fA-F]{64,}\b")
_BASE64: Final = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/_-]{43,}={0,2}(?![A-Za-z0-9+/=_-])")
_REFERENCE: Final = re.compile(r"""["']?(credential:[\w.-]+|/[\w./-]*|true|false|\(withheld\)|)["']?\Z""")


def redacted(text: str) -> str:
    """``text`` without keys: private keys in PEM, values named like a secret, what a URL has besides its origin."""
    text = _PEM.sub(MARK, text)
    text = _URL.sub(lambda match: plain_url(match[0]), text)
    return _NAMED.sub(_named, text)


def strictly(text: str) -> str:
    """As ``redacted``, and without whatever is long enough to be a key: for what others wrote."""
    return _BASE64.sub(MARK, _LONG_HEX.sub(MARK, redacted(text)))


def has_secret(text: str) -> bool:
    """Whether something would be taken out of ``text``."""
    return redacted(text) != text


def plain_url(url: str) -> str:
    """Scheme, host and port: the rest of a URL may be a key. A path that cannot be one is kept."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return MARK
    if not host:
        return url if parts.scheme == "file" else MARK
    shown = f"[{host}]" if ":" in host else host
    origin = f"{parts.scheme}://{shown}" + (f":{port}" if port else "")
    user = f"{parts.scheme}://{MARK}@" + origin.partition("://")[2] if parts.username or parts.password else origin
    rest = parts.path.rstrip("/") or parts.query or parts.fragment
    return f"{user}/{MARK}" if rest else user + parts.path


def _named(match: re.Match[str]) -> str:
    """A value named like a secret, unless it only says where the secret is."""
    return match[0] if _REFERENCE.fullmatch(match[2]) else f"{match[1]}{MARK}"


class Pseudonyms:
    """Names for device ids that say nothing, the same for the same id within one bundle.

    Args:
        salt: random, and forgotten with the bundle: without it whoever has a list of ids could try them.
        ids: the ids; the longest are replaced first, so that no part of one is left over.
    """

    def __init__(self, salt: bytes, ids: Iterable[str]) -> None:
        self._salt = salt
        wanted = sorted({each for each in ids if each}, key=len, reverse=True)
        self._ids = set(wanted)
        lengths = {len(each) for each in wanted}
        self._shortest = min(lengths, default=0)

    def name(self, device_id: str) -> str:
        """The pseudonym of an id."""
        return f"device-{sha256(self._salt + device_id.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"

    def apply(self, text: str) -> str:
        """``text`` with every id that stands in it by itself replaced."""
        if not self._ids:
            return text
        return _TOKEN.sub(self._token, text)

    def _token(self, match: re.Match[str]) -> str:
        """A run of the characters that ids consist of: an id itself, or ids with marks around them."""
        token = match[0]
        if token in self._ids:
            return self.name(token)
        bare = token.strip(".:-_")
        if bare in self._ids:
            return token.replace(bare, self.name(bare))
        for split in (":", "."):  # "pump-7:", "pump-7.score", "mqtt:pump-7"
            parts = token.split(split)
            if len(parts) > 1 and any(part in self._ids for part in parts):
                return split.join(self.name(part) if part in self._ids else part for part in parts)
        return token


_TOKEN: Final = re.compile(r"[A-Za-z0-9._:-]{1,200}")
