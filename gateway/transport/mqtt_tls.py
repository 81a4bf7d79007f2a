"""The TLS files of the broker's link: read together, changed together, and the last good ones kept.

A certificate is renewed while the gateway runs (docs/adr/0175). The files are read at each connect and whenever
somebody looks; what does not load leaves what was loaded in force, so a half-written renewal costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

from gateway.transport.mqtt_words import describe, printable

MAX_FILE_BYTES: Final = 1 << 20
_PROBE_S: Final = 10.0
_REFUSAL_S: Final = 0.5


class TlsRefused(Exception):
    """The files cannot be used, or the broker does not take what is in them; the text says why."""


class TlsPaths(NamedTuple):
    """Where the files lie; empty for none (``ca``: the system's certificates)."""

    ca: str
    cert: str
    key: str


class Look(Enum):
    """What a look at the files found, against what is in use."""

    SAME = "same"
    CHANGED = "changed"
    BROKEN = "broken"


def digest_of(paths: TlsPaths) -> bytes:
    """SHA-256 over the contents of the files.

    Raises:
        TlsRefused: one cannot be read, or is no file of certificates by its size.
    """
    total = hashlib.sha256()
    for path in paths:
        if not path:
            total.update(b"\0")
            continue
        try:
            with Path(path).open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise TlsRefused(describe(error)) from None
        if len(data) > MAX_FILE_BYTES:
            raise TlsRefused(f"{printable(path)} is larger than {MAX_FILE_BYTES} bytes")
        total.update(len(data).to_bytes(8, "big") + data)
    return total.digest()


def load(paths: TlsPaths) -> ssl.SSLContext:
    """Make a context of the files: they parse, and certificate and key belong together.

    Raises:
        OSError, ssl.SSLError: they do not.
    """
    context = ssl.create_default_context(cafile=paths.ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if paths.cert:
        # An encrypted key fails; without this it would ask at the terminal.
        context.load_cert_chain(paths.cert, paths.key or None, password=lambda: b"-")
    return context


class BrokerTls:
    """Holds the context in use. ``on_peer`` is given the broker's certificate (DER) at each handshake.

    Reading files blocks; ``look`` and ``renew`` are for a thread where the disk is slow.
    """

    def __init__(self, paths: TlsPaths, on_peer: Callable[[bytes], None] = lambda _: None) -> None:
        self.paths = paths
        self._on_peer = on_peer
        self._context: ssl.SSLContext | None = None
        self._digest = b""
        self.fault = ""

    def look(self) -> Look:
        """Compare the files with what is in use; changes nothing but ``fault``."""
        try:
            if digest_of(self.paths) == self._digest:
                self.fault = ""
                return Look.SAME
            load(self.paths)
        except (TlsRefused, OSError) as error:
            self.fault = str(error) if isinstance(error, TlsRefused) else describe(error)
            return Look.BROKEN
        self.fault = ""
        return Look.CHANGED

    def context(self) -> ssl.SSLContext:
        """For a new connection: the files as they are, or the last that were good.

        Raises:
            OSError, ssl.SSLError: they cannot be used, and never could.
        """
        if self._context is not None and self.look() is not Look.CHANGED:
            return self._context
        try:
            digest = digest_of(self.paths)  # first: a file that changes in between counts as changed later
        except TlsRefused:
            digest = b""  # loading says it better
        context = load(self.paths)
        context.sslobject_class = _seen_by(self._on_peer)
        self._context, self._digest, self.fault = context, digest, ""
        return context


def _seen_by(on_peer: Callable[[bytes], None]) -> type[ssl.SSLObject]:
    """An SSLObject that shows the peer's certificate once the handshake is done."""

    class SeenObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            certificate = self.getpeercert(binary_form=True)
            if certificate:
                on_peer(certificate)

    return SeenObject


async def probe(host: str, port: int, context: ssl.SSLContext | None) -> None:
    """Connect and shake hands, and go without a word of MQTT: would the broker take this link?

    In TLS 1.3 a client learns that its certificate is refused only after the handshake, so there is a short wait.

    Raises:
        TlsRefused: it would not.
    """
    try:
        async with asyncio.timeout(_PROBE_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
    except TimeoutError:
        raise TlsRefused("the broker does not answer") from None
    except OSError as error:
        raise TlsRefused(_said(error)) from None
    try:
        async with asyncio.timeout(_REFUSAL_S):
            if not await reader.read(1):
                raise TlsRefused("the broker closed the connection after the handshake")
    except TimeoutError:
        pass  # it waits for our CONNECT
    except OSError as error:
        raise TlsRefused(_said(error)) from None
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_REFUSAL_S):
                await writer.wait_closed()
        writer.transport.abort()  # a broker that does not answer TLS's leave would be waited for


def _said(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate does not hold: {printable(error.verify_message)}"
    if isinstance(error, ssl.SSLError):
        return f"the broker refuses the TLS connection: {printable(error.reason or str(error))}"
    return f"no connection: {printable(error.strerror or str(error))}"
