"""Registering devices by transaction: what is to be done is found out first, then done batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from gateway.chain.contracts import (
    MAX_BATCH,
    ChainStatus,
    Contracts,
    Kind,
    record_of,
    register_devices_call,
    status_call,
    verify_contracts,
)
from gateway.chain.operator import (
    NotSent,
    Operator,
    Price,
    Refused,
    Signer,
    Terms,
    Tx,
    estimate,
    price_of,
    require_role,
)
from gateway.chain.port import Chain, TxReceipt, View
from gateway.chain.refusals import Refusal
from gateway.chain.rollcall import Applicant, Batch, Plan, Source, call_the_roll, make_plan
from gateway.cli.chain_link import address_text, contracts_of, ether, gwei
from gateway.config.model import ChainConfig

REGISTRAR: Final = "REGISTRAR_ROLE"
ROLE_OF: Final = {"suspend": "SUSPENDER_ROLE", "reinstate": REGISTRAR, "revoke": REGISTRAR}

Told = Callable[[int, int], None]


class Conflicts(Exception):
    """Devices are registered with other facts; nothing was sent."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(f"{len(plan.conflicts)} ids are registered with other facts; nothing was sent")
        self.plan = plan


@dataclass
class Progress:
    """How far the sending came; kept outside of it, so that an interruption can tell."""

    total: int = 0
    registered: int = 0
    already: int = 0
    transactions: list[dict[str, Any]] = field(default_factory=list)
    on_its_way: bytes = b""
    gas_used: int = 0
    cost_wei: int = 0

    def sent(self, tx_hash: bytes) -> None:
        """A transaction was broadcast."""
        self.on_its_way = tx_hash

    def done(self, receipt: TxReceipt, devices: int) -> None:
        """It is in a block."""
        self.on_its_way = b""
        self.registered += devices
        self.gas_used += receipt.gas_used
        self.cost_wei += receipt.gas_used * receipt.price_wei
        self.transactions.append(receipt_facts(receipt) | {"devices": devices})

    def facts(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "registered": self.registered,
            "already": self.already,
            "of": self.total,
            "gas_used": self.gas_used,
            "cost_wei": self.cost_wei,
            "transactions": self.transactions,
        } | ({"on_its_way": f"0x{self.on_its_way.hex()}"} if self.on_its_way else {})


def receipt_facts(receipt: TxReceipt) -> dict[str, Any]:
    """A transaction in its block, for ``--json``."""
    return {
        "tx_hash": f"0x{receipt.tx_hash.hex()}",
        "block": receipt.block_number,
        "gas_used": receipt.gas_used,
        "cost_wei": receipt.gas_used * receipt.price_wei,
    }


class Desk(NamedTuple):
    """Where an operator works: the chain, what is said of it, his account and his terms."""

    chain: Chain
    config: ChainConfig
    signer: Signer
    terms: Terms

    @property
    def contracts(self) -> Contracts:
        """The addresses."""
        return contracts_of(self.config)


async def planned(
    chain: Chain, config: ChainConfig, applicants: Sequence[Applicant], batch: int, told: Told = lambda _d, _a: None
) -> Plan:
    """Compare the list with the chain's events; a single device by its own events alone.

    Raises:
        Conflicts: some are registered with other facts.
    """
    contracts = contracts_of(config)
    async with chain.view() as view:
        await verify_contracts(view, contracts)
        source = Source(contracts.registry, config.deploy_block, config.logs_blocks)
        name = applicants[0].id if len(applicants) == 1 else None
        known = await call_the_roll(view, source, name, told)
    plan = make_plan(applicants, known, batch)
    if plan.conflicts:
        raise Conflicts(plan)
    return plan


async def estimated(chain: Chain, config: ChainConfig, sender: bytes, plan: Plan, terms: Terms) -> dict[str, Any]:
    """What the plan would cost: every batch is asked for, nothing is sent.

    Raises:
        Refused: the account has not the role, or a batch would revert.
    """
    registry = contracts_of(config).registry
    gas, most_wei, price = 0, 0, Price(0, 0, None)
    async with chain.view() as view:
        price = price_of(await view.fees(), terms)
        if plan.batches:
            await require_role(view, registry, REGISTRAR, sender)
        for batch in plan.batches:
            needed = await estimate(view, sender, _tx(registry, batch), terms)
            gas += needed.gas
            most_wei = max(most_wei, needed.most_wei)
        balance = await view.balance(sender)
    return {
        "devices": plan.devices,
        "already": plan.already,
        "batches": len(plan.batches),
        "gas": gas,
        "price_wei": price.now_wei,
        "cost_wei": gas * price.now_wei,
        "account": address_text(sender),
        "balance_wei": balance,
        "enough": balance >= max(most_wei, gas * price.now_wei),
    }


def estimate_words(facts: dict[str, Any]) -> str:
    """An estimate for people."""
    enough = "enough" if facts["enough"] else "NOT enough"
    return (
        f"{facts['devices']} devices would be registered in {facts['batches']} transactions, {facts['already']} are "
        f"already; {facts['gas']} gas, {ether(facts['cost_wei'])} at {gwei(facts['price_wei'])} a unit now.\n"
        f"The account {facts['account']} has {ether(facts['balance_wei'])}: {enough}. Nothing was sent."
    )


async def register(desk: Desk, plan: Plan, progress: Progress, told: Told) -> None:
    """Send the plan, one batch after the other, each when the one before is in its block.

    Raises:
        Refused, NotSent, NotSettled, ChainError: as ``Operator.send``; ``progress`` says how far it came.
    """
    registry = desk.contracts.registry
    progress.total, progress.already = plan.devices, plan.already
    if not plan.batches:
        return
    async with desk.chain.view() as view:
        await require_role(view, registry, REGISTRAR, desk.signer.address)
    operator = Operator(desk.chain, desk.signer, desk.terms, progress.sent)
    for batch in plan.batches:
        try:
            receipt = await operator.send(_tx(registry, batch))
        except NotSent:
            progress.on_its_way = b""
            raise
        progress.done(receipt, len(batch.devices))
        told(progress.registered, progress.total)


async def change_status(desk: Desk, verb: str, kind: Kind, names: Sequence[str]) -> list[dict[str, Any]]:
    """Suspend, reinstate or revoke; those that are so already are left out.

    Raises:
        Refused: one is not registered, of the other kind, or revoked, or the account has not the role: nothing was
            sent. Also as ``Operator.send``.
    """
    contracts = desk.contracts
    async with desk.chain.view() as view:
        await verify_contracts(view, contracts)
        await require_role(view, contracts.registry, ROLE_OF[verb], desk.signer.address)
        todo = [name for name in names if await _changes(view, contracts, verb, kind, name)]
    operator = Operator(desk.chain, desk.signer, desk.terms)
    done = []
    for start in range(0, len(todo), MAX_BATCH):
        part = todo[start : start + MAX_BATCH]
        tx = Tx(contracts.registry, status_call(verb, part), f"{verb} {', '.join(part[:3])}{' …' * (len(part) > 3)}")  # noqa: PLR2004 -- the first few
        done.append(receipt_facts(await operator.send(tx)) | {"ids": part})
    return done


_WANTED: Final = {
    "suspend": ChainStatus.SUSPENDED,
    "reinstate": ChainStatus.ACTIVE,
    "revoke": ChainStatus.REVOKED,
}


async def _changes(view: View, contracts: Contracts, verb: str, kind: Kind, name: str) -> bool:
    """Whether the verb would change anything; what the contract would refuse is refused here, by the id."""
    found = await record_of(view, contracts.registry, name)
    what = f"{verb} {name}: nothing was sent"
    if found is None:
        raise Refused(Refusal("NotRegistered", f'the id "{name}" is not registered', "check the spelling"), what)
    if found[0] is not kind:
        other = found[0].name.lower()
        raise Refused(
            Refusal(
                "", f'"{name}" is a {other}, not a {kind.name.lower()}', f"securenet {other} {verb} is for those"
            ),
            what,
        )
    if found[1] is ChainStatus.REVOKED and verb != "revoke":
        raise Refused(
            Refusal("RevokedForEver", f'"{name}" was revoked, which is for ever', "register another id"), what
        )
    return found[1] is not _WANTED[verb]


def _tx(registry: bytes, batch: Batch) -> Tx:
    first, last = batch.devices[0].id, batch.devices[-1].id
    names = first if first == last else f"{first} to {last}"
    return Tx(registry, register_devices_call(batch.fleet, batch.devices), f"registering {names} in {batch.fleet}")
