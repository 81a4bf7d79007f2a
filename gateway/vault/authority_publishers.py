"""Who may publish which models: the authority's list, read anew for each request (docs/operations/authority.md).

A publisher is its client certificate, by SHA-256. Two may stand there while one follows the other.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from gateway.vault.authority_disk import StoreRefused
from gateway.vault.authority_words import is_model

FILE: Final = "publishers.toml"
BYTES_MAX: Final = 1 << 20
PUBLISHERS_MAX: Final = 1000
CERTIFICATES_MAX: Final = 4
MODELS_MAX: Final = 1000
ANY: Final = "*"

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_MEMBERS: Final = frozenset({"certificate_sha256", "models"})


class Publisher(NamedTuple):
    """A publisher, its certificates by SHA-256, and the models that it may publish; ``*`` is any."""

    name: str
    certificates: tuple[bytes, ...]
    models: frozenset[str]

    def may_publish(self, model_id: str) -> bool:
        """Whether this model is one of its own."""
        return model_id in self.models or ANY in self.models


class Publishers(NamedTuple):
    """The list: by name, and by certificate."""

    by_name: Mapping[str, Publisher]
    by_certificate: Mapping[bytes, Publisher]


def load_publishers(path: Path) -> Publishers:
    """Read the list.

    Raises:
        StoreRefused: it cannot be read, or is not in order; nobody is on it then.
    """
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise StoreRefused(
            f"{path} cannot be read: {error.strerror}", "add a publisher: securenet authority publishers --help"
        ) from None
    return parse_publishers(data)


def parse_publishers(data: bytes) -> Publishers:
    """Read the list out of TOML (pure).

    Raises:
        StoreRefused: it is not in order; the message says where.
    """
    if len(data) > BYTES_MAX:
        raise _wrong(f"the file is larger than {BYTES_MAX} bytes")
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError):
        raise _wrong("it is not TOML") from None
    tables = document.pop("publishers", {})
    if document or not isinstance(tables, dict) or len(tables) > PUBLISHERS_MAX:
        raise _wrong(f"it has tables [publishers.NAME] alone, at most {PUBLISHERS_MAX}")
    by_name: dict[str, Publisher] = {}
    by_certificate: dict[bytes, Publisher] = {}
    for name, table in tables.items():
        publisher = _publisher(name, table)
        by_name[name] = publisher
        for certificate in publisher.certificates:
            if by_certificate.setdefault(certificate, publisher) is not publisher:
                raise _wrong(f"two publishers have the certificate {certificate.hex()}")
    return Publishers(by_name, by_certificate)


def table_of(name: str, certificate: bytes, models: tuple[str, ...]) -> str:
    """The lines of one publisher, for the file.

    Raises:
        StoreRefused: no such publisher can be.
    """
    listed = ", ".join(f'"{model}"' for model in models)
    text = f'[publishers."{name}"]\ncertificate_sha256 = ["{certificate.hex()}"]\nmodels = [{listed}]\n'
    parse_publishers(text.encode())
    return text


def _publisher(name: str, table: object) -> Publisher:
    if not _NAME.fullmatch(name):
        raise _wrong("a publisher's name is 1 to 64 characters of [A-Za-z0-9._-]")
    if not isinstance(table, dict) or table.keys() != _MEMBERS:
        raise _wrong(f"[publishers.{name}] has certificate_sha256 and models")
    texts, models = table["certificate_sha256"], table["models"]
    certificates = [texts] if isinstance(texts, str) else texts
    if not isinstance(certificates, list) or not 1 <= len(certificates) <= CERTIFICATES_MAX:
        raise _wrong(f"[publishers.{name}] has 1 to {CERTIFICATES_MAX} certificate_sha256")
    if not isinstance(models, list) or not len(models) <= MODELS_MAX:
        raise _wrong(f"[publishers.{name}] models is an array of at most {MODELS_MAX}")
    if not all(model == ANY or is_model(model) for model in models):
        raise _wrong(f'[publishers.{name}] models has model ids, or "*" for any')
    return Publisher(name, tuple(_fingerprint(name, text) for text in certificates), frozenset(models))


def _fingerprint(name: str, text: object) -> bytes:
    digits = text.replace(":", "").lower() if isinstance(text, str) else ""
    if not _FINGERPRINT.fullmatch(digits):
        raise _wrong(f"[publishers.{name}] certificate_sha256 has 64 hexadecimal digits, with or without colons")
    return bytes.fromhex(digits)


def _wrong(problem: str) -> StoreRefused:
    return StoreRefused(f"the list of publishers is refused: {problem}", "until it is in order, nobody is on it")
