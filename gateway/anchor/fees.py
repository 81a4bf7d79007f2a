"""What is bid for a unit of gas, and when that is too much (pure). All quantities are wei."""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.chain.port import FeeQuote
from gateway.config.model import AnchorConfig

GWEI: Final = 10**9
_HEADROOM: Final = 2
"""The base fee rises by an eighth a block at most: twice it lasts for six full blocks."""
_JOURNAL_MAX: Final = 2**63 - 1


class Bid(NamedTuple):
    """The fees of a transaction; ``tip`` None makes it a legacy one, whose gas price is ``max_fee``."""

    max_fee: int
    tip: int | None


class Capped(NamedTuple):
    """The chain asks for more than is allowed: wait."""

    asked: int
    cap: int


def cap_of(config: AnchorConfig) -> int:
    """The most that is paid for a unit of gas, and never more than the journal can hold."""
    return min(round(config.max_fee_gwei * GWEI), _JOURNAL_MAX)


def first_bid(config: AnchorConfig, quote: FeeQuote) -> Bid | Capped:
    """What a new transaction bids: EIP-1559 where blocks have a base fee, unless the configuration says never."""
    cap = cap_of(config)
    if quote.base_fee_wei is None or config.legacy_gas == "always":
        price = max(quote.gas_price_wei, quote.base_fee_wei or 0)
        return Capped(price, cap) if price > cap else Bid(price, None)
    tip = min(round(config.priority_fee_gwei * GWEI), quote.priority_fee_wei)
    asked = quote.base_fee_wei + tip
    if asked > cap:
        return Capped(asked, cap)
    return Bid(min(_HEADROOM * quote.base_fee_wei + tip, cap), tip)


def replacement(config: AnchorConfig, before: Bid, quote: FeeQuote) -> Bid | Capped:
    """What a replacement bids: an eighth more on every fee, or what the chain asks now where that is more.

    It is of the kind of the one before: pools compare both fees of both.
    """
    cap = cap_of(config)
    if before.tip is None:
        price = max(_raised(before.max_fee), quote.gas_price_wei)
        return Capped(price, cap) if price > cap else Bid(price, None)
    tip = max(_raised(before.tip), min(round(config.priority_fee_gwei * GWEI), quote.priority_fee_wei))
    least = max(_raised(before.max_fee), tip)
    asked = max(least, (quote.base_fee_wei or 0) + tip)
    if asked > cap:
        return Capped(asked, cap)
    return Bid(max(least, min(_HEADROOM * (quote.base_fee_wei or 0) + tip, cap)), tip)


def _raised(fee: int) -> int:
    """12.5 % more, rounded up, and more in any case."""
    return max(fee + 1, -(-fee * 9 // 8))
