"""The configuration that ran last, kept as it was written, for a start with a broken one (``run --fallback``)."""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from gateway.config.fault import ConfigError, Fault
from gateway.config.load import MAX_FILE_BYTES, parse_config
from gateway.config.model import Config, GatewayConfig

LAST_GOOD: Final = "config.last-good.toml"
"""Its name in the data directory."""

_SHOWN: Final = 16
_DATA_DIR: Final = re.compile(r"""^\s*data_dir\s*=\s*["']([^"'\n]{1,4096})["']""", re.MULTILINE)
_STATE_DIRECTORY: Final = "STATE_DIRECTORY"


class Source(NamedTuple):
    """Where the configuration in force came from: ``path`` is the operator's file, ``text`` what was read.

    ``broken`` is why the operator's file was passed over for the last good one; None when it was not.
    """

    path: Path
    text: str
    broken: ConfigError | None = None

    def warnings(self) -> list[str]:
        """What a person should know of a start with the last good configuration."""
        if self.broken is None:
            return []
        return [f"{self.path} is refused ({len(self.broken.faults)} faults): the last good configuration is in force"]


UNKNOWN: Final = Source(Path("gateway.toml"), "")
"""Of a gateway that was put together without a file: there is none to keep, and none to reload."""


def fault_facts(faults: Iterable[object]) -> dict[str, object]:
    """Faults as an event holds them: how many, and each of the first as a value of its own, which may not be long."""
    told = [str(fault) for fault in faults]
    return {"faults": len(told)} | {f"fault_{number}": fault for number, fault in enumerate(told[:_SHOWN], 1)}


def read_config_text(path: Path) -> str:
    """Read a configuration file as text.

    Raises:
        ConfigError: it cannot be read, is too large, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        text = raw.decode("utf-8")
    except OSError as error:
        hint = "name the file with --config; securenet example-config writes one to start from"
        raise ConfigError(path, [Fault(0, "", f"cannot be read: {error.strerror}", hint)]) from None
    except UnicodeDecodeError:
        raise ConfigError(path, [Fault(0, "", "is not UTF-8", "save the file as UTF-8")]) from None
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(path, [Fault(0, "", f"is larger than {MAX_FILE_BYTES} bytes", "is this the right file?")])
    return text


def keep(data_dir: Path, text: str) -> None:
    """Keep the text, all of it or what was there before.

    Raises:
        OSError: the disk does not take it.
    """
    target, fresh = data_dir / LAST_GOOD, data_dir / f"{LAST_GOOD}.new"
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(file, "w", encoding="utf-8", newline="") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(target)
    directory = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def last_good(broken_text: str, environment: Mapping[str, str] = os.environ) -> tuple[Config, str] | None:
    """Find the last good configuration of the gateway whose file is broken, and its text.

    The data directory is taken from the broken file if it still says so, from systemd's state directory, or is the
    usual one. A file counts that holds and names the directory it lies in: no other gateway's is taken.
    """
    for data_dir in _candidates(broken_text, environment):
        path = data_dir / LAST_GOOD
        with contextlib.suppress(OSError, ValueError, ConfigError):  # ValueError: no UTF-8, or a path with a NUL
            with path.open("rb") as file:
                raw = file.read(MAX_FILE_BYTES + 1)
            text = raw[:MAX_FILE_BYTES].decode("utf-8")
            config = parse_config(text, path)
            if config.gateway.data_dir.resolve() == data_dir.resolve():
                return config, text
    return None


def _candidates(broken_text: str, environment: Mapping[str, str]) -> Iterator[Path]:
    with contextlib.suppress(tomllib.TOMLDecodeError, RecursionError, ValueError):
        named = tomllib.loads(broken_text).get("gateway")
        if isinstance(named, dict) and isinstance(named.get("data_dir"), str):
            yield Path(named["data_dir"])
    if (match := _DATA_DIR.search(broken_text)) is not None:
        yield Path(match[1])
    for each in environment.get(_STATE_DIRECTORY, "").split(":"):
        if each:
            yield Path(each)
    default = GatewayConfig.__dataclass_fields__["data_dir"].default
    if isinstance(default, Path):
        yield default
