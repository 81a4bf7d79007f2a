"""A device that is switched on: it boots into a random session, counts, measures and signs."""

import os
from typing import Final

from firmware_sim.envelope import Facts, Sealed, seal
from firmware_sim.keys import DeviceRecord
from firmware_sim.payload import encode_payload
from firmware_sim.signals import readings

SESSION_BYTES: Final = 8


class SimulatedDevice:
    """One device between boot and power cut.

    Attributes:
        record: its identity and key.
        session: 8 random bytes; a new boot is a new session.
        seq: the number that the next message will carry.
    """

    def __init__(self, record: DeviceRecord, seed: int, session: bytes | None = None, seq: int = 0) -> None:
        self.record = record
        self.session = os.urandom(SESSION_BYTES) if session is None else session
        self.seq = seq
        self._seed = seed

    def reboot(self) -> None:
        """Lose the session, as a power cut does."""
        self.session = os.urandom(SESSION_BYTES)
        self.seq = 0

    def measure(self, at_s: float) -> bytes:
        """The payload of this moment."""
        record = self.record
        return encode_payload(
            record.content_type,
            record.device_id,
            at_s,
            readings(record.domain, self._seed, record.device_id, at_s),
        )

    def facts(self, at_s: float) -> Facts:
        """The facts of the next message; the number is used up by this."""
        seq = self.seq
        self.seq += 1
        record = self.record
        return Facts(record.device_id, record.fleet, record.content_type, round(at_s, 3), self.session, seq)

    def speak(self, at_s: float) -> tuple[Facts, Sealed]:
        """Measure and sign: the next message of this device."""
        facts = self.facts(at_s)
        return facts, seal(self.record.encoding, self.record.key, facts, self.measure(at_s))
