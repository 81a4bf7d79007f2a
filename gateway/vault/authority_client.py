"""The publisher's side of the key authority's service: HTTPS with both sides' certificates, nothing trusted (I/O).

Blocking, for a command line; from an event loop, ``asyncio.to_thread``. No redirect is followed, no proxy is asked.
"""

from __future__ import annotations

import http.client
import ssl
import time
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from gateway.vault.authority_words import (
    ANSWER_BYTES_MAX,
    Ask,
    AuthorityError,
    DataKey,
    WrappedKey,
    Wraps,
    encode_ask,
    parse_answer,
    parse_refusal,
)

DATA_KEY_PATH: Final = "/v1/data-key"
WRAPS_PATH: Final = "/v1/wraps"
TIMEOUT_S: Final = 120.0
"""The authority may have to read the chain from its beginning."""

_CHUNK: Final = 1 << 16


class ClientFiles(NamedTuple):
    """The publisher's certificate and its key, and the authority that signs the service's certificate, in PEM."""

    certificate: Path
    key: Path
    ca: Path


class AuthorityClient:
    """Ask the service at ``url`` (https://host:port); see ``gateway.vault.authority_words.KeySource``.

    Args:
        url: scheme, host and port, nothing else.
        certs: who we are, and who may be the service.
        timeout_s: one request may take so long.

    Raises:
        AuthorityError: ``url`` is no such URL.
    """

    def __init__(self, url: str, certs: ClientFiles, timeout_s: float = TIMEOUT_S) -> None:
        self._host, self._port = _address(url)
        self._certs = certs
        self._timeout_s = timeout_s

    def data_key(self, model_id: str, version: int) -> bytes:
        """The data key of this version, 32 bytes; the same one each time.

        Raises:
            AuthorityRefused: the authority says no.
            AuthorityError: it could not be asked.
        """
        ask = Ask(model_id, version)
        answer = parse_answer(self._post(DATA_KEY_PATH, ask), ask)
        assert isinstance(answer, DataKey)  # noqa: S101 -- parse_answer, for an ask without a digest
        return answer.key

    def wraps(self, model_id: str, version: int, ciphertext_sha256: bytes) -> tuple[WrappedKey, ...]:
        """That key, wrapped for each gateway that holds a grant now.

        Raises:
            AuthorityRefused, AuthorityError: as ``data_key``.
        """
        return self.wraps_in_full(model_id, version, ciphertext_sha256).wrapped

    def wraps_in_full(self, model_id: str, version: int, ciphertext_sha256: bytes) -> Wraps:
        """As ``wraps``, with who was left out and by whose word.

        Raises:
            AuthorityRefused, AuthorityError: as ``data_key``.
        """
        ask = Ask(model_id, version, ciphertext_sha256)
        answer = parse_answer(self._post(WRAPS_PATH, ask), ask)
        assert isinstance(answer, Wraps)  # noqa: S101 -- parse_answer, for an ask with a digest
        return answer

    def _post(self, path: str, ask: Ask) -> bytes:
        deadline_s = time.monotonic() + self._timeout_s
        connection = http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout_s, context=self._context()
        )
        try:
            headers = {"Content-Type": "application/json", "Connection": "close"}
            connection.request("POST", path, encode_ask(ask), headers)
            with connection.getresponse() as response:
                status, body = response.status, _read(response, deadline_s)
        except ssl.SSLCertVerificationError as error:
            raise AuthorityError(
                f"{self._where}: its certificate does not hold ({error.verify_message}); is this its CA file?"
            ) from None
        except ssl.SSLError as error:
            raise AuthorityError(
                f"{self._where}: no TLS with it ({error.reason}); is the publisher's certificate one of its "
                "authority's, and not expired?"
            ) from None
        except TimeoutError:
            raise AuthorityError(f"{self._where}: no answer in {self._timeout_s:g} s; come again") from None
        except (OSError, http.client.HTTPException) as error:
            words = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise AuthorityError(f"{self._where}: cannot be asked ({words}); is it running?") from None
        finally:
            connection.close()
        if status == http.client.OK:
            return body
        refused = parse_refusal(body)
        if refused is None:
            raise AuthorityError(f"{self._where}: answers HTTP {status}; is this a key authority?")
        raise refused

    @property
    def _where(self) -> str:
        return f"https://{self._host}:{self._port}"

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=str(self._certs.ca))
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(self._certs.certificate, self._certs.key, password=_no_password)
        except OSError as error:  # SSLError is one
            words = error.strerror if not isinstance(error, ssl.SSLError) and error.strerror else "not in PEM"
            names = ", ".join(str(path) for path in self._certs)
            raise AuthorityError(f"the certificates cannot be read: {words}; see to {names}") from None
        except ValueError:
            raise AuthorityError(
                f"{self._certs.key} is protected by a passphrase; store it without one, readable by you alone"
            ) from None
        return context


def _read(response: http.client.HTTPResponse, deadline_s: float) -> bytes:
    body = bytearray()
    while chunk := response.read1(_CHUNK):
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise AuthorityError("the answer has more bytes than any of an authority; is this one?")
        if time.monotonic() > deadline_s:
            raise TimeoutError
    return bytes(body)


def _no_password() -> str:
    raise ValueError("nobody is asked for a passphrase")


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        sound = parts.scheme == "https" and parts.path in {"", "/"} and "@" not in parts.netloc and url.isprintable()
    except ValueError:
        sound, host, port = False, None, None
    if not sound or not host or parts.query or parts.fragment:
        raise AuthorityError("the authority's address is https://host:port")
    return host, port or 443
