"""Asks every endpoint of the chain, and the first that is well about this gateway. Imports web3 when it asks."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.chain.port import ChainError, ChainMisconfigured, View
from gateway.config.model import Config
from gateway.crypto.keystore import KeystoreRefused, stated_address
from gateway.doctor import endpoints
from gateway.doctor.case import Case
from gateway.doctor.endpoints import EndpointFact, GatewayFact
from gateway.doctor.finding import Finding
from gateway.ops.secrets import CREDENTIAL, SecretError, read_secret

if TYPE_CHECKING:
    from gateway.chain.client import EvmChain

_EXTRA: Final = ("web3", "eth_", "aiohttp", "hexbytes")
_ANCHOR_GAS: Final = 60_000
"""What an anchor takes at most once the log was opened: the limit that the contracts' tests hold."""


class _Clock:
    """Both clocks of the machine."""

    monotonic_s = staticmethod(time.monotonic)

    @staticmethod
    def wall_ms() -> int:
        return time.time_ns() // 1_000_000


async def ask_chain(case: Case) -> list[Finding]:
    """Every endpoint, one after the other: they are others' machines."""
    try:
        import gateway.chain.client  # noqa: PLC0415 -- the Ethereum libraries: a second, 30 MB
    except ModuleNotFoundError as missing:
        if missing.name is None or not missing.name.startswith(_EXTRA):
            raise
        return [endpoints.SHEET.found("extra-missing", f"the module {missing.name} is not installed")]
    client, config = gateway.chain.client, case.sound
    told: list[EndpointFact] = []
    about: GatewayFact | None = None
    for number, entry in enumerate(config.chain.rpc, 1):
        label = entry if entry.startswith(CREDENTIAL) else f"endpoint {number}"
        began = time.monotonic()
        try:
            async with client.EvmChain(replace(config.chain, rpc=(entry,)), _Clock(), resolve=_resolve) as chain:
                fact, said = await _one(chain, config, began, asked=about is not None)
        except ChainError as fault:
            fact, said = (
                EndpointFact(label, fault=str(fault), misconfigured=isinstance(fault, ChainMisconfigured)),
                None,
            )
        told.append(fact)
        about = about or said
    return endpoints.judge(config, told, about)


async def _one(
    chain: EvmChain, config: Config, began_s: float, *, asked: bool
) -> tuple[EndpointFact, GatewayFact | None]:
    async with chain.view() as view:
        took_s, health = time.monotonic() - began_s, chain.health()[0]
        fact = EndpointFact(health.endpoint, view.head.number, health.head_age_s, took_s)
        return fact, None if asked else await _about(view, config)


def _resolve(entry: str) -> str:
    if not entry.startswith(CREDENTIAL):
        return entry
    try:
        return read_secret(entry).decode("utf-8").strip()
    except (SecretError, UnicodeDecodeError) as fault:
        words = str(fault) if isinstance(fault, SecretError) else f"{entry} is no URL"
        raise ChainMisconfigured(words) from None


async def _about(view: View, config: Config) -> GatewayFact:
    """The contracts, the registration, the money."""
    from gateway.chain import contracts as known  # noqa: PLC0415 -- the Ethereum libraries

    registry, log = known.address_of(config.chain.registry), known.address_of(config.chain.anchor_log)
    try:
        await known.verify_contracts(view, known.Contracts(registry, log))
    except ChainMisconfigured as fault:
        return GatewayFact(contracts=str(fault))
    record = await known.record_of(view, registry, config.gateway.id)
    wrong = ""
    if config.models.enabled and not await view.code(known.address_of(config.chain.model_registry)):
        wrong = f"chain.model_registry {config.chain.model_registry} has no code on this chain"
    head = await known.latest(view, log, known.log_id(config.origin))
    fees, account = await view.fees(), _account(config)
    price = (
        fees.gas_price_wei
        if fees.base_fee_wei is None
        else fees.base_fee_wei + min(fees.priority_fee_wei, int(config.anchor.priority_fee_gwei * endpoints.GWEI))
    )
    most = min(int(config.anchor.max_fee_gwei * endpoints.GWEI), 2 * price)
    return GatewayFact(
        model_registry=wrong,
        miner=None if record is None or record[0] is not known.Kind.MINER else record[1].name.lower(),
        balance_wei=None if account is None else await view.balance(account),
        anchor_wei=_ANCHOR_GAS * price,
        reserve_wei=config.anchor.gas_limit * most,
        account="" if account is None else f"0x{account.hex()}",
        frozen=head.frozen,
    )


def _account(config: Config) -> bytes | None:
    """The anchoring account, as its keystore states it without being opened."""
    try:
        return stated_address(read_secret(config.anchor.key_file))
    except (SecretError, KeystoreRefused):
        return None
