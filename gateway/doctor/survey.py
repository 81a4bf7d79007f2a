"""Learns what every check is told: the configuration, and what the running gateway says."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from pathlib import Path
from typing import Final

from gateway.config.load import ConfigError, load_config
from gateway.config.model import Config
from gateway.doctor.case import UNIT, Account, Case
from gateway.ops.control import CONTROL_SOCKET, NoGatewayError, RequestRefusedError, request

_CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
_ASK_S: Final = 1.0


async def survey(
    config_path: Path, *, offline: bool = False, unit: str = UNIT, device: Account | None = None
) -> Case:
    """Load the configuration, faults and all, and ask the running gateway for its status."""
    config, faults = _config(config_path)
    status, silence, pid = None, "without a configuration nobody knows where it would answer", None
    if config is not None:
        path = config.gateway.data_dir / CONTROL_SOCKET
        try:
            status = await request(path, "status")
            silence, pid = "", await asyncio.to_thread(_pid_behind, path)
        except (NoGatewayError, RequestRefusedError) as error:
            silence = str(error)
    return Case(
        config=config,
        config_path=config_path,
        config_faults=faults,
        now_ms=time.time_ns() // 1_000_000,
        status=status,
        silence=silence,
        pid=pid,
        offline=offline,
        unit=unit,
        device=device,
    )


def borrow_credentials(unit: str = UNIT) -> None:
    """Look for systemd's credentials where the running unit has them; root alone may.

    Sets ``CREDENTIALS_DIRECTORY`` for this process, unless it has one.
    """
    folder = Path("/run/credentials") / unit
    if _CREDENTIALS not in os.environ and os.access(folder, os.R_OK | os.X_OK):
        os.environ[_CREDENTIALS] = str(folder)


def _config(path: Path) -> tuple[Config | None, tuple[str, ...]]:
    try:
        return load_config(path), ()
    except ConfigError as error:
        faults = tuple(str(fault) for fault in error.faults)
        return None, faults or (str(error),)


def _pid_behind(path: Path) -> int | None:
    """Whose socket it is (SO_PEERCRED, unix(7))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_ASK_S)
        try:
            sock.connect(str(path))
            pid: int = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        except OSError:
            return None
    return pid if pid > 0 else None
