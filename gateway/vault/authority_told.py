"""Grants by an operator's signed word, for an authority that reaches no chain (docs/adr/0136).

The file is written where the chain can be read, and is as old as the stick that carried it: a gateway that was shut
out since gets keys all the same. So the class is called unsafe, warns at each use, and takes no file beyond its age.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from gateway.crypto.keys import KeyRefused
from gateway.vault.authority import Recipients
from gateway.vault.authority_files import read_signed, write_signed
from gateway.vault.authority_words import (
    AuthorityRefused,
    LeftOut,
    Refusal,
    is_model,
    malformed,
    read_members,
    to_bytes,
)
from gateway.vault.manifest import RECIPIENTS_MAX
from gateway.vault.wrap import Recipient, parse_recipient

log = structlog.get_logger("authority")

GRANTS: Final = "securenet.authority-grants/1"
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
MAX_AGE_MS: Final = 7 * 24 * 3600 * 1000

_PAYLOAD: Final = ("created", "source", "grants")
_SOURCE_MAX: Final = 256


def write_grants(grants: Mapping[str, Recipients], now_ms: int, sign: Callable[[bytes], bytes]) -> bytes:
    """What the chain says now of these models, as a file that the operator signs (Ed25519).

    Raises:
        AuthorityRefused: ``too-many-gateways``: an authority would not read it.
    """
    for model_id, found in grants.items():
        if len(found.keys) > RECIPIENTS_MAX:
            raise AuthorityRefused(
                Refusal.TOO_MANY_GATEWAYS,
                f"{len(found.keys)} gateways hold a grant of {model_id}, and a manifest has room for "
                f"{RECIPIENTS_MAX}; take grants back",
            )
    members: dict[str, object] = {
        "created": now_ms,
        "source": "; ".join(sorted({found.source for found in grants.values()}))[:_SOURCE_MAX],
        "grants": {
            model_id: {gateway_id: recipient.data.hex() for gateway_id, recipient in found.keys.items()}
            for model_id, found in grants.items()
        },
    }
    data = write_signed(GRANTS, to_bytes(members), sign)
    if len(data) > FILE_BYTES_MAX:
        raise AuthorityRefused(
            Refusal.TOO_MANY_GATEWAYS,
            f"the file would have {len(data)} bytes, and {FILE_BYTES_MAX} are read; name fewer models in one file",
        )
    return data


class UnsafeFileGrants:
    """``Grants`` by a file. It is not the chain: what was taken back since the file was written still counts in it.

    Args:
        path: the file, read anew for each request.
        operator: the public key that it is signed with, 32 bytes of Ed25519.
        wall_ms: milliseconds since 1970.
        max_age_ms: an older file says nothing any more.
    """

    def __init__(self, path: Path, operator: bytes, wall_ms: Callable[[], int], max_age_ms: int = MAX_AGE_MS) -> None:
        self._path = path
        self._operator = operator
        self._wall_ms = wall_ms
        self._max_age_ms = max_age_ms

    async def recipients(self, model_id: str) -> Recipients:
        """What the file says of this model.

        Raises:
            AuthorityRefused: ``no-grants``: it is not there, not signed, too old, or does not name the model.
        """
        try:
            with self._path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
            payload = read_signed(GRANTS, data, self._operator, FILE_BYTES_MAX)
            created, source, grants = read_members(payload, "a file of grants", _PAYLOAD)
            keys, left_out = _keys(grants, model_id)
        except OSError as error:
            raise _nobody(f"cannot be read: {error.strerror}") from None
        except AuthorityRefused as refused:
            raise _nobody(f"is refused: {refused.detail}") from None
        if type(created) is not int or not isinstance(source, str) or not source.isprintable():
            raise _nobody("does not say when and by what it was written")
        age_ms = self._wall_ms() - created
        if not -self._max_age_ms <= age_ms <= self._max_age_ms:
            raise _nobody(f"is of another time: {age_ms // 3_600_000} hours old; write it anew where the chain is")
        log.warning("authority.unsafe_grants", file=str(self._path), age_s=age_ms // 1000, model=model_id)
        return Recipients(
            f"file of {created}: {source}"[:_SOURCE_MAX], from_chain=False, keys=keys, left_out=left_out
        )


def _keys(grants: object, model_id: str) -> tuple[dict[str, Recipient], tuple[LeftOut, ...]]:
    found = grants.get(model_id) if isinstance(grants, dict) else None
    if not isinstance(found, dict):
        raise malformed("it says nothing of this model")
    if len(found) > RECIPIENTS_MAX:
        raise malformed(f"it names more than {RECIPIENTS_MAX} gateways")
    keys: dict[str, Recipient] = {}
    left_out = []
    for gateway_id, text in sorted(found.items()):
        if not is_model(gateway_id) or not isinstance(text, str):
            raise malformed("a grant is a gateway's id and its HPKE key in hexadecimal digits")
        try:
            keys[gateway_id] = parse_recipient(bytes.fromhex(text))
        except KeyRefused:
            left_out.append(LeftOut(gateway_id, "key-refused"))
        except ValueError:
            raise malformed("a grant is a gateway's id and its HPKE key in hexadecimal digits") from None
    return keys, tuple(left_out)


def _nobody(problem: str) -> AuthorityRefused:
    return AuthorityRefused(Refusal.NO_GRANTS, f"the file of grants {problem}")
