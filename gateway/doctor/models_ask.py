"""Reads the registry, asks each source of blocks for the empty directory, and the journal for the models that ran."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from pathlib import Path
from typing import Final

from gateway.config.model import Config
from gateway.doctor.case import Case
from gateway.doctor.finding import Finding
from gateway.doctor.models import (
    IPFS,
    ModelFacts,
    RegistryFact,
    SourceFact,
    judge_ipfs,
    judge_models,
    judge_registry,
)
from gateway.doctor.runner import aside
from gateway.journal import JournalError, RanState, open_reader
from gateway.registry.file import RegistryError, load_registry
from gateway.vault.cid import Codec, WrongBlock, block_of, verify_block
from gateway.vault.source import BlockSource, SourceFailure, SourceFault

_DEVICE: Final = 1
_ACTIVE: Final = 1
_LOADED: Final = {1, 3}
_REFUSED: Final = 2
_WAIT_S: Final = 8.0
EMPTY_DIRECTORY: Final = b"\x0a\x02\x08\x01"
"""An empty directory of UnixFS: bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354."""


async def ask_registry(case: Case) -> list[Finding]:
    """Who may speak, by file or as the journal has it from the chain."""
    fact = await aside(_chain_registry if case.sound.chain.rpc else _file_registry, case.sound)
    return judge_registry(case.sound, fact, case.now_ms)


def _file_registry(config: Config) -> RegistryFact:
    try:
        snapshot = load_registry(config.registry.file)
    except RegistryError as fault:
        return RegistryFact(by_chain=False, problem=str(fault))
    devices = list(snapshot.devices())
    active = [each for each in devices if each.status.value == "active"]
    mine = any(each.fleet == config.gateway.fleet for each in active)
    return RegistryFact(by_chain=False, devices=len(devices), active=len(active), of_fleet=mine)


def _chain_registry(config: Config) -> RegistryFact:
    try:
        with open_reader(config.gateway.data_dir) as reader:
            cursor = reader.identity_cursor()
            devices = active = 0
            mine = False
            for row in reader.identities():
                if row.kind == _DEVICE:
                    devices += 1
                    active += row.status == _ACTIVE
                    mine = mine or row.fleet == config.gateway.fleet
    except (JournalError, OSError):
        return RegistryFact(by_chain=True)
    as_of_ms = None if cursor is None else cursor.as_of_ms
    return RegistryFact(by_chain=True, devices=devices, active=active, of_fleet=mine, as_of_ms=as_of_ms)


async def ask_models(case: Case) -> list[Finding]:
    """What ran, and what was refused since."""
    facts = await aside(_models, case.sound)
    if case.status is not None:
        told = [str(each) for each in case.status.get("warnings", ()) if "model" in str(each)]
        running = case.status.get("models") or {}
        facts = facts._replace(warnings=told[:10], running=running.get("models"))
    return judge_models(case.sound, facts)


def _models(config: Config) -> ModelFacts:
    interpreter = importlib.util.find_spec("ai_edge_litert") is not None
    ran: dict[str, int] = {}
    aside_now: dict[str, int] = {}
    refused: dict[str, str] = {}
    try:
        with open_reader(config.gateway.data_dir) as reader:
            for model in reader.models():
                for version in model.versions:
                    if version.state is RanState.GOOD:
                        ran[model.model_id] = version.version
                    elif version.state is RanState.ASIDE:
                        aside_now.setdefault(model.model_id, version.version)
            settled: set[str] = set()
            for report in reader.model_reports():  # the newest first: what comes before a loading is over
                if report.result == _REFUSED and report.model_id not in settled:
                    refused.setdefault(report.model_id, report.reason)
                settled.add(report.model_id)
    except (JournalError, OSError):
        pass  # the check of the journal says so
    return ModelFacts(ran, aside_now, refused, interpreter=interpreter)


async def ask_ipfs(case: Case) -> list[Finding]:
    """The empty directory of each source, which every node has: one that says that it has none answers as well."""
    try:
        from gateway.vault import ipfs_sources as sources  # noqa: PLC0415 -- aiohttp
    except ModuleNotFoundError as missing:
        return [IPFS.found("extra-missing", f"the module {missing.name} is not installed")]
    config = case.sound
    asked: list[BlockSource] = []
    for text in config.ipfs.sources:
        kind, _, where = text.partition(":")
        if kind == "car":
            asked.append(sources.CarFile(Path(where)))
        elif kind == "store":
            asked.append(sources.StoreSource(sources.block_store(config)))
        elif not case.offline:
            asked.append(sources.KuboSource(where) if kind == "kubo" else sources.GatewaySource(where))
    try:
        return judge_ipfs(await asyncio.gather(*(_ask(each) for each in asked)))
    finally:
        for source in asked:
            await source.close()


async def _ask(source: BlockSource) -> SourceFact:
    cid, began = block_of(Codec.DAG_PB, EMPTY_DIRECTORY).cid, time.monotonic()
    try:
        async with asyncio.timeout(_WAIT_S):
            verify_block(cid, await source.get(cid))
    except SourceFault as fault:
        absent = fault.failure is SourceFailure.ABSENT and "no such file" not in str(fault)
        return SourceFact(source.label, absent, fault.failure is SourceFailure.WRONG_BLOCK, str(fault), _since(began))
    except WrongBlock as fault:
        return SourceFact(source.label, answered=True, wrong=True, words=str(fault), took_ms=_since(began))
    except TimeoutError:
        return SourceFact(source.label, answered=False, words=f"{source.label}: no answer in {_WAIT_S:g} s")
    return SourceFact(source.label, answered=True, took_ms=_since(began))


def _since(began_s: float) -> float:
    return (time.monotonic() - began_s) * 1000
