"""Holds a gateway to the formats page: sends every case of the kit over MQTT and CoAP and compares.

Over CoAP each message has its answer. Over MQTT a message whose signature does not hold is met with silence, so the
runner keeps listening until all is sent, one honest message has come back, and a while has passed.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from firmware_sim.carriers import MqttOptions
from firmware_sim.coap_link import CoapAddress
from firmware_sim.keys import FleetKeys
from firmware_sim.kit_coap import CoapBench
from firmware_sim.kit_cose_cases import cose_cases
from firmware_sim.kit_jws_cases import jws_cases
from firmware_sim.kit_model import Bench, Case, KitError, Step
from firmware_sim.kit_mqtt import MqttBench
from firmware_sim.kit_order import order_cases
from firmware_sim.kit_report import Finding, kit_report
from firmware_sim.kit_signature import signature_cases
from firmware_sim.kit_transport import transport_cases
from firmware_sim.kit_window import window_cases
from firmware_sim.ledger import SILENT, UNSIGNED_REASONS, Via
from firmware_sim.mqtt_packets import V5
from firmware_sim.receipt import ReceiptVerifier

__all__ = ["ConformanceOptions", "KitError", "all_cases", "run_kit"]

MQTT_AT_ONCE: Final = 64
COAP_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class ConformanceOptions:
    """What the kit is to do.

    Attributes:
        mqtt: how to reach the broker, or None.
        coap: where the gateway's CoAP is, or None.
        only: only cases whose name holds this text, or None.
        quiet_s: how long silence must last.
        message_bytes: the gateway's limit for one message.
    """

    mqtt: MqttOptions | None
    coap: CoapAddress | None
    only: str | None = None
    quiet_s: float = 3.0
    message_bytes: int = 65_536


def all_cases() -> Iterator[Case]:
    """Every case, in the order of the page."""
    yield from cose_cases()
    yield from jws_cases()
    yield from signature_cases()
    yield from order_cases()
    yield from window_cases()
    yield from transport_cases()


def expectation(step: Step) -> str:
    """What a step must end in, further readings after a bar."""
    return "|".join(step.expected)


def judge(case: Case, steps: Sequence[Step], outcomes: Sequence[str], via: Via, note: str = "") -> Finding:
    """Compare what happened with what the page says."""
    verdict = "passed"
    for step, outcome in zip(steps, outcomes, strict=True):
        first = _fits(step.expected[0], outcome)
        if not first and any(_fits(other, outcome) for other in step.expected[1:]):
            verdict = "second reading"
        elif not first:
            verdict = "failed"
            break
    return Finding(
        name=case.name,
        section=case.section,
        via=via,
        expected=tuple(expectation(step) for step in steps),
        outcome=tuple(outcomes),
        verdict=verdict,
        note=note,
        unclear=case.unclear,
    )


def _fits(expected: str, outcome: str) -> bool:
    return outcome == expected or (outcome == SILENT and expected in UNSIGNED_REASONS)


def list_cases(options: ConformanceOptions, keys: FleetKeys) -> dict[str, Any]:
    """The names of the cases, and what each must end in."""
    bench = Bench(keys, "coap", options.message_bytes)
    rows = []
    for case in _chosen(options):
        steps = list(case.make(bench))
        rows.append({"name": case.name, "expected": ", ".join(expectation(step) for step in steps)})
    return {"cases": rows, "failed": 0}


def _chosen(options: ConformanceOptions) -> list[Case]:
    cases = [case for case in all_cases() if options.only is None or options.only in case.name]
    if not cases:
        raise KitError(f"no case's name holds {options.only!r}")
    return cases


async def run_kit(
    options: ConformanceOptions, keys: FleetKeys, verifier: ReceiptVerifier | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Run the kit.

    Args:
        options: what to do.
        keys: the fleet; its registry lines must be in force at the gateway.
        verifier: checks receipts; None only lists the cases.
        say: told how it goes.

    Returns:
        The report; see `kit_report`.

    Raises:
        KitError: the options or keys do not do.
        CarrierError: a transport did not come up.
    """
    if verifier is None:
        return list_cases(options, keys)
    if options.mqtt is None and options.coap is None:
        raise KitError("neither an MQTT broker nor a CoAP gateway was named")
    cases = _chosen(options)
    findings: list[Finding] = []
    strays: list[str] = []
    if options.mqtt is not None:
        version5 = options.mqtt.version == V5
        mine = [case for case in cases if "mqtt" in case.over and (version5 or not case.needs_mqtt5)]
        say(f"MQTT: {len(mine)} cases")
        bench = MqttBench(options.mqtt, Bench(keys, "mqtt", options.message_bytes), verifier, options.quiet_s)
        async with bench:
            runs = await _run_all(mine, bench.bench, bench.run, MQTT_AT_ONCE)
            strays += await bench.listen_on()
            findings += [judge(run.case, run.steps, bench.heard(run.outcomes, run.steps), "mqtt") for run in runs]
    if options.coap is not None:
        mine = [case for case in cases if "coap" in case.over]
        say(f"CoAP: {len(mine)} cases")
        coap = CoapBench(options.coap, verifier)
        async with coap:
            runs = await _run_all(mine, Bench(keys, "coap", options.message_bytes), coap.run, COAP_AT_ONCE)
            findings += [judge(run.case, run.steps, run.outcomes, "coap") for run in runs]
            if options.only is None or "resource" in options.only:
                findings += await coap.extras(Bench(keys, "coap", options.message_bytes))
    return kit_report(findings, strays)


@dataclass(slots=True)
class _Run:
    case: Case
    steps: list[Step]
    outcomes: list[str]


async def _run_all(cases: Sequence[Case], bench: Bench, run: Callable[[Step], Any], at_once: int) -> list[_Run]:
    slots = asyncio.Semaphore(at_once)

    async def one(case: Case) -> _Run:
        async with slots:
            done = _Run(case, [], [])
            for step in case.make(bench):
                done.steps.append(step)
                done.outcomes.append(await run(step))
            return done

    return list(await asyncio.gather(*(one(case) for case in cases)))
