"""What the chain says of models, and transactions that change it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gateway.chain.contracts import address_of, id_hash
from gateway.chain.model_events import (
    AccessReported,
    GrantChanged,
    ModelHistory,
    access_filter,
    decode_model_event,
    fold_models,
    read_models,
)
from gateway.chain.models import verify_model_contract
from gateway.chain.operator import Operator, Tx
from gateway.chain.port import Chain, EndpointFault, LogFilter, LogRecord, TooManyLogs, View
from gateway.cli.chain_link import Payment, Target, address_text, ask
from gateway.cli.device_roll import receipt_facts
from gateway.cli.output import CliError
from gateway.config.model import ChainConfig
from gateway.ops.exitcodes import ExitCode

_BLOCKS_AT_ONCE = 5000
_ACCESSES_MAX = 100_000
_TIME_MAX_S = 253_402_300_799
"""The last second of the year 9999."""


def models_of(target: Target, model_registry: str) -> tuple[ChainConfig, bytes]:
    """Which chain, and the address of its ModelRegistry; or end."""
    config = target.chain(needs_contracts=False)
    if model_registry:
        config = replace(config, model_registry=model_registry)
    if not config.model_registry:
        raise CliError(
            ExitCode.USAGE if target.rpc else ExitCode.CONFIG,
            "no ModelRegistry is named: set [chain] model_registry (securenet chain deploy prints it), or give "
            "--model-registry",
        )
    return config, address_of(config.model_registry)


def change(
    calls: Sequence[tuple[bytes, str]], target: Target, model_registry: str, payment: Payment
) -> list[dict[str, Any]]:
    """Send one transaction after the other; what each came to."""
    config, models = models_of(target, model_registry)
    key, terms = payment.key(), payment.terms(config)

    async def sent(chain: Chain) -> list[dict[str, Any]]:
        async with chain.view() as view:
            await verify_model_contract(view, models)
        operator = Operator(chain, key, terms)
        return [{"what": what} | receipt_facts(await operator.send(Tx(models, call, what))) for call, what in calls]

    return ask(config, sent)


def told(target: Target, model_registry: str, model_ids: tuple[str, ...] = ()) -> dict[str, Any]:
    """The models as of the newest block."""
    config, models = models_of(target, model_registry)

    async def read(chain: Chain) -> dict[str, Any]:
        async with chain.view() as view:
            await verify_model_contract(view, models)
            events = await read_models(
                view, models, config.deploy_block, view.head.number, model_ids, blocks=config.logs_blocks
            )
            found = fold_models(events)
            now_s = view.head.timestamp_s
            return {
                "block": view.head.number,
                "models": [_model(name, history, now_s) for name, history in sorted(found.items())],
            }

    return ask(config, read)


def accesses(target: Target, model_registry: str, model_id: str | None, gateway: str | None) -> dict[str, Any]:
    """The access log. A gateway is named where its grant, or the question, tells whose hash it is."""
    config, models = models_of(target, model_registry)

    async def read(chain: Chain) -> dict[str, Any]:
        async with chain.view() as view:
            await verify_model_contract(view, models)
            start, end = config.deploy_block, view.head.number
            granted = await read_models(view, models, start, end, (model_id,) if model_id else ())
            records = await _records(view, access_filter(models, model_id, gateway), start, end)
        names = [event.gateway_id for event in granted if isinstance(event, GrantChanged)]
        return {"block": end, "accesses": list(_accesses(records, [*names, *([gateway] if gateway else [])]))}

    return ask(config, read)


def condition(model: dict[str, Any]) -> str:
    """How the newest version is, in a word."""
    return str(model["versions"][-1]["is"]) if model["versions"] else "not published"


async def _records(view: View, wanted: LogFilter, start: int, end: int) -> list[LogRecord]:
    found, span = list[LogRecord](), _BLOCKS_AT_ONCE
    while start <= end:
        last = min(end, start + span - 1)
        try:
            found += await view.logs(wanted, start, last)
        except TooManyLogs:
            if last == start:
                raise EndpointFault(f"{view.endpoint} does not tell the events of block {start}: too many") from None
            span = max(1, span // 2)
            continue
        if len(found) > _ACCESSES_MAX:
            raise EndpointFault(f"{view.endpoint} has more than {_ACCESSES_MAX} accesses: name a model or a gateway")
        start = last + 1
    return found


def _accesses(records: Iterable[LogRecord], gateways: Iterable[str]) -> Iterable[dict[str, Any]]:
    names = {id_hash(name): name for name in gateways}
    for record in records:
        event = decode_model_event(record)
        if not isinstance(event, AccessReported):
            raise EndpointFault("an event came that was not asked for")
        yield {
            "block": record.block_number,
            "gateway": names.get(event.gateway_hash, f"0x{event.gateway_hash.hex()}"),
            "model_id": event.model_id,
            "version": event.version,
            "result": event.result.name.lower(),
            "reason": event.reason,
            "tx_hash": f"0x{record.tx_hash.hex()}",
        }


def _model(name: str, history: ModelHistory, now_s: int) -> dict[str, Any]:
    return {
        "model_id": name,
        "owner": address_text(history.owner) if history.owner else "",
        "newest": history.newest,
        "floor": history.floor,
        "granted": sorted(history.granted),
        "versions": [
            {
                "version": number,
                "cid": each.manifest_cid,
                "sha256": each.manifest_sha256.hex(),
                "valid_until": _time(each.valid_until_s),
                "signed_by": f"0x{each.publisher_key.data.hex()}",
                "is": _condition(
                    revoked=each.revoked, below=number < history.floor, expired=each.valid_until_s <= now_s
                ),
            }
            for number, each in sorted(history.versions.items())
        ],
    }


def _condition(*, revoked: bool, below: bool, expired: bool) -> str:
    if revoked:
        return "revoked"
    if below:
        return "below the floor"
    return "expired" if expired else "valid"


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(min(seconds, _TIME_MAX_S), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
