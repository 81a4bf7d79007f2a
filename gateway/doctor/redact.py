"""Takes out of a text what nobody outside needs: keys in URLs, passwords, private keys, the devices' ids (pure).

What is taken out leaves a mark, so that whoever reads the text sees that something stood there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

MARK: Final = "(withheld)"
_URL: Final = re.compile(r"""\b[a-zA-Z][a-zA-Z0-9+.-]{1,15}://[^\s"'<>\\,;\]}]{1,2048}""")
_PEM: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}-----.*?(?:-----END [A-Z0-9 ]{0,40}-----|\Z)", re.DOTALL)
_NAMED: Final = re.compile(
    r"""((?:^|[\s{,"'\[=;&?])["']?[\w.-]*"""
    r"""(?:password|passphrase|secret|seed|token|private[_-]?key|mnemonic|authorization|bearer|api[_-]?key)"""
    r"""["']?\s*[=:]\s*)("[^"\n]*"|'[^'\n]*'|[^\s,}\]]+)""",
    re.IGNORECASE | re.MULTILINE,
)
_LONG_HEX: Final = re.compile(r"\b(?:0x)?[0-9a-fA-F]{64,}\b")
_BASE64: Final = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/_-]{43,}={0,2}(?![A-Za-z0-9+/=_-])")
_SECRET_NAME: Final = re.compile(
    r"password|passphrase|secret|seed|token|private|mnemonic|authorization|api[_-]?key", re.IGNORECASE
)
_TOKEN: Final = re.compile(r"[A-Za-z0-9._:-]+")
_EDGE: Final = re.compile(r"[._:-]")
_MAX_EDGES: Final = 400

DEVICE_FIELDS: Final = frozenset({"device", "device_id", "kid", "peer", "client"})
"""What names a device, or where it is, whatever stands there."""
KEPT_FIELDS: Final = frozenset(
    {"sha256", "root", "checkpoint", "tx_hash", "block_hash", "log_key", "manifest_sha256"}
)
"""Long values that are public: hashes and public keys."""
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
    """A value named like a secret, unless it only says where the secret is; its quotes stay."""
    value = match[2]
    if _REFERENCE.fullmatch(value):
        return match[0]
    quote = value[0] if value[:1] in {'"', "'"} else ""
    return f"{match[1]}{quote}{MARK}{quote}"


def scrubbed(value: object, ids: Pseudonyms, name: str = "") -> object:
    """A value of JSON without secrets, and with pseudonyms in the place of device ids.

    Args:
        value: what JSON can hold.
        ids: the device ids.
        name: the name that the value stands under.
    """
    if isinstance(value, Mapping):
        return {ids.apply(redacted(str(key))): scrubbed(each, ids, str(key)) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [scrubbed(each, ids, name) for each in value]
    if not isinstance(value, str):
        return value
    if _SECRET_NAME.search(name) and not _REFERENCE.fullmatch(value):
        return MARK
    if name in DEVICE_FIELDS and value:
        return ids.name(value)
    return ids.apply(strictly(value) if name not in KEPT_FIELDS else redacted(value))


class Pseudonyms:
    """Names for device ids that say nothing, the same for the same id within one bundle.

    Args:
        salt: random, and forgotten with the bundle: without it whoever has a list of ids could try them.
        ids: the ids that are known; none at all where they may be told.
        tell: leave the ids as they are.
    """

    def __init__(self, salt: bytes, ids: Iterable[str] = (), *, tell: bool = False) -> None:
        self._salt = salt
        self._tell = tell
        self._ids = set() if tell else {each for each in ids if each}
        self._longest = max((len(each) for each in self._ids), default=0)

    def name(self, device_id: str) -> str:
        """The pseudonym of an id."""
        if self._tell:
            return device_id
        return f"device-{sha256(self._salt + device_id.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"

    def apply(self, text: str) -> str:
        """``text`` with every id in it replaced, wherever it begins and ends at the edge of a word."""
        return _TOKEN.sub(self._token, text) if self._ids else text

    def _token(self, match: re.Match[str]) -> str:
        """A run of the characters that ids consist of: from each edge in it the longest id is looked for."""
        token = match[0]
        if token in self._ids:
            return self.name(token)
        edges = sorted({0, len(token), *(at for found in _EDGE.finditer(token) for at in found.span())})
        if len(edges) > _MAX_EDGES:
            return MARK
        out, place = [], 0
        while place < len(edges) - 1:
            start = edges[place]
            for last in range(len(edges) - 1, place, -1):
                if edges[last] - start <= self._longest and token[start : edges[last]] in self._ids:
                    out.append(self.name(token[start : edges[last]]))
                    place = last
                    break
            else:
                out.append(token[start : edges[place + 1]])
                place += 1
        return "".join(out)
