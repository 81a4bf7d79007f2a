"""Certificates on the way to the broker: when each ends, told in time, and taken up anew when their files change.

A look every hour costs a few file reads; nothing runs in between. Renewal never stops intake (docs/adr/0175): what
changed is tried at the broker first, and the link that runs is left only for one that works.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import structlog
from cryptography import x509

from gateway.config.model import MqttConfig
from gateway.ops.clock import when
from gateway.transport.mqtt_tls import MAX_FILE_BYTES, Look

log = structlog.get_logger("certificate")

STAGES_DAYS: Final = (30, 7, 1, 0)
"""An end is told so many days before it; 0: it has passed."""

_DAY_MS: Final = 86_400_000
_LOOK_S: Final = 3600.0
_FIRST_S: Final = 60.0
_HALF_WRITTEN_S: Final = 10.0
_MAX_CERTIFICATES: Final = 512


class Link(Protocol):
    """The broker's link (``gateway.transport.mqtt.MqttTransport``)."""

    broker_certificate: bytes | None

    @property
    def tls_fault(self) -> str:
        """What is wrong with the files as they are now."""
        ...

    async def renew(self) -> Look:
        """Take changed files up, if they work."""
        ...


class Certificate(NamedTuple):
    """One certificate in use. ``path`` is empty for one that the other side showed."""

    name: str
    path: str
    not_after_ms: int


def stage_of(not_after_ms: int, now_ms: int) -> int | None:
    """Return the stage that a certificate is in: the least of ``STAGES_DAYS`` that was reached; None for none."""
    left_ms = not_after_ms - now_ms
    if left_ms <= 0:
        return 0
    return min((days for days in STAGES_DAYS if days and left_ms <= days * _DAY_MS), default=None)


class Told(NamedTuple):
    """What to tell of a certificate, and at which stage."""

    certificate: Certificate
    stage: int


class Deadlines:
    """Which ends were told already: each stage of each certificate once. Pure: time is an argument."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[int, int]] = {}

    def due(self, certificates: list[Certificate], now_ms: int) -> list[Told]:
        """Return what is to be told now, and take note that it is."""
        due = []
        for each in certificates:
            stage = stage_of(each.not_after_ms, now_ms)
            told_of, told = self._told.get(each.name, (-1, 0))
            if stage is None:
                self._told.pop(each.name, None)
            elif told_of != each.not_after_ms or stage < told:
                self._told[each.name] = (each.not_after_ms, stage)
                due.append(Told(each, stage))
        return due


def read_certificates(name: str, path: str) -> Certificate | None:
    """Read when a file's certificates end: of a chain the first to end, of authorities (``-ca``) the last.

    Returns:
        None when the file cannot be read as certificates; the link says what is wrong with it.
    """
    try:
        with Path(path).open("rb") as file:
            found = x509.load_pem_x509_certificates(file.read(MAX_FILE_BYTES))[:_MAX_CERTIFICATES]
    except (OSError, ValueError):
        return None
    ends = [_end_ms(each) for each in found]
    return Certificate(name, path, max(ends) if name.endswith("-ca") else min(ends)) if ends else None


def shown_certificate(name: str, der: bytes | None) -> Certificate | None:
    """The certificate that the other side showed at the last handshake; None for none."""
    if der is None:
        return None
    try:
        return Certificate(name, "", _end_ms(x509.load_der_x509_certificate(der)))
    except ValueError:
        return None


def _end_ms(certificate: x509.Certificate) -> int:
    return round(certificate.not_valid_after_utc.timestamp() * 1000)


class CertificateWatch:
    """Looks every hour, and when asked. ``run`` is a task.

    Args:
        files: name and path of each file of certificates, as the configuration in force has them.
        link: the broker's link; None without MQTT.
        wall_ms: milliseconds since 1970.
        clock_trusted: whether the clock is believed; by one that is not, no end is told.
    """

    def __init__(
        self,
        files: Callable[[], Mapping[str, str]],
        link: Link | None,
        *,
        wall_ms: Callable[[], int],
        clock_trusted: Callable[[], bool],
    ) -> None:
        self._files = files
        self._link = link
        self._wall_ms = wall_ms
        self._clock_trusted = clock_trusted
        self._deadlines = Deadlines()
        self._certificates: list[Certificate] = []
        self._fault = ""
        self._looking = asyncio.Lock()
        self._wanted = asyncio.Event()
        self.renewed = 0

    async def run(self) -> None:
        """Look now, in a minute (the broker has shown its certificate by then), and every hour; until cancelled."""
        wait_s = _FIRST_S
        while True:
            await self.look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wanted.wait()
            self._wanted.clear()
            wait_s = _LOOK_S

    def wake(self) -> None:
        """Look soon: somebody says that there is something new."""
        self._wanted.set()

    async def look(self, again_s: float = _HALF_WRITTEN_S) -> None:
        """Take up what changed, and tell what ends. Files that do not hold are looked at once more after a while."""
        async with self._looking:
            await self._take_up(again_s)
            files = self._files()
            read = await asyncio.to_thread(lambda: [read_certificates(name, path) for name, path in files.items()])
            shown = shown_certificate("mqtt-broker", self._link.broker_certificate if self._link else None)
            self._certificates = [each for each in (*read, shown) if each is not None]
            if self._clock_trusted():
                for certificate, stage in self._deadlines.due(self._certificates, self._wall_ms()):
                    _tell(certificate, stage)

    async def _take_up(self, again_s: float) -> None:
        link = self._link
        if link is None:
            return
        found = await link.renew()
        if found is Look.BROKEN:
            await asyncio.sleep(again_s)  # certificate and key are two files: one may not have been written yet
            found = await link.renew()
        if found is Look.BROKEN:
            if link.tls_fault != self._fault:
                log.error("certificate.refused", detail=link.tls_fault)
            self._fault = link.tls_fault
            return
        self._fault = ""
        if found is Look.CHANGED:
            self.renewed += 1

    def status(self) -> list[dict[str, Any]]:
        """Each certificate with its end, as of the last look."""
        return [each._asdict() for each in self._certificates]

    def warnings(self) -> list[str]:
        """What a person should know although messages are taken."""
        told = [f"the TLS files are not taken up: {self._fault}; the link keeps the old ones"] if self._fault else []
        if self._clock_trusted():
            now_ms = self._wall_ms()
            for each in self._certificates:
                stage = stage_of(each.not_after_ms, now_ms)
                if stage is not None and stage <= 7:  # noqa: PLR2004 -- a week: thirty days are an event, no warning
                    ends = "has expired" if stage == 0 else "ends"
                    told.append(f"the certificate {each.name} {ends} ({when(each.not_after_ms)}): renew it")
        return told


def certificate_files(config: MqttConfig) -> dict[str, str]:
    """Name and path of the files of certificates that ``[mqtt]`` names."""
    if not (config.enabled and config.tls):
        return {}
    named = {"mqtt-ca": config.ca_file, "mqtt-client": config.cert_file}
    return {name: path for name, path in named.items() if path}


def _tell(certificate: Certificate, stage: int) -> None:
    level = log.warning if stage else log.error
    facts = {"name": certificate.name, "path": certificate.path, "not_after": when(certificate.not_after_ms)}
    level("certificate.expires", days=stage, **facts)
