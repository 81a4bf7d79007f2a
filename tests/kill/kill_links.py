"""Links that can be cut in silence: packets vanish, no end learns of it by a RST or a FIN."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import pytest
from cryptography import x509
from support.certificates import Authority
from support.mosquitto import Mosquitto, free_port


class SilentProxy:
    """A TCP proxy, for anyone: while it is cut it forwards nothing and closes nothing; what it has goes on later."""

    prefix: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self.broker = Mosquitto(folder)
        self._port = free_port()
        self.settings: dict[str, object] = {"port": self._port}
        self._whole = asyncio.Event()
        self._whole.set()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def cut(self) -> None:
        """From now on nothing gets through."""
        self._whole.clear()

    async def mend(self) -> None:
        """Let everything through again."""
        self._whole.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        with contextlib.closing(writer):
            await self._whole.wait()
            there, away = await asyncio.open_connection("127.0.0.1", self.broker.port)
            with contextlib.closing(away), contextlib.suppress(OSError):
                ways = {asyncio.create_task(self._pump(*way)) for way in ((reader, away), (there, writer))}
                try:
                    done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                    for way in done:
                        way.result()
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._whole.wait()
            writer.write(data)
            await writer.drain()
        await self._whole.wait()


class VethLink:
    """A path of two links through a namespace that forwards, for root; cut, it drops every packet in both directions.

    The gateway runs in a namespace of its own (``prefix``) and reaches the broker over TLS, as the configuration
    demands for a password that leaves the machine. The addresses are of 198.18.0.0/15, which RFC 2544 keeps for tests
    of links. The drop is a packet queue of no length, which any kernel has, in the middle of the path: neither end
    can notice anything but silence.
    """

    def __init__(self, folder: Path) -> None:
        pid = os.getpid()
        self._net = f"198.18.{pid % 250}"
        self._middle, self._far = f"sn-mid-{pid}", f"sn-gw-{pid}"
        self._ends = [f"sn{pid % 1_000_000}{letter}" for letter in "abcd"]
        self.prefix = ("ip", "netns", "exec", self._far)
        host = f"{self._net}.1"
        Authority(folder / "tls").issue("broker", "broker", x509.IPAddress(ipaddress.ip_address(host)))
        self.broker = Mosquitto(folder, tls=folder / "tls")
        port = self.broker.tls_port
        conf = folder / "mosquitto.conf"
        conf.write_text(conf.read_text().replace(f"listener {port} 127.0.0.1", f"listener {port} {host}"))
        ca_file = str(folder / "tls" / "ca.crt")
        self.settings: dict[str, object] = {"host": host, "port": port, "tls": True, "ca_file": ca_file}

    async def __aenter__(self) -> Self:
        near, middle_near, middle_far, far = self._ends
        net, middle, gateway = self._net, self._middle, self._far
        for command in (
            f"ip netns add {middle}",
            f"ip netns add {gateway}",
            f"ip link add {near} type veth peer name {middle_near} netns {middle}",
            f"ip -n {middle} link add {middle_far} type veth peer name {far} netns {gateway}",
            f"ip addr add {net}.1/30 dev {near}",
            f"ip -n {middle} addr add {net}.2/30 dev {middle_near}",
            f"ip -n {middle} addr add {net}.5/30 dev {middle_far}",
            f"ip -n {gateway} addr add {net}.6/30 dev {far}",
            f"ip link set {near} up",
            f"ip -n {middle} link set {middle_near} up",
            f"ip -n {middle} link set {middle_far} up",
            f"ip -n {gateway} link set {far} up",
            f"ip -n {gateway} link set lo up",
            f"ip -n {gateway} route add default via {net}.5",
            f"ip route add {net}.4/30 via {net}.2",
            f"ip netns exec {middle} sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'",
        ):
            await _root(command)
        return self

    async def __aexit__(self, *_: object) -> None:
        for command in (f"ip netns del {self._far}", f"ip netns del {self._middle}", f"ip link del {self._ends[0]}"):
            with contextlib.suppress(subprocess.CalledProcessError):
                await _root(command)

    async def cut(self) -> None:
        """From now on nothing gets through."""
        for end in self._ends[1:3]:
            await _root(f"tc -n {self._middle} qdisc add dev {end} root bfifo limit 0")

    async def mend(self) -> None:
        """Let everything through again."""
        for end in self._ends[1:3]:
            await _root(f"tc -n {self._middle} qdisc del dev {end} root")


Link = SilentProxy | VethLink


@contextlib.asynccontextmanager
async def linked(kind: str, folder: Path) -> AsyncIterator[Link]:
    """Start a broker behind a link of this kind, ``proxy`` or ``namespace``."""
    link: Link = SilentProxy(folder) if kind == "proxy" else VethLink(folder)
    try:
        async with link:
            link.broker.start()
            yield link
    finally:
        link.broker.stop()


def need_namespaces() -> None:
    """Skip without root or iproute2; what root cannot do in CI is a failure."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root; the proxy's variant of this test needs nothing")
    if shutil.which("ip") is not None and shutil.which("tc") is not None:
        probe = f"sn-probe-{os.getpid()}"
        made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
        if made.returncode == 0:
            subprocess.run(["ip", "netns", "del", probe], check=True)
            return
        why = f"network namespaces cannot be made here: {made.stderr.strip()}"
    else:
        why = "iproute2 is not installed"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


async def _root(command: str) -> None:
    process = await asyncio.create_subprocess_shell(
        command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, said)
