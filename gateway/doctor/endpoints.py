"""The chain's endpoints, the contracts, the account and this gateway's registration (pure)."""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.config.model import Config
from gateway.doctor.finding import Finding, Sheet, error, note, warning

APART_BLOCKS: Final = 64
SLOW_S: Final = 2.0
FEW_ANCHORS: Final = 100
GWEI: Final = 10**9

SHEET: Final = Sheet(
    "chain",
    {
        "extra-missing": error("Install the libraries of the chain: `pip install 'securenet-gateway[chain]'`."),
        "unreachable": error(
            "Nothing is known of the chain: registrations go stale, anchors wait. Check network and URL: "
            "`securenet chain status`; name a second endpoint in `chain.rpc`."
        ),
        "endpoint-down": warning(
            "Another endpoint serves. Check this one, or replace it in `chain.rpc`: `securenet chain status`."
        ),
        "misconfigured": error("Correct `chain.chain_id`, `chain.rpc` or the addresses: `securenet chain status`."),
        "old-head": error(
            "The node has stopped, or this machine's clock is wrong: `securenet doctor --only clock`, "
            "`securenet chain status`."
        ),
        "clock-behind": error("The chain is ahead of this machine's clock: `securenet doctor --only clock`."),
        "apart": warning(
            "One endpoint lags behind or is on another fork: `securenet chain status`; put the better one "
            "first in `chain.rpc`."
        ),
        "slow": warning("Put a nearer endpoint first in `chain.rpc`: `securenet chain status`."),
        "rate-limited": warning("Lower `chain.requests_per_s`, raise `chain.poll_s`, or use an endpoint with a key."),
        "single": note("One endpoint is a single point of failure: name a second one in `chain.rpc`."),
        "contracts": error("Check `chain.registry` and `chain.anchor_log`: `securenet chain status`."),
        "model-registry": error("Check `chain.model_registry`: `securenet model list`."),
        "miner-unknown": error("Register this gateway: `securenet miner register`; nothing is accepted before."),
        "miner-inactive": error("Ask the registrar, who reinstates it: `securenet miner reinstate`."),
        "unfunded": error(
            "Anchors wait for money: `securenet chain fund --ether 0.05`, `securenet chain fund-check`."
        ),
        "low-funds": warning(
            "Send it more before it runs out: `securenet chain fund-check`, `securenet chain fund --ether 0.05`."
        ),
        "no-account": note("The keystore cannot be read from here: `sudo securenet doctor --only chain`."),
        "frozen": error(
            "Two roots of one size were anchored: it is frozen for ever. Keep the data directory, and "
            "begin a new log under another `gateway.id`; `securenet log fsck`."
        ),
    },
)


class EndpointFact(NamedTuple):
    """One endpoint. ``fault`` is empty when it is well; ``misconfigured``: a person has to act."""

    label: str
    head: int | None = None
    head_age_s: float | None = None
    took_s: float = 0.0
    fault: str = ""
    misconfigured: bool = False


class GatewayFact(NamedTuple):
    """What the first endpoint that is well says of this gateway. ``contracts``: what is wrong with them."""

    contracts: str = ""
    model_registry: str = ""
    miner: str | None = ""
    """The status of the registration, in small letters; None: it is not registered; empty: not asked."""
    balance_wei: int | None = None
    anchor_wei: int | None = None
    """What an anchor costs now."""
    reserve_wei: int = 0
    account: str = ""
    frozen: bool = False


def judge(config: Config, endpoints: list[EndpointFact], gateway: GatewayFact | None) -> list[Finding]:
    """Whether the chain can be relied on."""
    found = _endpoints(endpoints)
    well = [each for each in endpoints if not each.fault]
    heads = [each.head for each in well if each.head is not None]
    if heads and max(heads) - min(heads) > APART_BLOCKS:
        what = f"the endpoints are {max(heads) - min(heads)} blocks apart"
        found.append(SHEET.found("apart", what, heads={each.label: each.head for each in well}))
    if len(endpoints) == 1 and well:
        found.append(SHEET.found("single", f"{endpoints[0].label} is the only endpoint"))
    if gateway is not None:
        found += _gateway(config, gateway)
    if any(each.name != "chain.single" for each in found):
        return found
    heights = ", ".join(f"{each.label} at block {each.head}, {each.head_age_s or 0:.0f} s old" for each in well)
    return [SHEET.fine(heights), *found]


def _endpoints(endpoints: list[EndpointFact]) -> list[Finding]:
    found, all_down = [], all(each.fault for each in endpoints)
    for each in endpoints:
        if not each.fault:
            if each.took_s > SLOW_S:
                what = f"{each.label} takes {each.took_s:.1f} s for a look"
                found.append(SHEET.found("slow", what, took_s=round(each.took_s, 2)))
            continue
        kind = "unreachable" if all_down else "endpoint-down"
        if each.misconfigured:
            kind = "misconfigured"
        elif "fewer requests" in each.fault or "HTTP 429" in each.fault:
            kind = "rate-limited"
        elif all_down and "ahead of this machine's clock" in each.fault:
            kind = "clock-behind"
        elif all_down and "it has stopped" in each.fault:
            kind = "old-head"
        found.append(SHEET.found(kind, each.fault))
    return found


def _gateway(config: Config, fact: GatewayFact) -> list[Finding]:
    if fact.contracts:
        return [SHEET.found("contracts", fact.contracts)]
    found = []
    if fact.model_registry:
        found.append(SHEET.found("model-registry", fact.model_registry))
    if fact.miner is None:
        found.append(SHEET.found("miner-unknown", f"the miner {config.gateway.id} is not registered on chain"))
    elif fact.miner not in {"", "active"}:
        found.append(
            SHEET.found("miner-inactive", f"the miner {config.gateway.id} is {fact.miner}: nothing is accepted")
        )
    if fact.frozen:
        found.append(SHEET.found("frozen", f"the log {config.origin} is frozen on chain"))
    return found + _funds(config, fact) if config.anchor.enabled else found


def _funds(config: Config, fact: GatewayFact) -> list[Finding]:
    if not fact.account:
        return [SHEET.found("no-account", "which account anchors is not known here")]
    if fact.balance_wei is None or not fact.anchor_wei:
        return []
    details = {"account": fact.account, "balance_wei": fact.balance_wei, "anchor_wei": fact.anchor_wei}
    if fact.balance_wei < max(fact.reserve_wei, fact.anchor_wei):
        what = f"the account {fact.account} has {fact.balance_wei / 10**18:.6f} ether: too little for an anchor"
        return [SHEET.found("unfunded", what, **details)]
    left = (fact.balance_wei - fact.reserve_wei) // fact.anchor_wei
    if left < FEW_ANCHORS:
        days = left * config.anchor.interval_s / 86400
        return [SHEET.found("low-funds", f"its money lasts for {left} anchors, {days:.1f} days", **details)]
    return []
