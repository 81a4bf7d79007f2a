"""The demo's verdict: the report, and every promise that was not kept, in words.

The gateway has stopped by now; its journal, the records of the devices and the chain are held against each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gateway.cli.demo_audit import Findings, audit
from gateway.cli.demo_chain import CONFIRMATIONS, Office
from gateway.cli.demo_custody import Due, ask_the_chain, judge_anchors, logged_of, read_the_journal
from gateway.cli.demo_delivered import (
    NO_MODELS,
    Published,
    final_s,
    judge_models,
    keys_in,
    read_devices,
    read_log,
)
from gateway.cli.demo_leaver import Leaver, Revocation, judge_revocation
from gateway.cli.demo_stage import Stage
from gateway.cli.demo_world import RECORD, World
from gateway.cli.fsck import FsckReport, fsck
from gateway.cli.options import journal_in, registry_at
from gateway.cli.proof import build_proof
from gateway.config.model import ChainConfig, Config
from gateway.journal import Reader
from gateway.message import Alg
from gateway.ops.exitcodes import ExitCode
from gateway.tlog.proof import dump
from gateway.tlog.verification import Result, Trust, verify_file

_SUMMED = ("sent", "acknowledged", "unanswered", "receipts_verified", "receipts_bad")
_INTERVALS_FOR_TWO = 3
NO_CHAIN: dict[str, Any] = {
    "anchors_final": None,
    "gas_per_message": None,
    "proof_chain_verified": None,
    "revocation_effective": None,
    "revocation_s": None,
}
"""What the report says of a chain when there is none."""


class Played(NamedTuple):
    """How the run went: the gateway's last status, how long devices spoke, and whether Ctrl-C ended it."""

    status: dict[str, Any]
    lasted_s: float
    interrupted: bool


def judge(stage: Stage, played: Played) -> tuple[dict[str, Any], Findings]:
    """Compare the records with the journal and the chain, check the log, prove one message.

    Raises:
        DemoError: a part of what is to be judged is not there.
    """
    world = stage.world
    reports, config = stage.results(), world.config()
    with journal_in(config.gateway.data_dir) as reader:
        findings = audit(world.record_file, reader)
        checked = fsck(reader, world.log_key)
        proofs, proof_problems = _prove(world, reader, findings)
        custody: dict[str, Any] = NO_CHAIN
        chain_problems: tuple[str, ...] = ()
        if stage.leaver is not None:
            custody, chain_problems = _judge_chain(config, reader, stage.leaver, played)
        models, model_problems = _judge_models(stage, config, reader)
    if stage.leaver is not None:
        verified, problem = (
            prove_to_the_chain(stage.office, config.chain, world.proof_file) if proofs else (False, "")
        )
        custody = custody | {"proof_chain_verified": verified}
        proof_problems += [problem] if problem else []
    report = _report(world, reports, played, findings, checked) | {"proofs_verified": proofs} | custody | models
    report["problems"] = [
        *_problems(report, findings, checked),
        *proof_problems,
        *chain_problems,
        *model_problems,
    ]
    return report, findings


def _report(
    world: World, reports: Sequence[dict[str, Any]], played: Played, findings: Findings, checked: FsckReport
) -> dict[str, Any]:
    fleet, status = reports[0], played.status
    return {name: sum(each[name] for each in reports) for name in _SUMMED} | {
        "accepted": checked.messages,
        "rejected": dict(sorted(status["rejected"].items())),
        "cut_off": status["transports"]["coap"]["counters"]["too_large"],
        "honest_rejected": len(findings.honest_rejected),
        "hostile_accepted": len(findings.hostile_accepted),
        "lost": len(findings.lost),
        "log_size": checked.size,
        "root": None if checked.root is None else checked.root.hex(),
        "p50_ms": fleet["p50_ms"],
        "p99_ms": fleet["p99_ms"],
        "doubled": len(findings.doubled),
        "received": status["received"],
        "scenarios": {
            name: {
                "sent": scenario.sent,
                "expected": sorted(scenario.expected),
                "seen": dict(sorted(scenario.seen.items())),
                "shown": scenario.shown,
            }
            for name, scenario in sorted(findings.scenarios.items())
        },
        "broker": world.options.broker,
        "interrupted": played.interrupted,
    }


def _problems(report: dict[str, Any], findings: Findings, checked: FsckReport) -> Iterator[str]:
    yield from findings.samples()
    for name in findings.wrong_reasons:
        yield f"scenario {name}: some messages ended otherwise than they must"
    if checked.difference is not None:
        yield f"the log does not hold from entry {checked.difference.index}: {checked.difference.sentence}"
    if report["receipts_bad"]:
        yield f"{report['receipts_bad']} receipts do not hold"
    if not report["sent"]:
        yield "nothing was sent"


def _prove(world: World, reader: Reader, findings: Findings) -> tuple[int, list[str]]:
    """Export the proof of one honest message, forget the journal, and verify the file with the registry's keys."""
    if not findings.provable:
        return 0, ["no honest message was accepted, so there is nothing to prove"]
    index = next(iter(findings.provable.values()))
    snapshot = registry_at(world.registry_file)
    world.proof_file.write_bytes(dump(build_proof(reader, index, world.config(), snapshot)))
    row = reader.message(index)
    device = None if row is None else snapshot.device(row.device_id)
    miner = snapshot.miner(world.config().gateway.id)
    if device is None or miner is None or miner.key.alg is not Alg.ED25519:
        return 0, ["the registry does not know who signed the message that was to be proven"]
    verified = verify_file(world.proof_file.read_bytes(), Trust(device.key, world.log_key))
    if verified.result is Result.VALID:
        return 1, []
    return 0, [f"the proof of entry {index} does not hold: {', '.join(verified.failed)}"]


def prove_to_the_chain(office: Office, chain: ChainConfig, file: Path) -> tuple[bool, str]:
    """Verify the file as an auditor does: with the chain and the contracts' addresses, and no key given.

    Returns:
        Whether it is valid, and if not, why, in words.

    Raises:
        DemoError: the command failed.
    """
    where = ("--rpc", chain.rpc[0], "--registry-address", chain.registry, "--anchor-log", chain.anchor_log)
    which = ("--chain-id", str(chain.chain_id), "--deploy-block", str(chain.deploy_block))
    codes = (ExitCode.OK, ExitCode.NEGATIVE, ExitCode.UNTRUSTED)
    said = office.wait(
        office.begin("", "proof", "verify", file, *where, *which, "--finality", str(CONFIRMATIONS)), codes
    )
    if said.get("result") == Result.VALID:
        return True, ""
    steps = ", ".join([*said.get("failed", ()), *said.get("open", ())])
    return False, f"the proof does not hold to the chain: {said.get('result', said.get('error'))} ({steps})"


def _judge_chain(
    config: Config, reader: Reader, leaver: Leaver, played: Played
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Hold the chain's anchors against the journal's, and the leaver's record against both."""
    chain = ask_the_chain(config, leaver.block)
    long_enough = played.lasted_s >= _INTERVALS_FOR_TWO * config.anchor.interval_s
    due = Due(2 if long_enough else 1, played.status["log_size"])
    anchors = judge_anchors(chain, read_the_journal(reader, chain), due)
    heard = leaver.heard()
    if leaver.block is None and played.interrupted:
        revocation = Revocation(effective=False, seconds=None, problems=())
    else:
        revocation = judge_revocation(heard, logged_of(reader, leaver.device_id), chain.block_s)
    return anchors.facts() | revocation.facts(), (*anchors.problems, *revocation.problems)


def _judge_models(stage: Stage, config: Config, reader: Reader) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Hold what the models said against what their devices sent. Of a run that Ctrl-C cut short nothing is asked."""
    world, delivery = stage.world, stage.delivery
    if delivery is None:
        return NO_MODELS | {"models_by": None, "models_missing": world.no_models}, ()
    folder = world.soloists_folder
    devices = read_devices(folder / "camera" / RECORD, folder / "sensor" / RECORD)
    when_s = final_s(config, delivery, CONFIRMATIONS)
    published = Published(when_s, keys_in(world.store, delivery.manifests), config.gateway.id, *delivery.models)
    judged = judge_models(devices, read_log(reader), published)
    facts = judged.facts() | {"models_by": "kubo" if world.kubo else "store", "models_missing": None}
    return facts, judged.problems if delivery.is_complete else ()
