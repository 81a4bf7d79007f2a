"""What a verified proof means to people who have to decide by it: what it shows, and what it cannot (pure).

A line is told only when the steps that it rests on held. The second list is as long as it is honest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.tlog.evidence import Answer, Evidence, subject_of
from gateway.tlog.onchain import when
from gateway.tlog.proof import ProofFile
from gateway.tlog.verification import Result, StepName, Verification

_ANCHORED = frozenset(
    {
        StepName.ENTRY,
        StepName.INCLUSION,
        StepName.CHAIN,
        StepName.ANCHOR_CONSISTENCY,
        StepName.MINER_KEY,
        StepName.ANCHOR_EVENT,
        StepName.NOT_FROZEN,
        StepName.FINAL,
    }
)


class Meaning(NamedTuple):
    """Sentences: what the proof proves, and what it does not."""

    proves: tuple[str, ...]
    does_not: tuple[str, ...]


def meaning(proof: ProofFile, verification: Verification, answers: Sequence[Answer] = ()) -> Meaning:
    """Say what follows from a verification.

    Args:
        proof: the file.
        verification: what became of it.
        answers: what the endpoints said; none for a verification that needed no chain.
    """
    if verification.result is Result.INVALID:
        refused = ", ".join(verification.failed)
        return Meaning((), (f"Anything: a step that must hold does not ({refused}).",))
    held = {step.name for step in verification.steps if step.held}
    untrusted = verification.result is Result.UNTRUSTED
    proves = [] if untrusted else _proves(proof, held)
    return Meaning(tuple(proves), tuple(_does_not(proof, verification, answers)))


def _proves(proof: ProofFile, held: set[StepName]) -> list[str]:
    subject, anchor = subject_of(proof), proof.anchor
    told = []
    if StepName.DEVICE_SIGNATURE in held:
        whose = "the key that you gave" if StepName.DEVICE_REGISTERED not in held else "its registered key"
        told.append(
            f"The device {subject.device_id} signed this message with {whose}; no byte of it was changed since."
        )
    if {StepName.ENTRY, StepName.INCLUSION, StepName.CHECKPOINT} <= held:
        index = proof.tlog_proof.log_index
        told.append(f"The gateway's log {subject.origin} holds it as entry {index}, and the gateway signed for that.")
    if anchor is not None and held >= _ANCHORED:
        told.append(
            f"The entry existed when block {anchor.block_number} of chain {anchor.chain_id} was made; since then it"
            " can be neither altered nor taken out of the log without that showing."
        )
    if StepName.DEVICE_STATUS in held:
        told.append("The registry counted the device as active in that block.")
    return told


def _does_not(proof: ProofFile, verification: Verification, answers: Sequence[Answer]) -> list[str]:
    subject = subject_of(proof)
    told = list(dict.fromkeys(step.sentence for step in verification.steps if step.held is None))
    if verification.result is Result.UNTRUSTED:
        told.append("Whose message and whose log it is: the keys are the file's own, and nobody vouches for them.")
    if subject.logged_ms is not None:
        logged = when(subject.logged_ms / 1000)
        told.append(f"When the reading was made: the device's time and the gateway's ({logged}) are their own words.")
    told += [
        "That the reading is true: the device signs what its sensor says.",
        "Who held the device when it signed: a key that was copied signs as well.",
        "That this is all the device sent: what never came to the log leaves no trace in it.",
    ]
    said = [answer for answer in answers if isinstance(answer, Evidence)]
    if len(said) == 1:
        told.append(
            f"That {said[0].endpoint} told the truth: it was asked alone. Ask several of different owners (--rpc)."
        )
    return told
