"""Which version of a model is to run: what the chain says, what ran here, and the time, in; one act out (pure).

In this order, first to last (docs/spec/model-receiver.md):

0. A version that runs and may run no more is dropped at once: it was revoked, or is below the floor.
1. The newest versions that the chain names are judged, the newest first, by ``RULES``: the first rule that one breaks
   is its refusal. The first that breaks none is loaded, unless it runs.
2. Down to the version that runs, and no further: while nothing better can be loaded it runs on.
3. When nothing runs, or what runs was put aside, also what ran well before is judged: the last good version, and the
   one before it when the last good one is out of the question.

Not handled here: what is inside a bundle (``gateway.vault.bundle``); ``failed`` is where that comes in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum, StrEnum
from typing import Final, NamedTuple

from gateway.chain.model_events import ModelHistory, VersionOnChain
from gateway.journal import ModelRow, RanState, RanVersion

VERSION_MAX: Final = (1 << 63) - 1
"""What journal and log can hold; a version above it is as if it were not there."""
NEWEST: Final = 4
"""So many versions are tried, those that ran here apart: a long history costs no more than a short one."""
ASIDE_KEPT: Final = 8
BACK_OFF_S: Final = (5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
WAITED_FOR_S: Final = 300.0
"""The longest wait for what is only away: when it is back, a person wants to see it loaded."""


class Reason(StrEnum):
    """Why a version is not loaded, beside ``ModelRefusal``: stable strings of log entries and reports."""

    REVOKED = "revoked"
    """Its publisher took it back."""
    BELOW_FLOOR = "below-floor"
    """No version so old may run."""
    PUT_ASIDE = "put-aside"
    """It ran here, and failed at work."""
    ROLLBACK = "rollback"
    """A newer version ran here before."""
    NOT_GRANTED = "not-granted"
    """This gateway has no grant."""
    WRONG_PUBLISHER = "wrong-publisher"
    """The chain names a key that the configuration does not allow."""
    EXPIRED = "expired"
    """Its time is over, by the chain or by its manifest."""
    FROZEN = "frozen"
    """The chain's newest final block is too old to load anything new on its word."""
    CID = "cid-malformed"
    """The chain or the manifest names no file that can be asked for."""
    TREE = "file-refused"
    """The CID is that of something else than a file within the limits."""
    BLOCK = "block-altered"
    """A source gave other bytes than the CID's, and no source gave the right ones."""
    NOT_FETCHED = "not-fetched"
    """No source gave it."""
    SMOKE_TEST = "smoke-test"
    """It cannot be run, or answers its smoke test wrongly."""
    NOT_KEPT = "journal-fault"
    """That it runs could not be remembered, so it does not."""


WAITS: Final = frozenset({Reason.NOT_FETCHED, Reason.FROZEN, Reason.NOT_KEPT})
"""No refusals: the version is waited for. They are in the status, not in log entries or reports."""


class Ran(NamedTuple):
    """A version, by what nobody can give to another one."""

    version: int
    manifest_sha256: bytes


class Memory(NamedTuple):
    """What the journal remembers of a model. ``aside`` are digests of manifests, the newest last."""

    highest: int = 0
    good: Ran | None = None
    before: Ran | None = None
    aside: tuple[Ran, ...] = ()

    def is_aside(self, digest: bytes) -> bool:
        """Whether this version failed at work."""
        return any(ran.manifest_sha256 == digest for ran in self.aside)


class Failure(NamedTuple):
    """Why a version could not be loaded. ``again_s`` (monotonic) None: it never can."""

    reason: str
    detail: str
    again_s: float | None
    times: int = 1


class Policy(NamedTuple):
    """Whose gateway this is, and what it insists on; no publishers: those that the chain names."""

    gateway_id: str
    freeze_after_s: int
    publishers: frozenset[bytes] = frozenset()


class Moment(NamedTuple):
    """Now: seconds since 1970, seconds that never go back, and the time of the newest final block, None: unknown."""

    wall_s: float
    monotonic_s: float
    final_s: int | None


class Standing(NamedTuple):
    """What runs, what is remembered, and what failed, by the digest of the manifest."""

    running: Ran | None
    memory: Memory
    failed: Mapping[bytes, Failure]


class Act(Enum):
    """What is to be done now."""

    KEEP = "keep"
    LOAD = "load"
    DROP = "drop"


class Refusal(NamedTuple):
    """A version, and why it is not loaded or may run no more."""

    ran: Ran
    reason: str
    detail: str = ""


class Decision(NamedTuple):
    """``ran`` is what to load or drop. ``refusal`` is of the newest version that is not loaded, also beside KEEP."""

    act: Act
    ran: Ran | None = None
    refusal: Refusal | None = None


class _Case(NamedTuple):
    """One version before the judge; ``is_own``: it ran here, and may be gone back to."""

    ran: Ran
    said: VersionOnChain
    is_own: bool
    floor: int
    granted: bool
    standing: Standing
    policy: Policy
    moment: Moment


def is_frozen(policy: Policy, moment: Moment) -> bool:
    """Whether the newest final block is too old, or none was seen."""
    return moment.final_s is None or moment.wall_s - moment.final_s > policy.freeze_after_s


def _expired(case: _Case) -> bool:
    return case.moment.wall_s >= case.said.valid_until_s


def _wrong_publisher(case: _Case) -> bool:
    return bool(case.policy.publishers) and case.said.publisher_key.data not in case.policy.publishers


RULES: Final[tuple[tuple[Reason, Callable[[_Case], bool]], ...]] = (
    (Reason.REVOKED, lambda case: case.said.revoked),
    (Reason.BELOW_FLOOR, lambda case: case.ran.version < case.floor),
    (Reason.PUT_ASIDE, lambda case: case.standing.memory.is_aside(case.ran.manifest_sha256)),
    (Reason.ROLLBACK, lambda case: not case.is_own and case.ran.version <= case.standing.memory.highest),
    (Reason.NOT_GRANTED, lambda case: not case.granted),
    (Reason.WRONG_PUBLISHER, _wrong_publisher),
    (Reason.EXPIRED, _expired),
    (Reason.FROZEN, lambda case: not case.is_own and is_frozen(case.policy, case.moment)),
)
"""What each rule refuses, in the order in which they are asked."""


def decide(history: ModelHistory, standing: Standing, policy: Policy, moment: Moment) -> Decision:
    """Say what to do about one model now."""
    running = standing.running
    over = None if running is None else _over(history, running)
    if running is not None and over is not None:
        return Decision(Act.DROP, running, Refusal(running, over))
    runs_well = running is not None and not standing.memory.is_aside(running.manifest_sha256)
    refusal: Refusal | None = None
    for ran, is_own in _candidates(history, standing.memory):
        if runs_well and running is not None and ran.version <= running.version:
            break
        said = history.versions[ran.version]
        granted = policy.gateway_id in history.granted
        found = _judge(_Case(ran, said, is_own, history.floor, granted, standing, policy, moment))
        if found is None:
            return Decision(Act.LOAD, ran, refusal)
        refusal = refusal or found
    return Decision(Act.KEEP, running, refusal)


def _over(history: ModelHistory, running: Ran) -> Reason | None:
    """Why what runs may run no more. What the chain does not mention stops nothing: only a word can."""
    said = history.versions.get(running.version)
    if running.version < history.floor:
        return Reason.BELOW_FLOOR
    if said is not None and said.manifest_sha256 == running.manifest_sha256 and said.revoked:
        return Reason.REVOKED
    return None


def _candidates(history: ModelHistory, memory: Memory) -> Iterator[tuple[Ran, bool]]:
    """The versions that may be loaded, the newest first; True with those that ran here and may run again."""
    own = set(_to_return_to(history, memory))
    newest = sorted((version for version in history.versions if version <= VERSION_MAX), reverse=True)
    named = {Ran(version, history.versions[version].manifest_sha256) for version in newest[:NEWEST]}
    for ran in sorted(named | own, reverse=True):
        yield ran, ran in own


def _to_return_to(history: ModelHistory, memory: Memory) -> Iterator[Ran]:
    """What ran well here, as far as the chain still names it; the older one only when the newer is out."""
    if memory.good is not None and _is_named(history, memory.good):
        yield memory.good
    if memory.before is not None and _is_named(history, memory.before) and _is_out(history, memory):
        yield memory.before


def _is_out(history: ModelHistory, memory: Memory) -> bool:
    good = memory.good
    if good is None or memory.is_aside(good.manifest_sha256):
        return True
    return _is_named(history, good) and history.versions[good.version].revoked


def _is_named(history: ModelHistory, ran: Ran) -> bool:
    said = history.versions.get(ran.version)
    return said is not None and said.manifest_sha256 == ran.manifest_sha256


def _judge(case: _Case) -> Refusal | None:
    for reason, breaks in RULES:
        if breaks(case):
            return Refusal(case.ran, reason)
    failure = case.standing.failed.get(case.ran.manifest_sha256)
    if failure is not None and (failure.again_s is None or failure.again_s > case.moment.monotonic_s):
        return Refusal(case.ran, failure.reason, failure.detail)
    return None


# --- what is remembered ---


def remember_loaded(memory: Memory, ran: Ran) -> Memory:
    """The memory when this version is about to run."""
    if ran == memory.good:
        return memory
    good = memory.good
    before = good if good is not None and good.version < ran.version and good not in memory.aside else memory.before
    kept = None if before is None or before.version >= ran.version else before
    return Memory(max(memory.highest, ran.version), ran, kept, memory.aside)


def remember_aside(memory: Memory, ran: Ran) -> Memory:
    """The memory when this version failed at work."""
    if ran in memory.aside:
        return memory
    return memory._replace(aside=(*memory.aside, ran)[-ASIDE_KEPT:])


def failed_again(before: Failure | None, reason: str, detail: str, now_s: float | None) -> Failure:
    """A failure that may pass, at monotonic ``now_s``, and waits longer each time; None: one that cannot."""
    times = 1 if before is None else before.times + 1
    if now_s is None:
        return Failure(reason, detail, None, times)
    wait_s = BACK_OFF_S[min(times, len(BACK_OFF_S)) - 1]
    return Failure(reason, detail, now_s + (min(wait_s, WAITED_FOR_S) if reason in WAITS else wait_s), times)


def memory_of(row: ModelRow) -> Memory:
    """The memory as the journal has it."""
    by_state: dict[RanState, list[Ran]] = {state: [] for state in RanState}
    for version, digest, state in sorted(row.versions):
        by_state[state].append(Ran(version, digest))
    good, before = by_state[RanState.GOOD], by_state[RanState.BEFORE]
    aside = tuple(by_state[RanState.ASIDE])
    return Memory(row.highest, good[-1] if good else None, before[-1] if before else None, aside)


def row_of(model_id: str, memory: Memory) -> ModelRow:
    """The memory as the journal takes it: a version that is aside is nothing else."""
    versions = {ran.version: RanVersion(*ran, RanState.ASIDE) for ran in memory.aside}
    for ran, state in ((memory.good, RanState.GOOD), (memory.before, RanState.BEFORE)):
        if ran is not None:
            versions.setdefault(ran.version, RanVersion(*ran, state))
    return ModelRow(model_id, memory.highest, tuple(versions[version] for version in sorted(versions, reverse=True)))
