"""How readings become a payload: SenML (RFC 8428), plain JSON and CBOR maps with tensors, or opaque bytes."""

import json
import struct
from collections.abc import Sequence
from typing import Final

import cbor2

from firmware_sim.signals import Reading

SENML_JSON: Final = 110
SENML_CBOR: Final = 112
JSON: Final = 50
CBOR: Final = 60
OCTETS: Final = 42

# RFC 8428 §6, table 4: the integer labels of SenML CBOR.
_LABELS: Final = {"bn": -2, "bt": -3, "n": 0, "u": 1, "v": 2}


def encode_payload(content_type: int, device_id: str, at_s: float, readings: Sequence[Reading]) -> bytes:
    """Write readings as the content type says.

    Args:
        content_type: a CoAP content-format number of the formats page.
        device_id: becomes the base name of SenML.
        at_s: when they were taken, seconds since 1970.
        readings: what was measured.

    Raises:
        ValueError: the content type is none of the page's.
    """
    if content_type in {SENML_JSON, SENML_CBOR}:
        records = senml(device_id, at_s, readings)
        if content_type == SENML_JSON:
            return json.dumps(records, separators=(",", ":")).encode()
        return cbor2.dumps([{_LABELS[label]: value for label, value in record.items()} for record in records])
    if content_type == JSON:
        return json.dumps(plain(readings), separators=(",", ":")).encode()
    if content_type == CBOR:
        return cbor2.dumps(plain(readings))
    if content_type == OCTETS:
        return b"".join(struct.pack(">d", reading.value) for reading in readings)
    raise ValueError(f"content type {content_type} is none of the page's")


def senml(device_id: str, at_s: float, readings: Sequence[Reading]) -> list[dict[str, str | float]]:
    """A SenML pack: base name and base time in its first record."""
    records: list[dict[str, str | float]] = []
    for reading in readings:
        record: dict[str, str | float] = {"n": reading.name, "v": reading.value}
        if reading.unit:
            record["u"] = reading.unit
        records.append(record)
    if records:
        records[0] = {"bn": device_id + ":", "bt": round(at_s, 3), **records[0]}
    return records


def plain(readings: Sequence[Reading]) -> dict[str, object]:
    """A map of numbers with one nested map, and all values once more as a tensor."""
    values = {reading.name: reading.value for reading in readings}
    return {"now": values, "trace": [reading.value for reading in readings]}
