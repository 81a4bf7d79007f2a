"""The chain client as tests want it: short times, a monotonic clock that can be moved, a real node behind it."""

from __future__ import annotations

import time
from typing import Any

from gateway.chain.client import EvmChain
from gateway.chain.port import LogFilter
from gateway.config.model import ChainConfig

CHAIN_ID = 31337
NOBODY = 20 * b"\x77"
HASH = "0x" + 64 * "a"
BLOCKS = "eth_getBlockByNumber"


class Clocks:
    """Both clocks of this machine, set ahead by so much."""

    def __init__(self) -> None:
        self.monotonic_ahead_s = 0.0
        self.wall_ahead_s = 0.0

    @property
    def monotonic_s(self):
        return lambda: time.monotonic() + self.monotonic_ahead_s

    @property
    def wall_ms(self):
        return lambda: int((time.time() + self.wall_ahead_s) * 1000)


def chain_of(*urls: str, clocks: Clocks | None = None, resolve: Any = None, **settings: Any) -> EvmChain:
    values: dict[str, Any] = {"chain_id": CHAIN_ID, "timeout_s": 0.5, "requests_per_s": 1000.0, **settings}
    more = {} if resolve is None else {"resolve": resolve}
    return EvmChain(ChainConfig(rpc=urls, **values), clocks or Clocks(), **more)


def raw_address(account: str) -> bytes:
    return bytes.fromhex(account.removeprefix("0x"))


def everything_of(contract: Any) -> LogFilter:
    return LogFilter((raw_address(contract.address),))
