"""How the result of a verification is told: steps and what follows, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

from gateway.cli.output import plain
from gateway.tlog.evidence import Answer
from gateway.tlog.meaning import Meaning
from gateway.tlog.verification import Result, Trust, Verification

_MARKS: Final = {True: "holds", False: "FAILS", None: "open"}
_RESULTS: Final = {
    Result.VALID: "The proof is valid.",
    Result.INVALID: "The proof is invalid.",
    Result.UNTRUSTED: "The proof is untrusted.",
    Result.NOT_ESTABLISHED: "The proof is not established: nothing speaks against it, but a step is open.",
}
_UNASKED: Final = "The proof is valid as far as the checkpoint that the log signed; no chain was asked."


def verification_dict(verification: Verification, meaning: Meaning, answers: Sequence[Answer]) -> dict[str, Any]:
    """The result as one object; the names of steps and results are stable."""
    return {
        "result": verification.result.value,
        "failed": [name.value for name in verification.failed],
        "open": [step.name.value for step in verification.steps if step.held is None],
        "steps": [
            {"step": step.name.value, "held": step.held, "sentence": step.sentence} for step in verification.steps
        ],
        "proves": list(meaning.proves),
        "does_not_prove": list(meaning.does_not),
        "endpoints": [answer.endpoint for answer in answers],
    }


def tell_verification(verification: Verification, meaning: Meaning, trust: Trust, *, on_chain: bool) -> None:
    """Write the steps, the result, and what it means."""
    for number, step in enumerate(verification.steps, 1):
        click.echo(f"{number}. {step.name.value:<19} {_MARKS[step.held]:<6} {plain(step.sentence)}")
    unasked = verification.result is Result.VALID and not on_chain
    click.echo(f"\n{_UNASKED if unasked else _RESULTS[verification.result]}")
    if verification.result is Result.UNTRUSTED:
        missing = [name for name, key in (("device", trust.device_key), ("log", trust.log_key)) if key is None]
        sources = "--registry, or by option" if on_chain else "--registry, --rpc, or by option"
        click.echo(f"Give the {' and the '.join(missing)} key from a source you trust ({sources}).")
    _tell_list("What this proves", meaning.proves)
    _tell_list("What this does not prove", meaning.does_not)


def _tell_list(title: str, sentences: Iterable[str]) -> None:
    told = list(sentences)
    if told:
        click.echo(f"\n{title}:")
    for sentence in told:
        click.echo(f"- {plain(sentence)}")
