"""Deploying the two contracts, and the section of the configuration that comes of it."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from gateway.chain.contracts import Contracts, creation_code, has_role, verify_contracts
from gateway.chain.operator import NotSent, Operator, Signer, Terms, Tx, estimate, price_of
from gateway.chain.port import Chain, ChainError, ChainMisconfigured
from gateway.chain.refusals import ROLES
from gateway.cli.chain_link import address_text, ether, gwei
from gateway.config.model import ChainConfig

ANCHOR_LOG_GAS: Final = 460_000
"""Deploying AnchorLog, as measured (docs/spec/contracts.md) and rounded up: it asks for a registry with code, so that
no node can estimate it before the registry is there."""


class Roles(NamedTuple):
    """Who may do what in the registry, 20 bytes each."""

    admin: bytes
    registrar: bytes
    suspender: bytes


class Deployed(NamedTuple):
    """Both contracts on their chain."""

    chain_id: int
    contracts: Contracts
    deploy_block: int
    gas_used: int
    cost_wei: int

    def facts(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "chain_id": self.chain_id,
            "registry": address_text(self.contracts.registry),
            "anchor_log": address_text(self.contracts.anchor_log),
            "deploy_block": self.deploy_block,
            "gas_used": self.gas_used,
            "cost_wei": self.cost_wei,
        }


class HalfDeployed(NotSent):
    """The registry is there, the log is not: how to go on is in the words."""


async def estimated(chain: Chain, sender: bytes, roles: Roles, terms: Terms) -> dict[str, Any]:
    """What a deployment would cost; nothing is sent.

    Raises:
        Refused, NotSent, ChainError: as ``gateway.chain.operator.estimate``.
    """
    async with chain.view() as view:
        price = price_of(await view.fees(), terms)
        needed = await estimate(view, sender, _registry_tx(roles), terms)
        balance = await view.balance(sender)
    gas = needed.gas + ANCHOR_LOG_GAS
    return {
        "chain_id": chain.chain_id,
        "gas": gas,
        "price_wei": price.now_wei,
        "cost_wei": gas * price.now_wei,
        "account": address_text(sender),
        "balance_wei": balance,
        "enough": balance >= max(needed.most_wei, gas * price.now_wei),
    }


def estimate_words(facts: dict[str, Any]) -> str:
    """An estimate for people."""
    enough = "enough" if facts["enough"] else "NOT enough"
    return (
        f"Chain {facts['chain_id']}: two contracts would take {facts['gas']} gas, {ether(facts['cost_wei'])} at "
        f"{gwei(facts['price_wei'])} a unit now.\n"
        f"The account {facts['account']} has {ether(facts['balance_wei'])}: {enough}. Nothing was sent."
    )


class Standing(NamedTuple):
    """A registry that is there already, and its block."""

    registry: bytes
    deploy_block: int


async def deploy(
    chain: Chain, signer: Signer, roles: Roles, terms: Terms, standing: Standing | None = None
) -> Deployed:
    """Deploy both contracts, or AnchorLog alone for a registry that is there; then verify them.

    Raises:
        HalfDeployed: the second failed.
        Refused, NotSent, NotSettled, ChainError: as ``Operator.send``.
        ChainMisconfigured: what was deployed does not answer as our contracts do.
    """
    operator = Operator(chain, signer, terms)
    gas, cost = 0, 0
    if standing is None:
        registry, receipt = await operator.create(_registry_tx(roles).data, "deploying IdentityRegistry")
        block, gas, cost = receipt.block_number, receipt.gas_used, receipt.gas_used * receipt.price_wei
    else:
        registry, block = standing
    try:
        log, receipt = await operator.create(creation_code("AnchorLog", f"0x{registry.hex()}"), "deploying AnchorLog")
    except ChainError as error:
        if standing is not None:
            raise
        raise HalfDeployed(
            f"{error}. IdentityRegistry is there: go on with --registry-address {address_text(registry)} "
            f"--deploy-block {block}"
        ) from None
    contracts = Contracts(registry, log)
    async with chain.view() as view:
        await verify_contracts(view, contracts)
        for role, account in zip(ROLES, roles, strict=True):
            if standing is None and not await has_role(view, registry, role, account):
                raise ChainMisconfigured(f"the registry {address_text(registry)} did not give the {role} as told")
    gas, cost = gas + receipt.gas_used, cost + receipt.gas_used * receipt.price_wei
    return Deployed(chain.chain_id, contracts, block, gas, cost)


def section(config: ChainConfig, deployed: Deployed) -> str:
    """The section of the configuration, ready to paste."""
    urls, secret = [], False
    for url in config.rpc:
        hidden = _may_hold_a_key(url)
        secret = secret or hidden
        urls.append("credential:rpc-url" if hidden else url)
    facts = deployed.facts()
    lines = [
        "[chain]",
        f"rpc = {json.dumps(urls)}",
        *(
            ["# The URL may have a key in it: put it into the credential rpc-url (LoadCredential=rpc-url:…)."]
            * secret
        ),
        f"chain_id = {facts['chain_id']}",
        f'registry = "{facts["registry"]}"',
        f'anchor_log = "{facts["anchor_log"]}"',
        f"deploy_block = {facts['deploy_block']}",
    ]
    return "\n".join(lines) + "\n"


def _registry_tx(roles: Roles) -> Tx:
    data = creation_code("IdentityRegistry", *(f"0x{account.hex()}" for account in roles))
    return Tx(None, data, "deploying IdentityRegistry")


def _may_hold_a_key(url: str) -> bool:
    parts = urlsplit(url)
    return not url.startswith("credential:") and bool(parts.path.strip("/") or parts.query or parts.fragment)
