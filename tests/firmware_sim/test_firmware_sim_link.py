"""A device's MQTT link against a broker that answers what it is told to, packet by packet."""

import asyncio

import pytest

from firmware_sim import mqtt_packets as wire
from firmware_sim.mqtt_link import BrokerAddress, MqttLink

FILTER = "securenet/v1/villa/home-1/receipt"
SESSION_PRESENT = bytes((1, 0, 0))


class Broker:
    """Knows the session of whoever connects, and closes the first so many connections at SUBSCRIBE."""

    def __init__(self, failures):
        self.failures = failures
        self.subscriptions = []

    async def serve(self, reader, writer):
        packets = wire.PacketReader()
        while data := await reader.read(4096):
            for kind, _flags, body in packets.feed(data):
                if kind == wire.CONNECT:
                    writer.write(wire.packet(wire.CONNACK << 4, SESSION_PRESENT))
                elif kind == wire.SUBSCRIBE and len(self.subscriptions) < self.failures:
                    self.subscriptions.append("lost")
                    writer.close()
                    return
                elif kind == wire.SUBSCRIBE:
                    self.subscriptions.append("granted")
                    writer.write(wire.packet(wire.SUBACK << 4, body[:2] + bytes((0, 1))))
        writer.close()


@pytest.mark.parametrize("failures", [0, 1, 2])
async def test_a_link_is_connected_only_when_its_subscription_was_granted(failures):
    broker = Broker(failures)
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    address = BrokerAddress("127.0.0.1", server.sockets[0].getsockname()[1])
    link = MqttLink(address, wire.ConnectOptions("home-1"), [FILTER], lambda _t, _c: None, lambda _d: None)
    task = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(10):
            await link.connected.wait()
        assert broker.subscriptions == ["lost"] * failures + ["granted"]
    finally:
        link.stop()
        await task
        server.close()
        await server.wait_closed()
