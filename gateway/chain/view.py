"""``View`` of an EVM endpoint: each answer is checked against what was asked, and every failure ends the view.

A receipt of a block that is not canonical (orphaned a moment ago, or never there) is no receipt: None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from eth_hash.auto import keccak

from gateway.chain import wire, words
from gateway.chain.endpoint import Endpoint, Opened, Refusal
from gateway.chain.port import (
    Block,
    CallReverted,
    EndpointFault,
    FeeQuote,
    LogFilter,
    LogRecord,
    SendKind,
    SendResult,
    TooManyLogs,
    TxReceipt,
)
from gateway.chain.provider import BODY_BYTES, NoAnswer, Why

Parsed = TypeVar("Parsed")

LOGS_BYTES: Final = 8 * 2**20
"""Some 5,000 registrations. More at once would hold up the loop while it is parsed, and take memory."""
ONE_BLOCK_LOGS_BYTES: Final = 32 * 2**20
"""A single block cannot be asked for in parts."""
RECEIPT_BYTES: Final = 8 * 2**20
_TIP_BLOCKS: Final = "0x5"
_TIP_PERCENTILE: Final = 50


class EvmView:
    """One endpoint's word, from ``EvmChain.view``; see ``gateway.chain.port.View``."""

    def __init__(self, endpoint: Endpoint, opened: Opened) -> None:
        self._endpoint = endpoint
        self._opened = opened
        self._spent = ""

    @property
    def endpoint(self) -> str:
        """Scheme, host and port."""
        return self._endpoint.label

    @property
    def head(self) -> Block:
        """The newest block when the view was opened."""
        return self._opened.head

    @property
    def final(self) -> Block:
        """The newest final block when the view was opened."""
        return self._opened.final

    @property
    def spent(self) -> str:
        """Why the view is over, in words; empty while it is not."""
        return self._spent

    def end(self) -> None:
        """Answer no more."""
        self._spent = self._spent or f"{self.endpoint}: the view was closed"

    async def block(self, number: int) -> Block | None:
        """The canonical block of this height."""
        return await self._must(
            "eth_getBlockByNumber",
            [hex(number), False],
            lambda value: wire.block(value, number),
            4 * BODY_BYTES,
        )

    async def logs(self, wanted: LogFilter, start: int, end: int) -> list[LogRecord]:
        """Events of the blocks ``start`` to ``end``."""
        if not 0 <= start <= end:
            raise ValueError(f"no range of blocks: {start} to {end}")
        limit = ONE_BLOCK_LOGS_BYTES if start == end else LOGS_BYTES
        asked = [wire.log_filter(wanted, start, end)]
        try:
            found = await self._ask("eth_getLogs", asked, lambda value: wire.logs(value, wanted, start, end), limit)
        except wire.WireError as wrong:
            raise self._failed("eth_getLogs", wrong) from None
        except (Refusal, NoAnswer) as failed:
            await self._refused_logs(failed, start, end)
            raise self._failed("eth_getLogs", failed) from None
        final = self.final
        if any(entry.block_number == final.number and entry.block_hash != final.hash for entry in found):
            raise self._fault(f"it contradicts itself: two hashes of final block {final.number}")
        return found

    async def call(self, to: bytes, data: bytes, block: int | None = None) -> bytes:
        """Call a view function at a height, or at the head."""
        height = self.head.number if block is None else block
        asked = [{"to": wire.text(to), "data": wire.text(data)}, hex(height)]
        return await self._run("eth_call", asked, wire.data)

    async def code(self, address: bytes) -> bytes:
        """The code at an address at the head."""
        return await self._must("eth_getCode", [wire.text(address), hex(self.head.number)], wire.data)

    async def nonce(self, account: bytes) -> int:
        """How many transactions of the account are mined."""
        return await self._must("eth_getTransactionCount", [wire.text(account), "latest"], _count)

    async def balance(self, account: bytes) -> int:
        """Wei of the account."""
        return await self._must("eth_getBalance", [wire.text(account), "latest"], wire.quantity)

    async def receipt(self, tx_hash: bytes) -> TxReceipt | None:
        """The receipt of a transaction in a canonical block."""
        asked = [wire.text(tx_hash)]

        def parse(value: object) -> tuple[TxReceipt | None, int | None]:
            paid = None if value is None else wire.price(value)
            return wire.receipt(value, tx_hash, paid or 0), paid

        found, paid = await self._must("eth_getTransactionReceipt", asked, parse, RECEIPT_BYTES)
        if found is None:
            return None
        if paid is None:  # a node from before EIP-1559: the transaction has the price
            paid = await self._must(
                "eth_getTransactionByHash", asked, lambda value: None if value is None else wire.price(value)
            )
            found = found._replace(price_wei=paid or 0)
        canonical = await self.block(found.block_number)
        if canonical is None or canonical.hash != found.block_hash:
            return None
        return found

    async def knows(self, tx_hash: bytes) -> bool:
        """Whether the endpoint has the transaction."""
        return await self._must(
            "eth_getTransactionByHash", [wire.text(tx_hash)], lambda value: wire.is_transaction(value, tx_hash)
        )

    async def send(self, raw: bytes) -> SendResult:
        """Broadcast a signed transaction."""
        try:
            found = await self._ask(
                "eth_sendRawTransaction", [wire.text(raw)], lambda value: wire.fixed(value, "the hash")
            )
        except Refusal as refusal:
            return SendResult(words.send_kind(refusal.error), self._endpoint.redacted(str(refusal.error)))
        except (NoAnswer, wire.WireError) as failed:
            raise self._failed("eth_sendRawTransaction", failed) from None
        if found != keccak(raw):
            raise self._fault("it took another transaction than was sent")
        return SendResult(SendKind.ACCEPTED)

    async def fees(self) -> FeeQuote:
        """What gas costs now."""
        gas_price = await self._must("eth_gasPrice", [], wire.quantity)
        base_fee = self.head.base_fee_wei
        if base_fee is None:
            return FeeQuote(None, 0, gas_price)
        return FeeQuote(base_fee, await self._tip(max(0, gas_price - base_fee)), gas_price)

    async def estimate_gas(self, sender: bytes, to: bytes | None, data: bytes) -> int:
        """Gas that a transaction would take."""
        asked = {"from": wire.text(sender), "data": wire.text(data)}
        if to is not None:
            asked["to"] = wire.text(to)
        return await self._run("eth_estimateGas", [asked], _count)

    async def _tip(self, otherwise: int) -> int:
        """What the endpoint would tip; what was paid lately; what the gas price leaves."""
        try:
            return await self._ask("eth_maxPriorityFeePerGas", [], wire.quantity)
        except Refusal:
            pass
        except (NoAnswer, wire.WireError) as failed:
            raise self._failed("eth_maxPriorityFeePerGas", failed) from None
        try:
            tips = await self._ask("eth_feeHistory", [_TIP_BLOCKS, "latest", [_TIP_PERCENTILE]], wire.rewards)
        except Refusal:
            return otherwise
        except (NoAnswer, wire.WireError) as failed:
            raise self._failed("eth_feeHistory", failed) from None
        return sorted(tips)[len(tips) // 2] if tips else otherwise

    async def _refused_logs(self, failed: Refusal | NoAnswer, start: int, end: int) -> None:
        """Raise ``TooManyLogs`` where fewer blocks may do."""
        if start == end:
            return
        if isinstance(failed, Refusal):
            fewer = words.is_too_many_logs(failed.error)
        else:
            fewer = failed.why in {Why.TOO_LARGE, Why.TIME_OUT}
        if not fewer:
            return
        if isinstance(failed, NoAnswer) and failed.why is Why.TIME_OUT:
            await self._must("eth_blockNumber", [], _count)  # slow at this, or dead? the fault is raised there
        raise TooManyLogs(f"{self.endpoint}: blocks {start} to {end}: {self._endpoint.redacted(str(failed))}")

    async def _run(self, method: str, params: Sequence[Any], parse: Callable[[Any], Parsed]) -> Parsed:
        """Ask what runs a contract."""
        try:
            return await self._ask(method, params, parse)
        except Refusal as refusal:
            reverted = words.revert_data(refusal.error)
            if reverted is not None:
                raise CallReverted(reverted) from None
            raise self._failed(method, refusal) from None
        except (NoAnswer, wire.WireError) as failed:
            raise self._failed(method, failed) from None

    async def _must(
        self, method: str, params: Sequence[Any], parse: Callable[[Any], Parsed], limit: int = BODY_BYTES
    ) -> Parsed:
        try:
            return await self._ask(method, params, parse, limit)
        except (Refusal, NoAnswer, wire.WireError) as failed:
            raise self._failed(method, failed) from None

    async def _ask(
        self, method: str, params: Sequence[Any], parse: Callable[[Any], Parsed], limit: int = BODY_BYTES
    ) -> Parsed:
        if self._spent:
            raise EndpointFault(self._spent)
        try:
            return await self._endpoint.ask(method, params, parse, limit)
        except EndpointFault as fault:
            self._spent = str(fault)
            raise

    def _failed(self, method: str, failed: Refusal | NoAnswer | wire.WireError) -> EndpointFault:
        fault = self._endpoint.failed(method, failed)
        self._spent = str(fault)
        return fault

    def _fault(self, what: str) -> EndpointFault:
        fault = self._endpoint.fault(what)
        self._spent = str(fault)
        return fault


def _count(value: object) -> int:
    return wire.quantity(value, bits=wire.COUNT_BITS)
