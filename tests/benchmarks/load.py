"""A load generator that costs as little as Python allows, so that it can share two cores with what it measures.

Everything is signed and framed before the clock starts. It speaks just enough MQTT 5: CONNECT, SUBSCRIBE, PUBLISH
at QoS 1, PUBACK. Receipts are matched by Correlation Data, four bytes that count the messages. It prints one JSON
object.

    python tests/benchmarks/load.py --port 1883 --username bench --password … --keys keys.json --fleet f \\
        --messages 100000 --devices 2000 --outstanding 2000            # as fast as receipts come back
    … --rate 1000                                                        # open loop at a rate
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import struct
import sys
import time
from array import array
from pathlib import Path

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

WINDOW_S = 1.0


def cbor_bytes(data: bytes) -> bytes:
    if len(data) < 24:
        return bytes([0x40 | len(data)]) + data
    return (b"\x58" + bytes([len(data)]) if len(data) < 256 else b"\x59" + struct.pack(">H", len(data))) + data


def cbor_text(text: str) -> bytes:
    data = text.encode()
    return (bytes([0x60 | len(data)]) if len(data) < 24 else b"\x78" + bytes([len(data)])) + data


def envelope(device: str, fleet: str, secret: bytes, session: bytes, seq: int, payload: bytes) -> bytes:
    claims = (
        b"\xa3\x03"
        + cbor_text(fleet)
        + b"\x06\xfb"
        + struct.pack(">d", time.time())
        + b"\x07\x50"
        + session
        + struct.pack(">Q", seq)
    )
    protected = b"\xa4\x01\x27\x03\x18\x6e\x04" + cbor_bytes(device.encode()) + b"\x0f" + claims
    middle = cbor_bytes(protected)
    tail = cbor_bytes(payload)
    signature = crypto_sign(b"\x84\x6aSignature1" + middle + b"\x40" + tail, secret)[:64]
    return b"\xd2\x84" + middle + b"\xa0" + tail + b"\x58\x40" + signature


def varint(number: int) -> bytes:
    out = bytearray()
    while True:
        number, byte = number >> 7, number & 0x7F
        out.append(byte | 0x80 if number else byte)
        if not number:
            return bytes(out)


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack(">H", len(data)) + data


def publish_packet(topic: str, number: int, payload: bytes) -> bytes:
    properties = b"\x09\x00\x04" + struct.pack(">I", number)
    body = string(topic) + struct.pack(">H", number % 65535 + 1) + varint(len(properties)) + properties + payload
    return b"\x32" + varint(len(body)) + body


class Client(asyncio.Protocol):
    """Publishes prepared packets, keeps at most ``outstanding`` of them without a receipt."""

    def __init__(self, packets: list[bytes], options: argparse.Namespace) -> None:
        self.packets = packets
        self.options = options
        self.sent_at = array("d", bytes(8 * len(packets)))
        self.receipt_at = array("d", bytes(8 * len(packets)))
        self.next = 0
        self.receipts = 0
        self.pubacks = 0
        self.ready = asyncio.get_running_loop().create_future()
        self.done = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.writable = True
        self.receive_maximum = 65535

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        o = self.options
        properties = b"\x21" + struct.pack(">H", 65535)
        flags = 0x02 | (0xC0 if o.username else 0)
        body = (
            string("MQTT") + b"\x05" + bytes([flags]) + struct.pack(">H", 60) + varint(len(properties)) + properties
        )
        body += string(f"load-{secrets.token_hex(4)}")
        if o.username:
            body += string(o.username) + string(o.password)
        self.transport.write(b"\x10" + varint(len(body)) + body)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.ready, self.done):
            if not future.done():
                future.set_exception(exc or ConnectionError("the broker closed the connection"))

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self.pump()

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer + data if self.buffer else data
        at, end, now = 0, len(buffer), time.perf_counter()
        while end - at >= 2:
            length, shift, head = 0, 0, at + 1
            while head < end:
                byte = buffer[head]
                head += 1
                length |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80:
                    break
            else:
                break
            if head + length > end:
                break
            self.packet(buffer[at], buffer[head : head + length], now)
            at = head + length
        self.buffer = buffer[at:]
        if self.options.rate is None:
            self.pump()

    def packet(self, kind: int, body: bytes, now: float) -> None:
        if kind & 0xF0 == 0x40:
            self.pubacks += 1
        elif kind & 0xF0 == 0x30:
            at = 2 + int.from_bytes(body[:2], "big")
            if kind & 0x06:
                self.transport.write(b"\x40\x02" + body[at : at + 2])
                at += 2
            properties = body[at + 1 : at + 1 + body[at]]
            mark = properties.find(b"\x09\x00\x04")
            number = int.from_bytes(properties[mark + 3 : mark + 7], "big")
            if self.receipt_at[number] == 0.0:
                self.receipt_at[number] = now
                self.receipts += 1
                if self.receipts == len(self.packets):
                    self.done.set_result(None)
        elif kind & 0xF0 == 0x20:
            if body[1]:
                raise SystemExit(f"the broker refused the connection: 0x{body[1]:02x}")
            properties = body[3:]
            if (mark := properties.find(b"\x21")) == 0:
                self.receive_maximum = int.from_bytes(properties[1:3], "big")
            topic = f"securenet/v1/{self.options.fleet}/+/receipt"
            body = struct.pack(">H", 1) + b"\x00" + string(topic) + b"\x00"
            self.transport.write(b"\x82" + varint(len(body)) + body)
        elif kind & 0xF0 == 0x90:
            if body[-1] >= 0x80:
                raise SystemExit("the broker refused the subscription")
            self.ready.set_result(None)

    def pump(self, limit: int | None = None) -> None:
        """Send what the window allows, in one write."""
        if not self.writable:
            return
        last = min(
            len(self.packets),
            self.receipts + self.options.outstanding,
            self.pubacks + self.receive_maximum,
            len(self.packets) if limit is None else limit,
        )
        if last - self.next < (32 if limit is None and last < len(self.packets) else 1):
            return
        now = time.perf_counter()
        for number in range(self.next, last):
            self.sent_at[number] = now
        self.transport.write(b"".join(self.packets[self.next : last]))
        self.next = last

    async def open_loop(self, rate: float) -> None:
        start = time.perf_counter()
        while self.next < len(self.packets):
            self.pump(int((time.perf_counter() - start) * rate) + 1)
            await asyncio.sleep(max(0.0, start + (self.next + 1) / rate - time.perf_counter()))


def prepare(options: argparse.Namespace) -> list[bytes]:
    """Sign and frame every message, devices in random order, numbers rising within each device."""
    keys = list(json.loads(Path(options.keys).read_text()).items())[options.first : options.first + options.devices]
    rng = random.Random(options.seed)
    secrets_of = {device: crypto_sign_seed_keypair(bytes.fromhex(seed))[1] for device, seed in keys}
    sessions = {device: secrets.token_bytes(8) for device, _ in keys}
    numbers = dict.fromkeys(secrets_of, 0)
    packets = []
    for number in range(options.messages):
        device = keys[number % len(keys)][0]
        numbers[device] += 1
        payload = json.dumps(
            [
                {"bn": device, "n": "temp", "u": "Cel", "v": round(rng.gauss(21, 2), 2)},
                {"n": "hum", "u": "%RH", "v": round(rng.gauss(45, 5), 2)},
            ],
            separators=(",", ":"),
        ).encode()
        signed = envelope(device, options.fleet, secrets_of[device], sessions[device], numbers[device], payload)
        packets.append(publish_packet(f"securenet/v1/{options.fleet}/{device}/up", number, signed))
    return packets


async def run(options: argparse.Namespace) -> dict[str, float]:
    packets = prepare(options)
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: Client(packets, options), options.host, options.port)
    await client.ready
    if options.wait_for_go:
        print("ready", flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
    start = time.perf_counter()
    if options.rate is None:
        client.pump()
    else:
        await client.open_loop(options.rate)
    try:
        await asyncio.wait_for(client.done, options.timeout)
    except TimeoutError:
        pass
    end = max(client.receipt_at) or time.perf_counter()
    latencies = sorted(
        1000 * (got - sent) for sent, got in zip(client.sent_at, client.receipt_at, strict=True) if got
    )
    client.connection_lost = lambda exc: None  # type: ignore[method-assign]
    client.transport.close()
    return {
        "messages": len(packets),
        "message_bytes": len(packets[0]),
        "receipts": client.receipts,
        "seconds": round(end - start, 3),
        "per_s": round(client.receipts / (end - start), 1),
        "p50_ms": round(latencies[len(latencies) // 2], 2),
        "p99_ms": round(latencies[int(len(latencies) * 0.99)], 2),
        "max_ms": round(latencies[-1], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--username", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--fleet", required=True)
    parser.add_argument("--keys", required=True, help="JSON: device id → Ed25519 seed, hex")
    parser.add_argument("--devices", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--outstanding", type=int, default=2000)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=120)
    parser.add_argument("--wait-for-go", action="store_true")
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
