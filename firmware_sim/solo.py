"""`python -m firmware_sim.solo`: one device and its story, over MQTT: a camera of digits, or a bearing that fails.

Every message's line in the record says by its `kind` what the message was: `digit-7`, `before`, `fault`. Exit codes
are those of `firmware_sim.cli`.
"""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import cbor2
import click

from firmware_sim import bearing, digits
from firmware_sim import keys as fleet_keys
from firmware_sim.carriers import CarrierError, MqttCarrier, MqttOptions
from firmware_sim.cli import EXIT_TRANSPORT, EXIT_USAGE, EXIT_WRONG
from firmware_sim.device import SimulatedDevice
from firmware_sim.envelope import Facts, seal
from firmware_sim.keys import DeviceRecord
from firmware_sim.ledger import ACCEPTED, Ledger, Outgoing
from firmware_sim.payload import CBOR, SENML_CBOR, SENML_JSON, encode_payload
from firmware_sim.receipt import ReceiptVerifier
from firmware_sim.report import Recorder, report_of
from firmware_sim.signals import Reading

LOOK_EVERY_S: Final = 0.5
READ_EVERY_S: Final = 0.125
_AGAIN_S: Final = 1.0
_PATH: Final = click.Path(path_type=Path)
_EXPECTED: Final = frozenset({ACCEPTED})


class Said(NamedTuple):
    """What a device says next: what of the story it is, and after how long."""

    kind: str
    content_type: int
    payload: bytes
    after_s: float


def camera() -> Iterator[Said]:
    """Images for ever, each as the tensor reading `image`."""
    for number in count():
        digit, image = digits.shown(number)
        yield Said(f"digit-{digit}", CBOR, cbor2.dumps({"image": image}), LOOK_EVERY_S if number else 0.0)


def sensor(record: DeviceRecord, filling: int, burst: int, rate: float) -> Iterator[Said]:
    """A bearing's readings, each as `value`: what fills a detector's window as fast as may be, then the story.

    Args:
        record: the device.
        filling: how many readings the detector learns from before it judges.
        burst: how many may go at once.
        rate: how many go in a second after that, as long as the window fills.
    """
    content_type = SENML_CBOR if record.encoding == "cose" else SENML_JSON
    for number in range(bearing.readings(filling)):
        stretch = bearing.stretch(number, filling)
        celsius = bearing.temperature(record.device_id, number, filling)
        payload = encode_payload(content_type, record.device_id, time.time(), (Reading("value", "Cel", celsius),))
        filling_s = 0.0 if number < burst else 1 / rate
        yield Said(stretch, content_type, payload, filling_s if stretch == "filling" else READ_EVERY_S)


class Solo:
    """One device's run.

    Args:
        record: the device.
        options: the broker.
        ledger: counts, checks receipts, writes the record.
    """

    def __init__(self, record: DeviceRecord, options: MqttOptions, ledger: Ledger) -> None:
        self._device = SimulatedDevice(record, 0)
        self._ledger = ledger
        self._carrier = MqttCarrier(options, record.fleet, ledger, lambda _message: None, self._unheard)
        self._stop = asyncio.Event()
        self.elapsed_s = 0.0

    async def run(self, story: Iterator[Said], drain_s: float) -> None:
        """Connect, tell the story, wait for the last answers.

        Raises:
            CarrierError: the broker did not come up.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        self._carrier.add([self._device.record], "solo")
        try:
            await self._carrier.start(1)
            began_s = due_s = time.monotonic()
            for said in story:
                due_s += said.after_s
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), max(0.0, due_s - time.monotonic()))
                if self._stop.is_set():
                    break
                self._say(said)
            self.elapsed_s = time.monotonic() - began_s
            await self._drain(time.monotonic() + drain_s)
        finally:
            self._ledger.close()
            await self._carrier.stop()

    async def _drain(self, deadline_s: float) -> None:
        while True:
            if not self._ledger.open_count or time.monotonic() > deadline_s:
                return
            await asyncio.sleep(0.05)

    def _say(self, said: Said) -> None:
        facts = self._device.facts(time.time())
        record = self._device.record
        facts = Facts(facts.device_id, facts.fleet, said.content_type, facts.issued_at, facts.session, facts.seq)
        sealed = seal(record.encoding, record.key, facts, said.payload)
        message = Outgoing(
            sender=record.device_id,
            device_id=record.device_id,
            session=facts.session,
            seq=facts.seq,
            digest=sealed.digest,
            data=sealed.data,
            encoding=record.encoding,
            kind=said.kind,
            expected=_EXPECTED,
            via="mqtt",
            topic_device=record.device_id,
        )
        self._ledger.enter(message, time.time_ns() // 1_000_000, time.monotonic())
        self._carrier.send(message)

    def _unheard(self, message: Outgoing) -> None:
        asyncio.get_running_loop().call_later(_AGAIN_S, self._carrier.send, message)


@click.command()
@click.argument("what", type=click.Choice(["camera", "sensor"]))
@click.option("--keys", "key_file", type=_PATH, required=True, help="A key file; its first device is the one.")
@click.option("--mqtt", "broker", required=True, help="The broker: host:port.")
@click.option("--log-key", required=True, help="The gateway's log key, name+hash+base64.")
@click.option(
    "--filling", type=click.IntRange(1), default=511, show_default=True, help="Readings that fill a window."
)
@click.option("--burst", type=click.IntRange(1), default=80, show_default=True, help="Readings at once.")
@click.option("--rate", type=click.FloatRange(0.1), default=15.0, show_default=True, help="Then, a second.")
@click.option("--drain", type=click.FloatRange(min=0), default=5.0, show_default=True, help="Seconds.")
@click.option("--record", "record_file", type=_PATH, help="One JSON line a message.")
@click.option("--report", "report_file", type=_PATH, help="Write the JSON report here.")
def main(  # noqa: PLR0913 - one argument an option
    *,
    what: str,
    key_file: Path,
    broker: str,
    log_key: str,
    filling: int,
    burst: int,
    rate: float,
    drain: float,
    record_file: Path | None,
    report_file: Path | None,
) -> None:
    """Be one device: a camera until SIGTERM, or a sensor until its story is told."""
    host, _, port = broker.rpartition(":")
    try:
        device = fleet_keys.load(key_file).devices[0]
        verifier = ReceiptVerifier(fleet_keys.parse_log_key(log_key))
        options = MqttOptions(host, int(port))
    except (fleet_keys.KeyFileError, IndexError, ValueError) as fault:
        _leave(EXIT_USAGE, f"{fault}: give --keys, --log-key and --mqtt host:port")
    story = camera() if what == "camera" else sensor(device, filling, burst, rate)
    try:
        with Recorder(record_file) as recorder:
            ledger = Ledger(verifier, recorder.write)
            solo = Solo(device, options, ledger)
            asyncio.run(solo.run(story, drain))
            report = report_of(ledger, solo.elapsed_s)
        if report_file is not None:
            report_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except CarrierError as fault:
        _leave(EXIT_TRANSPORT, str(fault))
    except OSError as fault:
        _leave(EXIT_USAGE, f"{fault.filename or 'a file'}: {fault.strerror}")
    if report["receipts_bad"] or report["rejected"]:
        sys.exit(EXIT_WRONG)


def _leave(code: int, words: str) -> NoReturn:
    click.echo(words, err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
