"""The publisher's side of the air gap: requests out, answers in, in one folder (I/O).

The same calls as ``AuthorityClient`` has. The first one writes a request and ends with ``AnswerAwaited``; when the
answer's file has been carried back into the folder, the same call returns what it holds. Nothing is asked twice, but
for whom a key was to be wrapped, as long as that was nobody.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from secrets import token_bytes
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import InvalidVersion, load_pem_x509_certificate

from gateway.crypto.keys import KeyRefused
from gateway.vault.authority_disk import StoreRefused, read_whole, replace_whole
from gateway.vault.authority_files import ANSWER_FILE_MAX, REQUEST_FILE_MAX, SigningKey, read_answer, write_request
from gateway.vault.authority_words import Answer, Ask, AuthorityError, DataKey, WrappedKey, Wraps, encode_ask
from gateway.vault.hpke_key import HpkeKey, hybrid_pem, parse_hpke_pem
from gateway.vault.wrap import HYBRID_SEED_BYTES

_PEM_MAX: Final = 64 * 1024
_KEY_FILE_MAX: Final = 4096
_STEM_DIGITS: Final = 16


class AnswerAwaited(AuthorityError):
    """A request lies in a file, to be carried to the authority; its answer is to be put at ``answer``."""

    def __init__(self, request: Path, answer: Path) -> None:
        super().__init__(
            f"carry {request} to the authority (securenet authority issue, or wraps), bring the answer back as "
            f"{answer}, and run this again"
        )
        self.request = request
        self.answer = answer


class AuthorityFiles:
    """Ask by files; see ``gateway.vault.authority_words.KeySource``.

    Args:
        folder: for requests and answers, closed to others (0700); requests hold nothing secret, what stands beside
            them does.
        certificate: the publisher's, in PEM.
        key: the certificate's private key, in PEM; Ed25519 or of an elliptic curve.
        authority: the key that the authority signs answers with: 32 bytes of Ed25519.
    """

    def __init__(self, folder: Path, certificate: Path, key: Path, authority: bytes) -> None:
        self._folder = folder
        self._certificate = certificate
        self._key = key
        self._authority = authority

    def data_key(self, model_id: str, version: int) -> bytes:
        """The data key of this version, 32 bytes.

        Raises:
            AnswerAwaited: a file has to be carried first.
            AuthorityError: what lies there is no answer, or cannot be read.
        """
        answer = self._ask(Ask(model_id, version))
        assert isinstance(answer, DataKey)  # noqa: S101 -- parse_answer, for an ask without a digest
        return answer.key

    def wraps(self, model_id: str, version: int, ciphertext_sha256: bytes) -> tuple[WrappedKey, ...]:
        """That key, wrapped for each gateway that held a grant when the answer was made.

        An answer that names none is put out of the way, so that the next call asks anew.

        Raises:
            AnswerAwaited, AuthorityError: as ``data_key``.
        """
        ask = Ask(model_id, version, ciphertext_sha256)
        answer = self._ask(ask)
        assert isinstance(answer, Wraps)  # noqa: S101 -- parse_answer, for an ask with a digest
        if not answer.wrapped:
            self._forget(ask)
        return answer.wrapped

    def _ask(self, ask: Ask) -> Answer:
        request, answer, private = self._files(ask)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            reply_key = self._reply_key(private)
            asked = read_whole(request, REQUEST_FILE_MAX)
            if asked is None:
                self._write(request, write_request(ask, reply_key.recipient, *self._identity()))
                raise AnswerAwaited(request, answer)
            _close_to_others(answer)  # it came by a stick, with whatever mode that gave it
            found = read_whole(answer, ANSWER_FILE_MAX)
        except StoreRefused as refused:
            raise AuthorityError(str(refused)) from None
        except OSError as error:
            raise AuthorityError(f"{self._folder} cannot be used: {error.strerror}") from None
        if found is None:
            raise AnswerAwaited(request, answer)
        return read_answer(found, ask, asked, reply_key, self._authority)

    def _files(self, ask: Ask) -> tuple[Path, Path, Path]:
        """Request, answer and the request's private key."""
        stem = hashlib.sha256(encode_ask(ask)).hexdigest()[:_STEM_DIGITS]  # an id never becomes a file name
        return (
            self._folder / f"{stem}.request",
            self._folder / f"{stem}.answer",
            self._folder / f"{stem}.private",
        )

    def _forget(self, ask: Ask) -> None:
        request, answer, _ = self._files(ask)
        try:
            for each in (answer, request):
                each.unlink(missing_ok=True)
        except OSError as error:
            raise AuthorityError(f"{self._folder} cannot be used: {error.strerror}") from None

    def _reply_key(self, path: Path) -> HpkeKey:
        """The key of one request, hybrid: what is carried by hand may lie about for twenty years."""
        data = read_whole(path, _KEY_FILE_MAX)
        if data is None:
            data = hybrid_pem(token_bytes(HYBRID_SEED_BYTES))
            self._write(path, data)
        try:
            return parse_hpke_pem(data)
        except KeyRefused:
            raise StoreRefused(f"{path} is no key", "remove it with its request, and ask anew") from None

    def _write(self, path: Path, data: bytes) -> None:
        held = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            replace_whole(held, path, data)
        finally:
            os.close(held)

    def _identity(self) -> tuple[bytes, SigningKey]:
        pem = read_whole(self._key, _PEM_MAX)
        if pem is None:
            raise StoreRefused(f"{self._key} is not there", "name the key of your certificate")
        try:
            certificate = load_pem_x509_certificate(self._certificate.read_bytes()).public_bytes(Encoding.DER)
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm, InvalidVersion):
            raise StoreRefused(
                f"{self._certificate} or {self._key} is not in PEM, or has a passphrase",
                "name your certificate's files",
            ) from None
        if not isinstance(key, Ed25519PrivateKey | EllipticCurvePrivateKey):
            raise StoreRefused(f"{self._key} cannot sign a request", "it is Ed25519, or of an elliptic curve")
        return certificate, key


def _close_to_others(path: Path) -> None:
    if path.exists():
        path.chmod(0o600)
