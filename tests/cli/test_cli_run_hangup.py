"""A reload that somebody asks for too early: the gateway is not there yet, and must still come up."""

import asyncio
import contextlib
import signal
import socket

from support.gateway import Gateway
from support.mosquitto import free_port


async def test_sighup_during_the_start_does_not_end_the_gateway(tmp_path):
    """A certificate's renewal hook, say. systemd takes an end by SIGHUP for a clean one, and leaves it at that."""
    gateway = Gateway(tmp_path, [], {"coap": {"host": "127.0.0.1", "port": free_port(socket.SOCK_DGRAM)}})
    gateway.start()
    process = gateway.process
    try:
        while process.poll() is None and not gateway.data.exists():
            await asyncio.sleep(0.001)
        while process.poll() is None and "gateway.started" not in gateway.log.read_text():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.001)
        assert process.poll() is None, f"ended by {process.returncode}"
        await gateway.ready()
        assert await gateway.stop() == 0
    finally:
        gateway.end()
