"""The control socket: how the CLI asks a running gateway.

A unix socket in the data directory, for the gateway's own user and group. One connection carries one request, a JSON
object on one line (``{"command": "status", …}``), and one answer, likewise: ``{"ok": true, "result": …}`` or
``{"ok": false, "error": …}``. Sizes, times and the number of connections are bounded; a peer that breaks a bound is
cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

from gateway.jsontext import require_shallow

CONTROL_SOCKET: Final = "control.sock"
"""The socket's name in the data directory."""

MAX_REQUEST_BYTES: Final = 65536
MAX_ANSWER_BYTES: Final = 4 << 20
MAX_CONNECTIONS: Final = 16
TIMEOUT_S: Final = 5.0
_MODE: Final = 0o660
_MAX_SOCKET_PATH_BYTES: Final = 107

Handler = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class ControlError(Exception):
    """The control socket cannot be opened, or another gateway answers on it."""


class NoGatewayError(Exception):
    """Nothing answers on the socket: no gateway runs there, or it hangs."""


class RequestRefusedError(Exception):
    """The gateway answered, and said no; the text says why."""


class ControlServer:
    """Answers requests by ``handlers``, from ``start`` (or ``async with``) to ``close``.

    A handler gets the whole request object, is called on the event loop, and returns what JSON can hold. One that
    takes longer than 5 s is cancelled.
    """

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        self._handlers = dict(handlers)
        self._server: asyncio.Server | None = None
        self._inode: tuple[int, int] | None = None
        self._connections = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen. A socket file that a dead gateway left behind is replaced.

        Raises:
            ControlError: another gateway answers there, or the socket cannot be made.
        """
        if self._server is not None:
            raise RuntimeError("the control server was started twice")
        await _remove_stale(self._path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _at(self._path) as address:
                listener.bind(address)
            self._path.chmod(_MODE)
            status = self._path.stat()
            self._inode = (status.st_dev, status.st_ino)
            self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_REQUEST_BYTES)
        except OSError as error:
            listener.close()
            raise ControlError(f"cannot listen on {self._path}: {error.strerror or error}") from None

    async def close(self) -> None:
        """Stop listening and remove the socket file, if it is still ours. May be called twice."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        with contextlib.suppress(OSError):
            status = self._path.lstat()
            if (status.st_dev, status.st_ino) == self._inode:
                self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= MAX_CONNECTIONS:
            writer.close()
            return
        self._connections += 1
        try:
            async with asyncio.timeout(TIMEOUT_S):
                line = await reader.readline()
            writer.write(_line(await self._answer(line)))
            async with asyncio.timeout(TIMEOUT_S):
                await writer.drain()
        except (TimeoutError, ValueError, OSError):
            pass  # too slow, too long, or gone: there is nobody to tell
        finally:
            self._connections -= 1
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(require_shallow(line.decode("utf-8")))
        except ValueError:
            return {"ok": False, "error": "the request is not JSON"}
        if not isinstance(request, dict) or not isinstance(request.get("command"), str):
            return {"ok": False, "error": "the request names no command"}
        handler = self._handlers.get(request["command"])
        if handler is None:
            return {"ok": False, "error": f"commands are {', '.join(sorted(self._handlers))}"}
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return {"ok": True, "result": await handler(request)}
        except TimeoutError:
            return {"ok": False, "error": "the gateway is too busy to answer"}


async def request(path: Path, command: str, **arguments: object) -> dict[str, Any]:
    """Ask the gateway that listens on ``path``.

    Returns:
        The handler's result.

    Raises:
        NoGatewayError: nothing answers, or not in time, or not in our language.
        RequestRefusedError: the gateway said no.
    """
    try:
        async with asyncio.timeout(2 * TIMEOUT_S):
            line = await _ask(path, _line({"command": command, **arguments}))
        answer = json.loads(line.decode("utf-8"))
    except TimeoutError:
        raise NoGatewayError(f"the gateway on {path} does not answer in {2 * TIMEOUT_S:g} s") from None
    except PermissionError:
        raise NoGatewayError(f"you may not use {path}; run as the gateway's user, or join its group") from None
    except OSError as error:
        raise NoGatewayError(f"no gateway answers on {path} ({error.strerror or error})") from None
    except (ValueError, RecursionError):
        raise NoGatewayError(f"what answers on {path} is no gateway, or of another version") from None
    if not isinstance(answer, dict) or "ok" not in answer:
        raise NoGatewayError(f"what answers on {path} is no gateway, or of another version")
    if not answer["ok"]:
        raise RequestRefusedError(str(answer.get("error", "")))
    result = answer.get("result")
    return dict(result) if isinstance(result, dict) else {}


async def _ask(path: Path, question: bytes) -> bytes:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        with _at(path) as address:
            await asyncio.get_running_loop().sock_connect(sock, address)
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=MAX_ANSWER_BYTES)
    except BaseException:
        sock.close()
        raise
    try:
        writer.write(question)
        await writer.drain()
        return await reader.readline()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _remove_stale(path: Path) -> None:
    if not _is_socket(path):
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.settimeout(0)
        with _at(path) as address:
            await asyncio.get_running_loop().sock_connect(probe, address)
    except ConnectionRefusedError:
        _unlink(path)
    except OSError as error:
        raise ControlError(f"cannot use {path}: {error.strerror}") from None
    else:
        raise ControlError(f"another gateway answers on {path}; one gateway to a data directory")
    finally:
        probe.close()


def _is_socket(path: Path) -> bool:
    """Whether a socket file is in the way; anything else that is there is a ControlError."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ControlError(f"cannot use {path}: {error.strerror}") from None
    if not stat.S_ISSOCK(mode):
        raise ControlError(f"{path} is no socket; move it away")
    return True


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def _at(path: Path) -> Iterator[str]:
    """Yield an address for ``path``; one too long for ``sun_path`` (unix(7)) is reached through its directory."""
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":"), default=str).encode() + b"\n"
