"""What an EVM chain is to the rest of the house: one endpoint's word at a time, and errors in two families.

A ``Chain`` knows several endpoints. ``Chain.view()`` picks a healthy one and opens a ``View`` of it: its newest block
and its newest final block, and every question asked through that view goes to that endpoint alone, so that answers
belong together. An endpoint that fails ends the view with ``EndpointFault``; whoever asked comes again later, and the
next view may be another endpoint's. Nothing here retries by itself.

All quantities are wei, seconds and gas; all hashes, addresses and data are bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import NamedTuple, Protocol


class ChainError(Exception):
    """What a chain or its endpoints did; the message says what, in words fit for a log."""


class ChainUnavailable(ChainError):
    """No endpoint can be used just now: come again. The message names the endpoints and what is wrong with each."""


class EndpointFault(ChainError):
    """The endpoint of this view hung, answered nonsense, contradicted itself or refused: the view is spent."""


class ChainMisconfigured(ChainError):
    """A person has to act: another chain id, an address without code, another contract than ours."""


class CallReverted(ChainError):
    """A call or an estimate reverted. ``data`` is what the contract said: selector and arguments, or nothing."""

    def __init__(self, data: bytes) -> None:
        super().__init__(f"reverted with 0x{data.hex()}" if data else "reverted without a reason")
        self.data = data


class Block(NamedTuple):
    """A block's header, as far as anyone here needs it. ``base_fee_wei`` is None on chains without EIP-1559."""

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp_s: int
    base_fee_wei: int | None


class LogRecord(NamedTuple):
    """One event of a contract, undecoded, and where it stands. ``topics`` are 32 bytes each."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    block_hash: bytes
    tx_hash: bytes
    log_index: int


class TxReceipt(NamedTuple):
    """A transaction in a block. ``succeeded`` is its status; ``price_wei`` what a unit of gas cost."""

    tx_hash: bytes
    block_number: int
    block_hash: bytes
    succeeded: bool
    gas_used: int
    price_wei: int
    logs: tuple[LogRecord, ...]


class SendKind(StrEnum):
    """What an endpoint said to a raw transaction."""

    ACCEPTED = "accepted"
    ALREADY_KNOWN = "already-known"
    NONCE_TOO_LOW = "nonce-too-low"
    UNDERPRICED = "underpriced"
    """A pool's floor, or a replacement that does not bid enough more."""
    OUT_OF_FUNDS = "out-of-funds"
    REFUSED = "refused"
    """Anything else; ``detail`` has the endpoint's words, sanitised."""


class SendResult(NamedTuple):
    """The answer to ``View.send``."""

    kind: SendKind
    detail: str = ""


class FeeQuote(NamedTuple):
    """What the chain asks for gas now: ``base_fee_wei`` None means legacy transactions at ``gas_price_wei``."""

    base_fee_wei: int | None
    priority_fee_wei: int
    gas_price_wei: int


class LogFilter(NamedTuple):
    """Which events: by contract, and by topic, position by position (an empty tuple: anything there)."""

    addresses: tuple[bytes, ...]
    topics: tuple[tuple[bytes, ...], ...] = ()


class View(Protocol):
    """One endpoint's word, for the length of one look.

    Every method raises ``EndpointFault`` when the endpoint fails it, and checks what can be checked of an answer: its
    shape, its size, and that it is about what was asked.
    """

    @property
    def endpoint(self) -> str:
        """Which endpoint, fit for a log: scheme and host, nothing secret."""
        ...

    @property
    def head(self) -> Block:
        """The newest block when the view was opened."""
        ...

    @property
    def final(self) -> Block:
        """The newest final block when the view was opened, by the configured rule; at or below the head."""
        ...

    async def block(self, number: int) -> Block | None:
        """The canonical block of this height, None when the endpoint has none (yet)."""
        ...

    async def logs(self, wanted: LogFilter, start: int, end: int) -> list[LogRecord]:
        """Events of the blocks ``start`` to ``end`` (inclusive), in the order of the chain.

        Raises:
            TooManyLogs: the endpoint will not answer for so many blocks at once: ask for fewer.
        """
        ...

    async def call(self, to: bytes, data: bytes, block: int | None = None) -> bytes:
        """Call a view function at a height, or at the head.

        Raises:
            CallReverted: the contract refused.
        """
        ...

    async def code(self, address: bytes) -> bytes:
        """The code at an address at the head; empty when there is none."""
        ...

    async def nonce(self, account: bytes) -> int:
        """How many transactions of the account are mined, as of the newest block."""
        ...

    async def balance(self, account: bytes) -> int:
        """Wei of the account, as of the newest block."""
        ...

    async def receipt(self, tx_hash: bytes) -> TxReceipt | None:
        """The receipt of a transaction that is in a block of the canonical chain, else None."""
        ...

    async def knows(self, tx_hash: bytes) -> bool:
        """Whether the endpoint has the transaction, mined or waiting."""
        ...

    async def send(self, raw: bytes) -> SendResult:
        """Broadcast a signed transaction."""
        ...

    async def fees(self) -> FeeQuote:
        """What gas costs now."""
        ...

    async def estimate_gas(self, sender: bytes, to: bytes | None, data: bytes) -> int:
        """Gas that a transaction would take.

        Raises:
            CallReverted: it would revert.
        """
        ...


class TooManyLogs(ChainError):
    """An endpoint refused a range of blocks as too large; a smaller one may do."""


class EndpointHealth(NamedTuple):
    """One endpoint, for the status page. ``fault`` is empty when it is well."""

    endpoint: str
    head: int | None
    head_age_s: float | None
    fault: str


class Chain(Protocol):
    """Several endpoints of one chain."""

    @property
    def chain_id(self) -> int:
        """The pinned chain id (EIP-155)."""
        ...

    def view(self) -> AbstractAsyncContextManager[View]:
        """Open a view of the first endpoint that is well.

        Raises:
            ChainUnavailable: none is.
            ChainMisconfigured: one answers, but it is not our chain or has not our contracts.
        """
        ...

    def health(self) -> Sequence[EndpointHealth]:
        """How the endpoints were when they were last asked."""
        ...


class Looker(Protocol):
    """A part of the gateway that looks at the chain regularly (see ``gateway.chain.watch``)."""

    async def look(self, view: View) -> None:
        """Do what there is to do now.

        Raises:
            ChainError: as from the view; the watch says so, and calls again at the next look.
        """
        ...
