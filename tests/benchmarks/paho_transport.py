"""The rival of ``gateway.transport.mqtt``: the same port on paho-mqtt 2 with manual acknowledgement (docs/adr/0040).

Two ways to run paho: ``loop`` (the event loop watches its socket, no message changes threads) and ``thread`` (paho's
own thread, messages handed over in bunches). It leaves out what the comparison does not need (held filters, TLS,
status, jitter): in paho's favour.

    python tests/benchmarks/paho_transport.py             # the comparison: both, in turn, three times
    python tests/benchmarks/paho_transport.py --gateway FILE   # a gateway on paho, for the comparison itself
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import paho.mqtt.client as paho
from benchmarks.stack import Stack
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway import app
from gateway.config.load import load_config
from gateway.config.model import MqttConfig
from gateway.message import Outcome, Pushback, RawMessage
from gateway.transport.media_type import declared_encoding
from gateway.transport.port import Intake, LinkState, LinkStatus
from gateway.transport.topics import parse_up, receipt_topic, response_topic, up_filter

MESSAGES = int(os.environ.get("MESSAGES", "40000"))
ROUNDS = 3


class PahoTransport:
    """Implements ``Transport``; takes the same arguments as ``MqttTransport``."""

    name = "mqtt"

    def __init__(self, config: MqttConfig, *, fleet: str, gateway_id: str, password: bytes | None, **_: Any) -> None:
        self._config = config
        self._wanted = up_filter(fleet, config.share_group)
        self._client_id = config.client_id or f"securenet-{gateway_id}"
        self._password = password
        self._closing = asyncio.Event()
        self._status = LinkStatus(LinkState.STOPPED, 0.0, "not started")
        self._counters = {"received": 0, "acknowledged": 0}
        self._intake: Intake | None = None
        self._loop: asyncio.AbstractEventLoop
        self._bunch: list[paho.MQTTMessage] = []

    async def run(self, intake: Intake) -> None:
        self._intake, config = intake, self._config
        loop = asyncio.get_running_loop()
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, self._client_id, protocol=paho.MQTTv5, manual_ack=True)
        client.username_pw_set(config.username or None, (self._password or b"").decode())
        client.max_inflight_messages_set(0)
        client.max_queued_messages_set(0)
        client.on_message = self._on_message
        client.on_connect = lambda c, *_: c.subscribe(self._wanted, 1)
        client.on_subscribe = self._on_subscribe
        wanted = Properties(PacketTypes.CONNECT)
        wanted.SessionExpiryInterval = config.session_expiry_s
        wanted.ReceiveMaximum = config.receive_maximum
        if os.environ.get("PAHO") == "thread":
            self._loop = loop
            client.on_message = self._on_thread_message
            client.connect(config.host, config.port, config.keepalive_s, clean_start=False, properties=wanted)
            client.loop_start()
            await self._closing.wait()
            client.disconnect()
            client.loop_stop()
            return
        client.on_socket_open = lambda _c, _u, sock: loop.add_reader(sock, client.loop_read)
        client.on_socket_close = lambda _c, _u, sock: loop.remove_reader(sock)
        client.on_socket_register_write = lambda _c, _u, sock: loop.add_writer(sock, client.loop_write)
        client.on_socket_unregister_write = lambda _c, _u, sock: loop.remove_writer(sock)
        client.connect(config.host, config.port, config.keepalive_s, clean_start=False, properties=wanted)
        while not self._closing.is_set():
            client.loop_misc()
            await asyncio.sleep(1)
        client.disconnect()

    def _on_thread_message(self, client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        self._bunch.append(message)
        if len(self._bunch) == 1:
            self._loop.call_soon_threadsafe(self._hand_over, client)

    def _hand_over(self, client: paho.Client) -> None:
        bunch, self._bunch = self._bunch, []
        for message in bunch:
            self._on_message(client, None, message)

    def _on_subscribe(self, *_: Any) -> None:
        self._status = LinkStatus(LinkState.UP, time.monotonic(), "subscribed")

    def _on_message(self, client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        up = parse_up(message.topic)
        if up is None or self._intake is None:
            return
        self._counters["received"] += 1
        properties = message.properties
        base = receipt_topic(*up)
        topic = response_topic(getattr(properties, "ResponseTopic", None), base) or base
        correlation = getattr(properties, "CorrelationData", None)

        def reply(outcome: Outcome) -> None:
            if isinstance(outcome, Pushback):
                return
            client.ack(message.mid, 1)
            self._counters["acknowledged"] += 1
            if outcome.receipt is not None:
                echoed = None
                if correlation is not None:
                    echoed = Properties(PacketTypes.PUBLISH)
                    echoed.CorrelationData = correlation
                client.publish(topic, outcome.receipt, 1, properties=echoed)

        self._intake.offer(
            RawMessage(
                message.payload,
                "mqtt",
                up.device,
                time.time_ns() // 1_000_000,
                reply,
                up.fleet,
                up.device,
                declared_encoding(getattr(properties, "ContentType", None)),
            )
        )

    def stop_intake(self) -> None:
        pass

    async def close(self) -> None:
        self._closing.set()

    def status(self) -> LinkStatus:
        return self._status

    def counters(self) -> dict[str, int]:
        return dict(self._counters)


def compare() -> None:
    runs: dict[str, list[dict[str, Any]]] = {"mqttium": [], "paho-loop": [], "paho-thread": []}
    for number in range(ROUNDS):
        for name, each in runs.items():
            with tempfile.TemporaryDirectory(prefix="securenet-paho-") as folder:
                stack = Stack(Path(folder), 2000)
                if name.startswith("paho"):
                    start_on_paho(stack, name.removeprefix("paho-"))
                else:
                    stack.start()
                try:
                    run = stack.load("--messages", str(MESSAGES), "--devices", "2000")
                finally:
                    stack.stop()
            each.append(run)
            print(number, name, run["per_s"], run["receipts"], run["cpu_us_per_message"], file=sys.stderr)
    medians = {
        name: {
            "per_s": statistics.median(run["per_s"] for run in each),
            "gateway_cpu_us": statistics.median(run["cpu_us_per_message"]["gateway"] for run in each),
        }
        for name, each in runs.items()
    }
    best = max(each["per_s"] for name, each in medians.items() if name != "mqttium")
    print(
        json.dumps({"runs": runs, "medians": medians, "gain": round(medians["mqttium"]["per_s"] / best, 2)}, indent=2)
    )


def start_on_paho(stack: Any, how: str) -> None:
    """``Stack.start`` with this file as the gateway's command."""
    real = subprocess.Popen

    def popen(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        if "gateway" in command:
            command = [sys.executable, __file__, "--gateway", command[-1]]
            options["env"] = os.environ | {"PAHO": how}
        return real(command, **options)

    subprocess.Popen = popen  # type: ignore[assignment, misc]
    try:
        stack.start()
    finally:
        subprocess.Popen = real  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", type=Path)
    options = parser.parse_args()
    if options.gateway is None:
        compare()
        return
    app.MqttTransport = PahoTransport  # type: ignore[assignment, misc]
    asyncio.run(app.run(load_config(options.gateway)))


if __name__ == "__main__":
    main()
