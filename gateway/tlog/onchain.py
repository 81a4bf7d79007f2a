"""The steps of a proof that only a chain can hold: what its endpoints said, weighed (pure).

An endpoint's answer is an ``Evidence`` (``gateway.tlog.evidence``), or the reason why there is none. From it come,
behind the steps of ``gateway.tlog.verification``:

1. ``chain``: the file speaks of the chain, the contract and the log that the verifier means;
2. ``device-registered``: the key that signed is the one that the registry has for that device;
3. ``device-status``: the device was active in the anchor's block (ADR 0110 says what follows when it was not);
4. ``miner-key``: the key on the checkpoint was registered for that log;
5. ``anchor-event``: the contract anchored that root at that size, in that block, by the gateway's account;
6. ``not-frozen``: nobody was ever caught anchoring two roots of one size of that log (ADR 0111);
7. ``final``: the block is final, and is the one that the chain has at that height;
8. ``endpoints-agree``: when several were asked.

Nothing is believed before it is final. ``held`` is None for what could not be established; then, or when the file has
no anchor, the result is ``not-established``: neither valid nor invalid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from gateway.registry.port import Status
from gateway.tlog.checkpoint import VerifierKey
from gateway.tlog.evidence import (
    AnchoredRoot,
    Answer,
    Enrolled,
    Evidence,
    Keyed,
    Moved,
    Spot,
    Subject,
    TwoRoots,
    Unreached,
    subject_of,
)
from gateway.tlog.proof import Anchor, ProofFile
from gateway.tlog.verification import Result, Step, StepName, Trust, Verification, verify

CLOCK_SLACK_S = 300
"""How far the gateway's clock and the chain's may be apart before the one accuses the other."""

_NO_ANCHOR = "Not established: the file has no anchor yet; export it again when one is final."
_NO_MESSAGE = "Not established: the file has no device message to ask about."


def resolve(proof: ProofFile, answers: Sequence[Answer], given: Trust) -> Trust:
    """Fill in, from the registry on chain, the keys that the verifier did not give.

    The log's is the file's when it was ever registered for that log, else the newest: then the checkpoint's step says
    that the file names another.
    """
    said = _reached(answers)
    if not said:
        return given
    device_key, log_key = given
    evidence, subject = said[0], subject_of(proof)
    enrolled = evidence.enrolled
    if device_key is None and enrolled and enrolled.at.block <= evidence.final and enrolled.fleet == subject.fleet:
        device_key = enrolled.key
    keys = [keyed.log_key for keyed in evidence.keyed if keyed.at.block <= evidence.final]
    if log_key is None and keys:
        hint = proof.log_key.public_key
        log_key = VerifierKey(subject.origin, hint if hint in keys else keys[-1])
    return Trust(device_key, log_key)


def verify_on_chain(proof: ProofFile, given: Trust, answers: Sequence[Answer]) -> Verification:
    """Verify a proof to its end: the steps that need no chain under the keys of the registry, then the chain's.

    Args:
        proof: the parsed file.
        given: keys that the verifier has from elsewhere; the registry must have the same.
        answers: one of each endpoint that was asked, at least one.
    """
    if not answers:
        raise ValueError("ask an endpoint first")
    offline = verify(proof, resolve(proof, answers, given))
    before = tuple(step for step in offline.steps if step.name is not StepName.ANCHOR_ON_CHAIN)
    if proof.anchor is None:
        before = (*before, Step(StepName.ANCHOR_CONSISTENCY, held=None, sentence=_NO_ANCHOR))
    steps = before + chain_steps(proof, answers)
    if any(step.held is False for step in steps):
        result = Result.INVALID
    elif offline.result is Result.UNTRUSTED:
        result = Result.UNTRUSTED
    elif any(step.held is None for step in steps):
        result = Result.NOT_ESTABLISHED
    else:
        result = Result.VALID
    return Verification(result, steps)


def chain_steps(proof: ProofFile, answers: Sequence[Answer]) -> tuple[Step, ...]:
    """Return the chain's steps, of all endpoints together: what they do not say alike is not established."""
    subject, said = subject_of(proof), _reached(answers)
    if not said:
        whys = "; ".join(f"{answer.endpoint}: {answer.why}" for answer in answers if isinstance(answer, Unreached))
        unknown = [Step(name, held=None, sentence="Not established: no endpoint was of use.") for name, _ in _STEPS]
        unknown[0] = unknown[0]._replace(sentence=f"Not established: no endpoint was of use ({whys}).")
        return tuple(unknown)
    steps = tuple(
        _joined([(evidence.endpoint, _step(name, ask, proof, subject, evidence)) for evidence in said])
        for name, ask in _STEPS
    )
    return steps if len(answers) == 1 else (*steps, _agreement(answers, said))


def status_at(enrolled: Enrolled, moves: Sequence[Moved], block: int) -> tuple[Status, Spot] | None:
    """Return the status after a block, and since where; None before the registration."""
    if enrolled.at.block > block:
        return None
    last = next((move for move in reversed(moves) if move.at.block <= block), None)
    return (Status.ACTIVE, enrolled.at) if last is None else (last.status, last.at)


def when(time_s: float) -> str:
    """Return a time in words, UTC; the number itself when it is no time of ours."""
    try:
        return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"the time {time_s}"


# --- one endpoint's steps ---

_Told = tuple[bool | None, str]


def _step(name: StepName, ask: _Question, proof: ProofFile, subject: Subject, evidence: Evidence) -> Step:
    held, sentence = ask(proof, subject, evidence)
    return Step(name, held, sentence)


def _chain(proof: ProofFile, _: Subject, evidence: Evidence) -> _Told:
    anchor = proof.anchor
    ours = f"chain {evidence.chain_id} with the contracts that you named"
    if anchor is None:
        return True, f"The endpoint serves {ours}."
    for what, found, wanted in (
        ("chain", str(anchor.chain_id), str(evidence.chain_id)),
        ("contract", f"0x{anchor.contract.hex()}", f"0x{evidence.anchor_log.hex()}"),
        ("log", f"0x{anchor.log_id.hex()}", f"0x{evidence.log_id.hex()}"),
    ):
        if found != wanted:
            return False, f"The file speaks of the {what} {found}; it should be {wanted}."
    return True, f"The file speaks of {ours}, and of this log."


def _device_registered(proof: ProofFile, subject: Subject, evidence: Evidence) -> _Told:
    enrolled = evidence.enrolled
    if subject.device_id is None:
        return None, _NO_MESSAGE
    if enrolled is None:
        return False, f"The registry has no device {subject.device_id}."
    where = f"block {enrolled.at.block} ({when(enrolled.at.time_s)})"
    if enrolled.fleet != subject.fleet:
        return False, f"The registry has {subject.device_id} in the fleet {enrolled.fleet}, not {subject.fleet}."
    if enrolled.key != proof.device_key:
        return False, f"The registry has another key for {subject.device_id}, since {where}."
    if enrolled.at.block > evidence.final:
        return None, f"Not established: the registration in {where} is not final yet; ask again later."
    return True, f"The key was registered for {subject.device_id} in {where}."


def _device_status(proof: ProofFile, subject: Subject, evidence: Evidence) -> _Told:
    enrolled, anchor = evidence.enrolled, proof.anchor
    if subject.device_id is None or subject.logged_ms is None:
        return None, _NO_MESSAGE
    if anchor is None:
        return None, _NO_ANCHOR
    found = None if enrolled is None else status_at(enrolled, evidence.device_moves, anchor.block_number)
    if enrolled is None or found is None:
        return False, f"In the anchor's block the device {subject.device_id} was not registered."
    status, since = found
    logged_s = subject.logged_ms / 1000
    logged = f"by the gateway's clock the reading was logged at {when(logged_s)}"
    could_be_active = _active_near(enrolled, evidence.device_moves, logged_s)
    words = f"{status} in the anchor's block, since block {since.block} ({when(since.time_s)})"
    if status is Status.ACTIVE and could_be_active:
        return True, f"The device was {words}."
    if status is Status.ACTIVE:
        return None, f"Not established: the device was {words}, but {logged}, when it was not active."
    if could_be_active:
        return None, f"Not established: the device was {words}; {logged}, before that, and no anchor shows it."
    return False, f"The device was {words}, and {logged}, after that."


def _active_near(enrolled: Enrolled, moves: Sequence[Moved], time_s: float) -> bool:
    """Tell whether the device was active at some moment within the slack around a time."""
    starts = [(enrolled.at.time_s, Status.ACTIVE), *((move.at.time_s, move.status) for move in moves)]
    ends = [start for start, _ in starts[1:]] + [float("inf")]
    return any(
        status is Status.ACTIVE and start - CLOCK_SLACK_S <= time_s <= end + CLOCK_SLACK_S
        for (start, status), end in zip(starts, ends, strict=True)
    )


def _miner_key(proof: ProofFile, subject: Subject, evidence: Evidence) -> _Told:
    keyed = evidence.keyed
    if not keyed:
        return False, f"The registry has no gateway for the log {subject.origin}."
    ours = [at for at, each in enumerate(keyed) if each.log_key == proof.log_key.public_key]
    if not ours:
        return False, f"The key on the checkpoint was never registered for the log {subject.origin}."
    if keyed[ours[0]].at.block > evidence.final:
        return None, f"Not established: the key's registration in block {keyed[ours[0]].at.block} is not final yet."
    spans = []
    for at in ours:
        end = f"to block {keyed[at + 1].at.block}" if at + 1 < len(keyed) else "on, to this day"
        spans.append(f"from block {keyed[at].at.block} ({when(keyed[at].at.time_s)}) {end}")
    rotated = f" {len(keyed)} registrations in all." if len(keyed) > 1 else ""
    last = evidence.miner_moves[-1:]
    state = "".join(f" The gateway is {move.status} since block {move.at.block}." for move in last)
    return True, f"The key on the checkpoint was the log's {' and '.join(spans)}.{rotated}{state}"


def _anchor_event(proof: ProofFile, _: Subject, evidence: Evidence) -> _Told:
    anchor = proof.anchor
    if anchor is None:
        return None, _NO_ANCHOR
    where = f"block {anchor.block_number}"
    if evidence.canonical is None:
        return None, f"Not established: the endpoint has no {where}; its newest final block is {evidence.final}."
    of_size = [each for each in evidence.anchors if each.size == anchor.size]
    if not of_size:
        return False, f"In {where} the contract anchored no size {anchor.size} of this log by that transaction."
    event = of_size[0]
    if event.root != anchor.root:
        return False, f"The root that was anchored at size {anchor.size} is 0x{event.root.hex()}, not the file's."
    if (event.at.tx_hash, event.at.block_hash) != (anchor.tx_hash, anchor.block_hash):
        return False, f"The anchor of size {anchor.size} stands in another transaction or block than the file says."
    if event.account not in _accounts_at(evidence, anchor.block_number):
        return False, f"The account 0x{event.account.hex()} that anchored was not the gateway's in {where}."
    gone = (
        "" if evidence.has_receipt else " The endpoint has the transaction's receipt no more; the event stands alone."
    )
    return True, (
        f"The contract anchored this root at size {anchor.size} in {where} ({when(event.at.time_s)}), sent by the"
        f" gateway's account 0x{event.account.hex()}.{gone}"
    )


def _accounts_at(evidence: Evidence, block: int) -> set[bytes]:
    """Return the accounts that could anchor in a block: the one before it, and those that came in it."""
    before = [each.account for each in evidence.keyed if each.at.block < block]
    return set(before[-1:]) | {each.account for each in evidence.keyed if each.at.block == block}


def _not_frozen(proof: ProofFile, _: Subject, evidence: Evidence) -> _Told:
    anchor = proof.anchor
    if not evidence.two_roots:
        return True, "Nobody was caught anchoring two roots of one size of this log."
    caught = evidence.two_roots[0]
    words = (
        f"a second root of size {caught.size} was sent in block {caught.at.block} ({when(caught.at.time_s)}), and the"
        f" log is frozen; nothing above {caught.size} can be anchored"
    )
    if anchor is not None and _is_above_or_beside(anchor, caught):
        return False, f"This is the history that was not anchored: {words}."
    return None, f"Not established: {words}. What was anchored before stands; its gateway is to be believed no more."


def _is_above_or_beside(anchor: Anchor, caught: TwoRoots) -> bool:
    return anchor.size > caught.size or (anchor.size == caught.size and anchor.root != caught.anchored_root)


def _final(proof: ProofFile, _: Subject, evidence: Evidence) -> _Told:
    anchor = proof.anchor
    if anchor is None:
        return None, _NO_ANCHOR
    if evidence.canonical is not None and evidence.canonical != anchor.block_hash:
        return False, f"The chain has another block {anchor.block_number} than the file says."
    if anchor.block_number > evidence.final or evidence.canonical is None:
        return None, (
            f"Not established: block {anchor.block_number} is not final; the newest final block is {evidence.final}."
        )
    return True, f"Block {anchor.block_number} is final; the newest final block is {evidence.final}."


_Question = Callable[[ProofFile, Subject, Evidence], _Told]
_STEPS: tuple[tuple[StepName, _Question], ...] = (
    (StepName.CHAIN, _chain),
    (StepName.DEVICE_REGISTERED, _device_registered),
    (StepName.DEVICE_STATUS, _device_status),
    (StepName.MINER_KEY, _miner_key),
    (StepName.ANCHOR_EVENT, _anchor_event),
    (StepName.NOT_FROZEN, _not_frozen),
    (StepName.FINAL, _final),
)


# --- several endpoints ---


def _reached(answers: Sequence[Answer]) -> list[Evidence]:
    return [answer for answer in answers if isinstance(answer, Evidence)]


def _joined(told: Sequence[tuple[str, Step]]) -> Step:
    """Return what all endpoints say alike, else nothing, with the word of each."""
    steps = [step for _, step in told]
    if len({step.held for step in steps}) == 1:
        return steps[0]
    words = " ".join(f"{endpoint}: {step.sentence}" for endpoint, step in told)
    return Step(steps[0].name, held=None, sentence=f"Not established: the endpoints disagree. {words}")


def _agreement(answers: Sequence[Answer], said: Sequence[Evidence]) -> Step:
    """Compare what the endpoints know up to the lowest of their final blocks."""
    name = StepName.ENDPOINTS_AGREE
    for answer in answers:
        if isinstance(answer, Unreached):
            sentence = f"Not established: {answer.endpoint} was of no use ({answer.why})."
            return Step(name, held=None, sentence=sentence)
    height = min(evidence.final for evidence in said)
    first = said[0]
    for other in said[1:]:
        for what, one, two in zip(_FACTS, _facts(first, height), _facts(other, height), strict=True):
            if one != two:
                sentence = f"Not established: {first.endpoint} and {other.endpoint} disagree about {what}."
                return Step(name, held=None, sentence=sentence)
    return Step(name, held=True, sentence=f"{len(said)} endpoints say the same, up to block {height}.")


_FACTS = (
    "the chain",
    "the device's registration",
    "the device's status",
    "the gateway's keys",
    "the gateway's status",
    "the anchor",
    "the anchor's block",
    "a second root",
)


def _facts(evidence: Evidence, height: int) -> tuple[object, ...]:
    def below(found: Sequence[Moved | Keyed | AnchoredRoot | TwoRoots]) -> tuple[object, ...]:
        return tuple(each for each in found if each.at.block <= height)

    enrolled = evidence.enrolled
    return (
        (evidence.chain_id, evidence.registry, evidence.anchor_log, evidence.log_id),
        enrolled if enrolled is not None and enrolled.at.block <= height else None,
        below(evidence.device_moves),
        below(evidence.keyed),
        below(evidence.miner_moves),
        below(evidence.anchors),
        evidence.canonical,
        below(evidence.two_roots),
    )
