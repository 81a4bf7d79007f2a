"""The operator's transactions: asked first, signed, sent, and waited for.

``Operator.send`` asks the chain what a transaction would do before anything is signed, so that a refusal costs
nothing and is told in the contract's own words. One transaction is on its way at a time. Once it is broadcast,
whatever ends the waiting says its hash: the same command may be run again, and finds what was done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

from gateway.chain.contracts import has_role
from gateway.chain.port import (
    CallReverted,
    Chain,
    ChainError,
    ChainUnavailable,
    EndpointFault,
    FeeQuote,
    SendKind,
    TxReceipt,
    View,
)
from gateway.chain.refusals import Refusal, explain
from gateway.crypto.anchoring_key import keccak256

GAS_MARGIN_PERCENT: Final = 120
TX_GAS_MAX: Final = 1 << 24
"""EIP-7825: what mainnet allows one transaction."""
_BASE_FEE_HEADROOM: Final = 2
"""The base fee rises by an eighth a block at most: twice it lasts for six full blocks."""
GWEI: Final = 10**9
ETHER: Final = 10**18


class Signer(Protocol):
    """An account that signs (``gateway.crypto.anchoring_key.AnchoringKey``)."""

    @property
    def address(self) -> bytes:
        """20 bytes."""
        ...

    def sign_transaction(self, fields: Mapping[str, Any]) -> bytes:
        """The raw transaction."""
        ...


class Tx(NamedTuple):
    """What is to be done: ``to`` None creates a contract. ``what`` names it at the beginning of every error."""

    to: bytes | None
    data: bytes
    what: str
    value_wei: int = 0


class Terms(NamedTuple):
    """What the operator pays and how long he waits. ``max_fee_wei`` 0: whatever the chain asks."""

    wait_final: bool = False
    timeout_s: float = 300.0
    poll_s: float = 2.0
    max_fee_wei: int = 0
    legacy: bool = False


class Price(NamedTuple):
    """A unit of gas: what it costs now, and the most it may cost. ``tip_wei`` None: a legacy transaction."""

    now_wei: int
    most_wei: int
    tip_wei: int | None


class Estimate(NamedTuple):
    """What a transaction takes: gas, the limit that is set for it, and wei as of now and at most."""

    gas: int
    gas_limit: int
    price: Price

    @property
    def cost_wei(self) -> int:
        """At the present price."""
        return self.gas * self.price.now_wei

    @property
    def most_wei(self) -> int:
        """What the account must have for an endpoint to take the transaction."""
        return self.gas_limit * self.price.most_wei


class Refused(ChainError):
    """The contract would not take it, or did not: coming again does not help before something is changed."""

    def __init__(self, refusal: Refusal, what: str, tx_hash: bytes = b"") -> None:
        mined = f" (mined as 0x{tx_hash.hex()}, and reverted)" if tx_hash else ""
        super().__init__(f"{what}: {refusal.problem}{mined}; {refusal.hint}")
        self.refusal = refusal


class NotSent(ChainError):
    """Nothing was sent: no funds, a fee above the limit, another transaction in the way. Come again."""


class NotSettled(ChainError):
    """It was broadcast, and is not in a (final) block yet. ``tx_hash`` may still be mined."""

    def __init__(self, message: str, tx_hash: bytes) -> None:
        super().__init__(message)
        self.tx_hash = tx_hash


async def require_role(view: View, registry: bytes, role: str, account: bytes) -> None:
    """See that the account may do it.

    Raises:
        Refused: it has not the role.
        EndpointFault: as from the view.
    """
    if not await has_role(view, registry, role, account):
        refusal = Refusal(
            "AccessControlUnauthorizedAccount",
            f"the account 0x{account.hex()} has not the {role} of the registry 0x{registry.hex()}",
            "sign with an account that has it, or let the admin grant it",
        )
        raise Refused(refusal, "nothing was sent")


def price_of(quote: FeeQuote, terms: Terms) -> Price:
    """What to bid for a unit of gas (pure).

    Raises:
        NotSent: the chain asks more than ``terms.max_fee_wei``.
    """
    limit = terms.max_fee_wei
    if quote.base_fee_wei is None or terms.legacy:
        now = quote.gas_price_wei
        most, tip = now, None
    else:
        now = quote.base_fee_wei + quote.priority_fee_wei
        most = quote.base_fee_wei * _BASE_FEE_HEADROOM + quote.priority_fee_wei
        tip = quote.priority_fee_wei
    if not limit:
        return Price(now, most, tip)
    if now > limit:
        raise NotSent(
            f"the chain asks {now / GWEI:g} gwei for a unit of gas, and --max-fee-gwei allows {limit / GWEI:g}; "
            "come again when it is cheaper, or allow more"
        )
    return Price(now, min(most, limit), tip)


def gas_limit_of(gas: int) -> int:
    """An estimate with a margin, and not above what one transaction may take unless the estimate is (pure)."""
    return max(gas, min(gas * GAS_MARGIN_PERCENT // 100, TX_GAS_MAX))


def created_address(sender: bytes, nonce: int) -> bytes:
    """Where a transaction of this account and nonce puts the contract that it creates."""
    digits = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    item = digits if len(digits) == 1 and digits[0] < 0x80 else bytes([0x80 + len(digits)]) + digits  # noqa: PLR2004 -- RLP
    body = b"\x94" + sender + item
    return keccak256(bytes([0xC0 + len(body)]) + body)[12:]


async def estimate(view: View, sender: bytes, tx: Tx, terms: Terms) -> Estimate:
    """Ask what a transaction would take.

    Raises:
        Refused: it would revert.
        NotSent: the fee is above the limit.
        EndpointFault: as from the view.
    """
    price = price_of(await view.fees(), terms)
    try:
        gas = await view.estimate_gas(sender, tx.to, tx.data)
    except CallReverted as error:
        raise Refused(explain(error.data), tx.what) from None
    return Estimate(gas, gas_limit_of(gas), price)


class _Flight(NamedTuple):
    """A transaction that was signed."""

    raw: bytes
    tx_hash: bytes
    nonce: int
    what: str


class Operator:
    """One account that sends one transaction after the other. ``on_sent`` hears each hash when it is broadcast."""

    def __init__(  # noqa: PLR0913 -- the last two are for tests
        self,
        chain: Chain,
        signer: Signer,
        terms: Terms,
        on_sent: Callable[[bytes], None] = lambda _hash: None,
        *,
        clock: Callable[[], float] = monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._chain = chain
        self._signer = signer
        self._terms = terms
        self._on_sent = on_sent
        self._clock = clock
        self._sleep = sleep
        self._next_nonce = 0

    @property
    def address(self) -> bytes:
        """The account, 20 bytes."""
        return self._signer.address

    async def send(self, tx: Tx) -> TxReceipt:
        """Send a transaction and wait until it is in a block, or final by the terms.

        Raises:
            Refused: the contract does not take it.
            NotSent: there are no funds, the fee is too high, or another transaction is in the way.
            NotSettled: it was broadcast, but is in no (final) block in time.
            ChainUnavailable, ChainMisconfigured, EndpointFault: nothing was sent.
        """
        async with self._chain.view() as view:
            flight = await self._signed(view, tx)
            try:
                self._on_sent(flight.tx_hash)
                await self._broadcast(view, flight)
            except EndpointFault:
                pass  # whether it got the bytes is found out below; they are sent again when it has not
        receipt = await self._settled(flight)
        if not receipt.succeeded:
            raise Refused(await self._why(tx), tx.what, flight.tx_hash)
        return receipt

    async def create(self, code: bytes, what: str) -> tuple[bytes, TxReceipt]:
        """Deploy a contract; its address and the receipt. Raises as ``send``."""
        receipt = await self.send(Tx(None, code, what))
        return created_address(self.address, self._next_nonce - 1), receipt

    async def _signed(self, view: View, tx: Tx) -> _Flight:
        needed = await estimate(view, self.address, tx, self._terms)
        balance = await view.balance(self.address)
        wanted = needed.most_wei + tx.value_wei
        if balance < wanted:
            raise NotSent(
                f"{tx.what}: the account 0x{self.address.hex()} has {_ether(balance)}, and has to have "
                f"{_ether(wanted)} for up to {needed.gas_limit} gas; send it {_ether(wanted - balance)} more"
            )
        nonce = max(await view.nonce(self.address), self._next_nonce)
        fields = _fields(self._chain.chain_id, nonce, tx, needed)
        raw = await asyncio.to_thread(self._signer.sign_transaction, fields)
        return _Flight(raw, keccak256(raw), nonce, tx.what)

    async def _broadcast(self, view: View, flight: _Flight) -> None:
        kind, detail = await view.send(flight.raw)
        if kind in {SendKind.ACCEPTED, SendKind.ALREADY_KNOWN}:
            self._next_nonce = flight.nonce + 1
            return
        account = f"the account 0x{self.address.hex()}"
        raise NotSent(
            flight.what
            + {
                SendKind.NONCE_TOO_LOW: f": {account} sent another transaction meanwhile; run the command again",
                SendKind.UNDERPRICED: f": {account} has a transaction that waits with nonce {flight.nonce}, "
                "or bids too little; run the command again when it is mined",
                SendKind.OUT_OF_FUNDS: f": {account} has not enough for gas; send it some and run the command again",
            }.get(kind, f": the endpoint refuses the transaction: {detail}")
        )

    async def _settled(self, flight: _Flight) -> TxReceipt:
        """Look until the transaction is in a block, final if that is asked for; send it again if it was lost."""
        deadline = self._clock() + self._terms.timeout_s
        seen: TxReceipt | None = None
        fault = ""
        while True:
            try:
                async with self._chain.view() as view:
                    seen = await view.receipt(flight.tx_hash)
                    if seen is not None:
                        if not self._terms.wait_final or view.final.number >= seen.block_number:
                            self._next_nonce = flight.nonce + 1
                            return seen
                    elif await view.nonce(self.address) > flight.nonce:
                        seen = await self._superseded(view, flight)
                    elif not await view.knows(flight.tx_hash):
                        await view.send(flight.raw)  # what becomes of it, the next look tells
                fault = ""
            except (ChainUnavailable, EndpointFault) as error:
                fault = f" ({error})"
            if self._clock() >= deadline:
                raise NotSettled(_unsettled(flight, seen, self._terms, fault), flight.tx_hash)
            await self._sleep(self._terms.poll_s)

    async def _superseded(self, view: View, flight: _Flight) -> TxReceipt | None:
        """The nonce is used up: by this transaction, in a block that came just now, or by another one."""
        receipt = await view.receipt(flight.tx_hash)
        if receipt is None and await view.nonce(self.address) > flight.nonce and not await view.knows(flight.tx_hash):
            raise NotSent(
                f"{flight.what}: another transaction of the account 0x{self.address.hex()} took the nonce "
                f"{flight.nonce}; run the command again"
            )
        return receipt

    async def _why(self, tx: Tx) -> Refusal:
        """Why a transaction that looked well before failed in its block: the same question again, if it can be."""
        unknown = Refusal("", "the transaction failed in its block, though it had looked well before", "run it again")
        try:
            async with self._chain.view() as view:
                await view.estimate_gas(self.address, tx.to, tx.data)
        except CallReverted as error:
            return explain(error.data)
        except ChainError:
            return unknown
        return unknown


def _fields(chain_id: int, nonce: int, tx: Tx, needed: Estimate) -> dict[str, object]:
    price = needed.price
    fields: dict[str, object] = {
        "chainId": chain_id,
        "nonce": nonce,
        "value": tx.value_wei,
        "gas": needed.gas_limit,
        "data": tx.data,
    }
    if tx.to is not None:
        fields["to"] = tx.to
    if price.tip_wei is None:
        return fields | {"gasPrice": price.most_wei}
    tip = min(price.tip_wei, price.most_wei)
    return fields | {"type": 2, "maxFeePerGas": price.most_wei, "maxPriorityFeePerGas": tip}


def _unsettled(flight: _Flight, seen: TxReceipt | None, terms: Terms, fault: str) -> str:
    where = "in no block" if seen is None else f"in block {seen.block_number}, but that is not final"
    return (
        f"{flight.what}: the transaction 0x{flight.tx_hash.hex()} is {where} after {terms.timeout_s:g} s{fault}; it "
        "may still be mined: run the same command again later, what was done is found and not done twice"
    )


def _ether(wei: int) -> str:
    return f"{wei / ETHER:.6g} ETH" if wei >= GWEI else f"{wei} wei"
