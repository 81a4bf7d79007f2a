"""What every check is told, and how a check is described."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from gateway.config.model import Config
from gateway.doctor.finding import Finding, Sheet

UNIT: Final = "securenet-gateway.service"


class Account(NamedTuple):
    """A broker account of a device, for trying what the ACL allows it."""

    username: str
    password: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is looked at.

    Attributes:
        config: None when the configuration is refused; ``config_faults`` says why.
        now_ms: the wall clock when the doctor began.
        status: what the running gateway said of itself, None when none answers; ``silence`` says why.
        pid: the running gateway's process.
        offline: ask nothing that is beyond this machine.
        root: where /proc and /sys lie; tests name another place.
        device: an account to try the broker's ACL with.
    """

    config: Config | None
    config_path: Path
    config_faults: Sequence[str] = ()
    now_ms: int
    status: Mapping[str, Any] | None = None
    silence: str = ""
    pid: int | None = None
    offline: bool = False
    root: Path = Path("/")
    unit: str = UNIT
    device: Account | None = None

    @property
    def sound(self) -> Config:
        """The configuration, for checks that are only asked where there is one."""
        if self.config is None:
            raise RuntimeError("a check that needs a configuration was asked without one")
        return self.config


def page_port(case: Case) -> int:
    """The port of page and metrics: as configured, or, where any will do, as the running gateway says; 0: unknown."""
    if case.config is None:
        return 0
    told = (case.status or {}).get("http")
    address = told.get("address") if isinstance(told, Mapping) else None
    try:
        bound = urlsplit(str(address)).port if address else None
    except ValueError:
        bound = None
    return case.config.http.port or bound or 0


class Check(NamedTuple):
    """One row of the table of checks.

    ``remote`` asks another machine and is left out offline; ``heavy`` runs alone, because it measures, or takes
    memory. ``applies`` says whether there is anything to ask.
    """

    name: str
    asks: str
    sheet: Sheet
    ask: Callable[[Case], Awaitable[list[Finding]]]
    limit_s: float = 10.0
    remote: bool = False
    heavy: bool = False
    needs_config: bool = True
    applies: Callable[[Config], bool] = lambda _: True
