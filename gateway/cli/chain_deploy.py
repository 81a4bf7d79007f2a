"""Deploying the three contracts, and the section of the configuration that comes of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from gateway.chain.contracts import Contracts, creation_code, has_role, verify_contracts
from gateway.chain.models import GRANTER_ROLE, verify_model_contract
from gateway.chain.operator import NotSent, Operator, Signer, Terms, Tx, estimate, price_of
from gateway.chain.port import Chain, ChainError, ChainMisconfigured, TxReceipt
from gateway.chain.refusals import ROLES
from gateway.cli.chain_link import address_text, ether, gwei
from gateway.config.model import ChainConfig

ANCHOR_LOG_GAS: Final = 460_000
"""Deploying AnchorLog, as measured (docs/spec/contracts.md) and rounded up: it asks for a registry with code, so that
no node can estimate it before the registry is there."""
MODEL_REGISTRY_GAS: Final = 2_850_000
"""Deploying ModelRegistry, likewise."""


class Roles(NamedTuple):
    """Who may do what, 20 bytes each. The admin is that of both registries; the registrar grants models too."""

    admin: bytes
    registrar: bytes
    suspender: bytes


class Deployed(NamedTuple):
    """The contracts on their chain."""

    chain_id: int
    contracts: Contracts
    model_registry: bytes
    deploy_block: int
    gas_used: int
    cost_wei: int

    def facts(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "chain_id": self.chain_id,
            "registry": address_text(self.contracts.registry),
            "anchor_log": address_text(self.contracts.anchor_log),
            "model_registry": address_text(self.model_registry),
            "deploy_block": self.deploy_block,
            "gas_used": self.gas_used,
            "cost_wei": self.cost_wei,
        }


class HalfDeployed(NotSent):
    """Some contracts are there, others are not: how to go on is in the words."""


async def estimated(chain: Chain, sender: bytes, roles: Roles, terms: Terms) -> dict[str, Any]:
    """What a deployment would cost; nothing is sent.

    Raises:
        Refused, NotSent, ChainError: as ``gateway.chain.operator.estimate``.
    """
    async with chain.view() as view:
        price = price_of(await view.fees(), terms)
        needed = await estimate(view, sender, _registry_tx(roles), terms)
        balance = await view.balance(sender)
    gas = needed.gas + ANCHOR_LOG_GAS + MODEL_REGISTRY_GAS
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
        f"Chain {facts['chain_id']}: three contracts would take {facts['gas']} gas, {ether(facts['cost_wei'])} at "
        f"{gwei(facts['price_wei'])} a unit now.\n"
        f"The account {facts['account']} has {ether(facts['balance_wei'])}: {enough}. Nothing was sent."
    )


class Standing(NamedTuple):
    """A registry that is there already, and its block; with ``anchor_log``, the log too."""

    registry: bytes
    deploy_block: int
    anchor_log: bytes | None = None


async def deploy(
    chain: Chain, signer: Signer, roles: Roles, terms: Terms, standing: Standing | None = None
) -> Deployed:
    """Deploy the contracts, or those that are missing beside a registry that is there; then verify them all.

    Raises:
        HalfDeployed: the registry was deployed, another contract failed.
        Refused, NotSent, NotSettled, ChainError: as ``Operator.send``.
        ChainMisconfigured: what was deployed does not answer as our contracts do.
    """
    operator = Operator(chain, signer, terms)
    spent: list[TxReceipt] = []

    async def create(name: str, *args: object) -> bytes:
        address, receipt = await operator.create(creation_code(name, *args), f"deploying {name}")
        spent.append(receipt)
        return address

    if standing is None:
        registry = await create("IdentityRegistry", *_texts(roles))
        block, log = spent[0].block_number, None
    else:
        registry, block, log = standing
    where, names = f"0x{registry.hex()}", "IdentityRegistry is"
    try:
        if log is None:
            log = await create("AnchorLog", where)
            names = "IdentityRegistry and AnchorLog are"
        models = await create("ModelRegistry", where, *_texts((roles.admin, roles.registrar)))
    except ChainError as error:
        if not spent:
            raise
        there = f" --anchor-log-address {address_text(log)}" if log else ""
        raise HalfDeployed(
            f"{error}. {names} there: go on with --registry-address {address_text(registry)}{there} "
            f"--deploy-block {block}"
        ) from None
    contracts = Contracts(registry, log)
    async with chain.view() as view:
        await verify_contracts(view, contracts)
        await verify_model_contract(view, models, registry)
        given = [] if standing is not None else [(registry, *each) for each in zip(ROLES, roles, strict=True)]
        given += [(models, ROLES[0], roles.admin), (models, GRANTER_ROLE, roles.registrar)]
        for contract, role, account in given:
            if not await has_role(view, contract, role, account):
                raise ChainMisconfigured(f"the contract {address_text(contract)} did not give the {role} as told")
    gas, cost = sum(each.gas_used for each in spent), sum(each.gas_used * each.price_wei for each in spent)
    return Deployed(chain.chain_id, contracts, models, block, gas, cost)


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
        f'model_registry = "{facts["model_registry"]}"',
        f"deploy_block = {facts['deploy_block']}",
    ]
    return "\n".join(lines) + "\n"


def _registry_tx(roles: Roles) -> Tx:
    return Tx(None, creation_code("IdentityRegistry", *_texts(roles)), "deploying IdentityRegistry")


def _texts(accounts: Iterable[bytes]) -> list[str]:
    return [f"0x{account.hex()}" for account in accounts]


def _may_hold_a_key(url: str) -> bool:
    parts = urlsplit(url)
    return not url.startswith("credential:") and bool(parts.path.strip("/") or parts.query or parts.fragment)
