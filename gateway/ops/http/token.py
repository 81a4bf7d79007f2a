"""The token that unlocks the page's actions."""

from __future__ import annotations

from typing import Final

from gateway.ops.secrets import SecretError, read_optional_secret

MIN_TOKEN_BYTES: Final = 32


def load_token(ref: str) -> bytes | None:
    """Read the token; None when there is none.

    Raises:
        SecretError: as ``read_secret``, or it is too short to be one.
    """
    token = read_optional_secret(ref)
    if token is not None and len(token) < MIN_TOKEN_BYTES:
        raise SecretError(ref, f"is shorter than {MIN_TOKEN_BYTES} characters", "openssl rand -hex 32 writes one")
    return token
