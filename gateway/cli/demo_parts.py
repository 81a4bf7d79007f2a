"""The processes of the demo: broker, chain, gateway, fleet. Each is a child that ends with its parent, come what may.

A child is told to end by SIGTERM; one that does not is killed. When the demo itself is killed, a pipe closes that
every Python child watches, and it sends itself the SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from gateway.cli.output import plain

READY_S: Final = 60.0
_POLL_S: Final = 0.05
_LAST_LINES: Final = 12
_LOG_TAIL_BYTES: Final = 8192
_WATCHED: Final = """
import os, runpy, signal, sys, threading
def watch():
    while os.read(0, 64):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=watch, daemon=True).start()
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
_EMBEDDED: Final = """
import os, sys, threading
def watch():
    while os.read(0, 64):
        pass
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
from iotcore.iotcore import IotCoreBroker
IotCoreBroker(config_path=sys.argv[1]).run_forever()
"""


class DemoError(RuntimeError):
    """The demo cannot go on; the text says what happened and what to do, and shows the end of a child's output."""


class Child:
    """One child process and the file that its output goes to.

    Args:
        name: for people.
        command: program and arguments.
        output: where it writes.
        answers: where standard output goes instead.
        nice: how far it stands back when the machine is busy.
    """

    def __init__(
        self, name: str, command: Sequence[str | Path], output: Path, answers: Path | None = None, nice: int = 0
    ) -> None:
        self.name = name
        self._nice = nice
        self._command = [str(part) for part in command]
        self._output = output
        self._answers = output if answers is None else answers
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, in a session of its own, so that Ctrl-C reaches the demo alone.

        Raises:
            DemoError: there is no such program.
        """
        with self._output.open("ab") as output, self._answers.open("ab") as answers:
            try:
                self._process = subprocess.Popen(  # noqa: S603 -- our own interpreter, or a broker by its full path
                    self._command, stdin=subprocess.PIPE, stdout=answers, stderr=output, start_new_session=True
                )
            except OSError as error:
                raise DemoError(f"the {self.name} cannot be started: {error.strerror}") from None
        if self._nice:
            with contextlib.suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, self._nice)

    @property
    def is_started(self) -> bool:
        """Whether it was started, whatever became of it."""
        return self._process is not None

    def ended(self) -> int | None:
        """Its exit code; None while it runs."""
        return None if self._process is None else self._process.poll()

    def must_run(self) -> None:
        """Do nothing while it runs.

        Raises:
            DemoError: it has ended by itself.
        """
        code = self.ended()
        if code is not None:
            raise DemoError(f"the {self.name} ended with code {code}, which it should not have. {self.last_words()}")

    def ask_to_end(self) -> None:
        """Send SIGTERM; harmless when it has ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def end(self, within_s: float) -> int:
        """Ask it to end, wait, and return its exit code.

        Raises:
            DemoError: it did not end in time, and was killed.
        """
        if self._process is None:
            return 0
        self.ask_to_end()
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise DemoError(f"the {self.name} did not end within {within_s:g} s. {self.last_words()}") from None
        finally:
            self._close()

    def kill(self) -> None:
        """End it at once; harmless when it has ended."""
        if self._process is not None:
            if self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)  # its session is its own: its children go with it
                self._process.wait()
            self._close()

    def last_words(self) -> str:
        """The end of its output, fit for a terminal."""
        try:
            with self._output.open("rb") as file:
                file.seek(max(0, self._output.stat().st_size - _LOG_TAIL_BYTES))
                lines = file.read().decode("utf-8", "replace").splitlines()[-_LAST_LINES:]
        except OSError:
            lines = []
        if not lines:
            return "It said nothing."
        return "It said last:\n" + "\n".join(f"  {plain(line, 400)}" for line in lines)

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()


def python_child(  # noqa: PLR0913 -- one more than the child's
    name: str,
    module: str,
    arguments: Sequence[str | Path],
    output: Path,
    *,
    answers: Path | None = None,
    nice: int = 0,
) -> Child:
    """A child that runs ``python -m module arguments``."""
    return Child(name, [sys.executable, "-P", "-c", _WATCHED, module, *arguments], output, answers, nice)


def embedded_broker(folder: Path, port: int) -> Child:
    """The broker of the wheel ``iotcore``, rumqttd: MQTT 5, in memory (docs/adr/0085).

    Raises:
        DemoError: the wheel is not installed.
    """
    from importlib.util import find_spec  # noqa: PLC0415 -- for the demo alone

    if find_spec("iotcore") is None:
        raise DemoError(
            "the embedded broker is not installed: pip install 'securenet-gateway[demo]', or take --broker mosquitto"
        )
    config = folder / "broker.toml"
    config.write_text(
        f"""id = 0
[router]
id = 0
max_connections = 1024
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v5.1]
name = "demo"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 262144
max_inflight_count = 200
dynamic_filters = true
"""
    )
    return Child("broker", [sys.executable, "-P", "-c", _EMBEDDED, config], folder / "broker.log")


def mosquitto(folder: Path, port: int) -> Child:
    """The machine's own mosquitto, on loopback and without accounts: the attackers are meant to get through.

    Raises:
        DemoError: it is not installed.
    """
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise DemoError("mosquitto is not installed; --broker embedded needs nothing")
    config = folder / "mosquitto.conf"
    lines = [
        f"listener {port} 127.0.0.1",
        "allow_anonymous true",
        "persistence true",
        f"persistence_location {folder}/",
        "max_queued_messages 0",
        "max_inflight_messages 2048",
        "max_packet_size 200000",
        "set_tcp_nodelay true",
    ]
    if os.geteuid() == 0:
        lines.append("user root")
    config.write_text("\n".join(lines) + "\n")
    return Child("broker", [program, "-c", config], folder / "broker.log")


def wait_for_port(child: Child, port: int) -> None:
    """Wait until the child listens.

    Raises:
        DemoError: it has ended, or does not listen in time.
    """
    deadline_s = time.monotonic() + READY_S
    while time.monotonic() < deadline_s:
        child.must_run()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_POLL_S)
    raise DemoError(f"the {child.name} does not listen on port {port} after {READY_S:g} s. {child.last_words()}")


def free_ports() -> Mapping[str, int]:
    """Free ports on loopback, all different: TCP for ``mqtt``, ``authority`` and ``kubo``, UDP for ``coap``.

    Raises:
        DemoError: there is none.
    """
    found = {}
    try:
        with contextlib.ExitStack() as held:
            for name in ("mqtt", "authority", "kubo", "coap"):
                kind = socket.SOCK_DGRAM if name == "coap" else socket.SOCK_STREAM
                probe = held.enter_context(socket.socket(socket.AF_INET, kind))
                probe.bind(("127.0.0.1", 0))
                found[name] = int(probe.getsockname()[1])
    except OSError as error:
        raise DemoError(f"no port on 127.0.0.1: {error.strerror}") from None
    return found
