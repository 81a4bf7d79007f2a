"""The gateway's own process against the end of systemd: a datagram socket, and the variables that name it."""

import asyncio
import itertools
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from support.gateway import Gateway, secret_file
from support.mosquitto import ACCOUNTS, Mosquitto, free_port

WITHIN_S = 2.0


class Manager:
    """Hears what the service says; a peer's process id comes with each message, as systemd sees it."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind(str(path))
        self.heard = []

    def hear(self):
        while True:
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:
                return self.heard
            self.heard.append((time.monotonic(), data.decode().split("\n")))

    def count(self, field):
        return sum(field in fields for _at, fields in self.hear())

    async def until(self, field, times=1, timeout_s=30.0):
        deadline = time.monotonic() + timeout_s
        while self.count(field) < times:
            assert time.monotonic() < deadline, self.heard
            await asyncio.sleep(0.02)

    def statuses(self):
        return [
            field.removeprefix("STATUS=") for _at, fields in self.hear() for field in fields if "STATUS=" in field
        ]


@pytest.fixture
def manager(tmp_path, monkeypatch):
    manager = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", str(int(WITHIN_S * 1_000_000)))
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    yield manager
    manager.socket.close()


def gateway_of(folder, **sections):
    return Gateway(folder / "gw", [], {"coap": {"host": "::1", "port": free_port(socket.SOCK_DGRAM)}, **sections})


def worker_of(pid):
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"gateway.crypto.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError("no signature worker")


async def test_ready_is_said_when_messages_can_be_taken_and_a_reload_and_the_stop_as_systemd_wants_them(
    manager, tmp_path
):
    gateway = gateway_of(tmp_path)
    gateway.start()
    try:
        await manager.until("READY=1")
        assert (await gateway.status())["ready"]
        assert manager.statuses()[0] == "opens its journal"
        assert manager.statuses()[-1] == "takes messages over coap"
        await manager.until("WATCHDOG=1", times=3)
        gateway.process.send_signal(signal.SIGHUP)
        await manager.until("READY=1", times=2)
        order = [field for _at, fields in manager.hear() for field in fields if field in {"RELOADING=1", "READY=1"}]
        assert order == ["READY=1", "RELOADING=1", "READY=1"]
        assert await gateway.stop() == 0
        assert manager.count("STOPPING=1") == 1
    finally:
        gateway.end()


async def test_a_part_that_hangs_starves_the_watchdog_and_feeds_it_again_when_it_is_back(manager, tmp_path):
    gateway = gateway_of(tmp_path)
    gateway.start()
    try:
        await manager.until("READY=1")
        worker = worker_of(gateway.process.pid)
        os.kill(worker, signal.SIGSTOP)
        await asyncio.sleep(WITHIN_S)
        fed = manager.count("WATCHDOG=1")
        await asyncio.sleep(2 * WITHIN_S)
        assert manager.count("WATCHDOG=1") == fed
        assert [event["part"] for event in gateway.events("watchdog.part_silent")] == ["crypto"]
        os.kill(worker, signal.SIGCONT)
        await manager.until("WATCHDOG=1", times=fed + 2)
        assert [event["part"] for event in gateway.events("watchdog.part_back")] == ["crypto"]
    finally:
        gateway.end()


@pytest.mark.broker
async def test_while_the_broker_is_away_the_start_is_prolonged_and_what_is_waited_for_is_said(
    manager, tmp_path, monkeypatch
):
    broker = Mosquitto(tmp_path / "broker")
    mqtt = {
        "port": broker.port,
        "username": "gateway",
        "password_file": secret_file(tmp_path, ACCOUNTS["gateway"]),
        "reconnect_max_s": 1.0,
    }
    gateway = gateway_of(tmp_path, mqtt=mqtt)
    gateway.start()
    try:
        await manager.until(f"EXTEND_TIMEOUT_USEC={int(WITHIN_S * 1_000_000)}", times=3)
        assert manager.count("READY=1") == 0
        assert any(words.startswith("waits: mqtt is ") for words in manager.statuses())
        fed = [at for at, fields in manager.hear() if "WATCHDOG=1" in fields]
        longest = max(later - earlier for earlier, later in itertools.pairwise(fed))
        assert longest < WITHIN_S
        monkeypatch.delenv("NOTIFY_SOCKET")  # mosquitto would say READY=1, too
        broker.start()
        await manager.until("READY=1")
        assert manager.statuses()[-1] == "takes messages over coap, mqtt"
    finally:
        gateway.end()
        broker.kill()
