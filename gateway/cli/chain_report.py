"""How the chain is, seen from here, and how long the anchoring account's money lasts: asked without a gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from gateway.chain.contracts import Contracts, anchor_call, latest, log_id, verify_contracts
from gateway.chain.operator import Terms, price_of
from gateway.chain.port import CallReverted, Chain, ChainError, View
from gateway.chain.rollcall import Known, Source, call_the_roll
from gateway.cli.chain_link import address_text, contracts_of, ether, gwei, opened
from gateway.config.model import ChainConfig, Config
from gateway.crypto.keystore import KeystoreRefused, stated_address
from gateway.ops.secrets import SecretError, load_log_key, read_secret

ANCHOR_GAS: Final = 60_000
"""The limit that the contracts' tests hold: what an anchor takes at most once the log was opened."""
_DAY_S: Final = 86400.0
_NEVER_ANCHORED: Final = bytes(32)


class Report(NamedTuple):
    """Facts for ``--json``, and what is wrong, in sentences."""

    facts: dict[str, Any]
    problems: list[str]


class Funds(NamedTuple):
    """How long the money lasts (pure figures). ``anchors`` and ``days`` are None where gas costs nothing."""

    account: bytes
    balance_wei: int
    gas: int
    price_wei: int
    interval_s: float
    reserve_wei: int
    max_fee_wei: int

    @property
    def anchors(self) -> int | None:
        """Anchors at the present price; the reserve, which has to be there for each of them, is not spent."""
        cost = self.gas * self.price_wei
        if not cost:
            return None
        spare = self.balance_wei - max(0, self.reserve_wei - cost)
        return max(0, spare // cost)

    @property
    def days(self) -> float | None:
        """At one anchor in every interval."""
        return None if self.anchors is None else self.anchors * self.interval_s / _DAY_S

    def lasts(self, days: float) -> bool:
        """Whether it lasts so long."""
        return self.days is None or self.days >= days

    def facts(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "account": address_text(self.account),
            "balance_wei": self.balance_wei,
            "gas_an_anchor": self.gas,
            "price_wei": self.price_wei,
            "interval_s": self.interval_s,
            "reserve_wei": self.reserve_wei,
            "fee_capped": self.price_wei > self.max_fee_wei,
            "anchors": self.anchors,
            "days": None if self.days is None else round(self.days, 1),
        }

    def words(self) -> str:
        """For people."""
        has = f"The account {address_text(self.account)} has {ether(self.balance_wei)}"
        if self.anchors is None or self.days is None:
            return f"{has}. Gas costs nothing here."
        capped = (
            f"\nThe chain asks more than anchor.max_fee_gwei allows ({gwei(self.max_fee_wei)}): anchoring waits."
            if self.price_wei > self.max_fee_wei
            else ""
        )
        return (
            f"{has}.\nAn anchor takes {self.gas} gas at {gwei(self.price_wei)}: {ether(self.gas * self.price_wei)}. "
            f"{ether(self.reserve_wei)} have to be there for one to be sent (anchor.gas_limit at the highest bid).\n"
            f"That is {self.anchors} anchors, one in {self.interval_s:g} s: {self.days:.1f} days.{capped}"
        )


async def status(config: ChainConfig, gateway: Config | None) -> Report:
    """Ask every endpoint how it is, and the first that is well about the contracts and this gateway."""
    problems: list[str] = []
    endpoints: list[dict[str, Any]] = []
    facts: dict[str, Any] = {"chain_id": config.chain_id, "endpoints": endpoints}
    asked = False
    for number, entry in enumerate(config.rpc, 1):
        found: dict[str, Any] = {"endpoint": f"endpoint {number}"}
        endpoints.append(found)
        try:
            async with opened(replace(config, rpc=(entry,))) as chain:
                found["endpoint"] = chain.health()[0].endpoint
                async with chain.view() as view:
                    found |= {
                        "head": view.head.number,
                        "head_age_s": round(chain.health()[0].head_age_s or 0.0, 1),
                        "final": view.final.number,
                    }
                    if not asked:
                        asked = True
                        facts["chain_id"] = chain.chain_id
                        facts |= await _about_contracts(view, config, gateway, problems)
        except ChainError as error:
            found["fault"] = str(error)
            problems.append(str(error))
    if not asked:
        problems.append("no endpoint answers: nothing is known of contracts and accounts")
    return Report(facts | {"problems": problems}, problems)


async def _about_contracts(
    view: View, config: ChainConfig, gateway: Config | None, problems: list[str]
) -> dict[str, Any]:
    contracts = contracts_of(config)
    await verify_contracts(view, contracts)
    facts: dict[str, Any] = {
        "registry": address_text(contracts.registry),
        "anchor_log": address_text(contracts.anchor_log),
        "contracts": "verified",
    }
    if gateway is None:
        return facts
    known = await registration(view, config, gateway.gateway.id)
    account = account_of(gateway, known)
    facts["miner"] = {"id": gateway.gateway.id} | ({} if known is None else miner_facts(known))
    problems += miner_problems(gateway, known, account)
    if account is not None:
        facts["account"] = {
            "address": address_text(account),
            "balance_wei": await view.balance(account),
            "transactions": await view.nonce(account),
        }
    facts["log"] = await log_facts(view, contracts, gateway.origin)
    if facts["log"]["frozen"]:
        problems.append("the log is frozen on chain: two roots of one size were anchored; see docs/spec/contracts.md")
    return facts


async def registration(view: View, config: ChainConfig, name: str) -> Known | None:
    """What an id is registered with, by its events."""
    source = Source(contracts_of(config).registry, config.deploy_block, config.logs_blocks)
    return (await call_the_roll(view, source, name)).get(name)


async def log_facts(view: View, contracts: Contracts, origin: str) -> dict[str, Any]:
    """The head of a log on chain."""
    size, root, frozen = await latest(view, contracts.anchor_log, log_id(origin))
    return {"origin": origin, "size": size, "root": f"0x{root.hex()}", "frozen": frozen}


def miner_facts(known: Known) -> dict[str, Any]:
    """A registration for ``--json``."""
    return {
        "status": known.status.name.lower(),
        "fleet": known.fleet,
        "log_key": f"0x{known.public_key.hex()}",
        "hpke_key": f"0x{known.hpke_key.hex()}",
        "account": address_text(known.account) if known.account else "",
        "since_block": known.block,
    }


def miner_problems(gateway: Config, known: Known | None, account: bytes | None) -> list[str]:
    """Why the gateway of this configuration would take no message."""
    name = gateway.gateway.id
    if known is None:
        return [f"the miner {name} is not registered: securenet miner register"]
    found = []
    if known.status.name != "ACTIVE":
        found.append(f"the miner {name} is {known.status.name.lower()}: nothing is accepted")
    if known.log_id != log_id(gateway.origin):
        found.append(f"the miner {name} is bound to another log than {gateway.origin}: nothing is accepted")
    if account is not None and known.account != account:
        found.append(
            f"the miner {name} is registered with the account {address_text(known.account)}, and anchors with "
            f"{address_text(account)}: securenet miner renew"
        )
    return found + _log_key_problems(gateway, known)


def _log_key_problems(gateway: Config, known: Known) -> list[str]:
    try:
        if log_public(gateway.gateway.log_key_file) != known.public_key:
            return ["the registered log key is not the one of gateway.log_key_file: securenet miner renew"]
    except SecretError:
        pass  # the operator's machine need not have the gateway's keys
    return []


def log_public(ref: str) -> bytes:
    """The public half of a log key.

    Raises:
        SecretError: it cannot be read.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 -- its only use

    return Ed25519PrivateKey.from_private_bytes(load_log_key(ref)).public_key().public_bytes_raw()


def account_of(gateway: Config, known: Known | None = None) -> bytes | None:
    """The account that this gateway anchors with: as its keystore states, else as it is registered."""
    try:
        stated = stated_address(read_secret(gateway.anchor.key_file))
    except (SecretError, KeystoreRefused):
        stated = None
    if stated is None and known is not None:
        return known.account or None
    return stated


async def funds(chain: Chain, gateway: Config, account: bytes | None) -> Funds | None:
    """How long the anchoring account's money lasts; None when nobody says which account that is."""
    config, anchor = gateway.chain, gateway.anchor
    async with chain.view() as view:
        if account is None:
            account = account_of(gateway, await registration(view, config, gateway.gateway.id))
        if account is None:
            return None
        contracts = contracts_of(config)
        price = price_of(await view.fees(), Terms(legacy=anchor.legacy_gas == "always"))
        tip = int(anchor.priority_fee_gwei * 10**9)
        now = price.now_wei if price.tip_wei is None else price.now_wei - price.tip_wei + min(price.tip_wei, tip)
        most = min(int(anchor.max_fee_gwei * 10**9), price.most_wei)
        return Funds(
            account=account,
            balance_wei=await view.balance(account),
            gas=await _anchor_gas(view, contracts, gateway.origin, account),
            price_wei=now,
            interval_s=anchor.interval_s,
            reserve_wei=anchor.gas_limit * most,
            max_fee_wei=int(anchor.max_fee_gwei * 10**9),
        )


async def _anchor_gas(view: View, contracts: Contracts, origin: str, account: bytes) -> int:
    """What the next anchor would take; what it may take at most where the chain would refuse it now."""
    log = log_id(origin)
    head = await latest(view, contracts.anchor_log, log)
    try:
        return await view.estimate_gas(
            account, contracts.anchor_log, anchor_call(log, head.size + 1, _NEVER_ANCHORED)
        )
    except CallReverted:
        return ANCHOR_GAS


def status_lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The report for people: names and values."""
    lines = [("chain", str(facts["chain_id"]))]
    for each in facts["endpoints"]:
        said = each.get("fault") or (
            f"block {each['head']}, {each['head_age_s']:g} s old; final {each['final']} "
            f"({each['head'] - each['final']} behind)"
        )
        lines.append((each["endpoint"], said))
    if "contracts" in facts:
        lines.append(("registry", f"{facts['registry']}, {facts['contracts']}"))
        lines.append(("anchor log", f"{facts['anchor_log']}, {facts['contracts']}"))
    if "miner" in facts:
        miner = facts["miner"]
        lines.append(("miner", f"{miner['id']}, {miner.get('status', 'not registered')}"))
    if "account" in facts:
        account = facts["account"]
        sent = f"{account['transactions']} transactions"
        lines.append(("account", f"{account['address']}, {ether(account['balance_wei'])}, {sent}"))
    if "log" in facts:
        log = facts["log"]
        anchored = f"anchored up to {log['size']} entries" if log["size"] else "never anchored"
        lines.append(("log", f"{log['origin']}, {anchored}{', FROZEN' * log['frozen']}"))
    return lines
