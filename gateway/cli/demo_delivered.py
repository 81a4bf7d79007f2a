"""The demo's word on its models: what the log says of images and readings, held against what the devices sent.

The devices' records say what each message was: which digit was drawn, whether a reading was good or a fault. The
gateway never sees that. ``judge_models`` compares it with the verdicts in the log, and trusts neither side.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.cli.demo_custody import logged_entries
from gateway.cli.demo_models import Delivery
from gateway.cli.demo_papers import Named
from gateway.cli.demo_parts import DemoError
from gateway.cli.proof_chain import ask_each
from gateway.config.model import Config
from gateway.journal import Reader
from gateway.message import Verdict
from gateway.tlog.entry import MessageEntry, ModelEntry
from gateway.vault.blocks import BlockStore
from gateway.vault.cid import parse_cid
from gateway.vault.manifest import parse_envelope, parse_payload
from gateway.vault.refusal import ModelRefused

if TYPE_CHECKING:
    from gateway.chain.evidence import Source
    from gateway.chain.port import View

STORE_BYTES = 1 << 30
IN_FORCE_S = 10.0
"""A model that takes longer, from finality to its first verdict, is a promise not kept."""
NO_MODELS: dict[str, Any] = {
    "digit_correct": None,
    "revoked_grant_refused": None,
    "anomaly_detected": None,
    "publish_to_first_score_s": None,
    "scored": None,
}
"""What the report says of models when there are none."""
_NOT_GRANTED = "not-granted"
_GOOD = ("before", "after")


class Said(NamedTuple):
    """One message of a device's record: what it was, and what became of it."""

    digest: bytes
    kind: str
    outcome: str


class Devices(NamedTuple):
    """The records of the camera and of the bearing's sensor."""

    images: Sequence[Said]
    readings: Sequence[Said]


class Logged(NamedTuple):
    """The log's word: messages by their digest, and what became of models, in order."""

    messages: Mapping[bytes, MessageEntry]
    events: Sequence[ModelEntry]


class Published(NamedTuple):
    """The publisher's word: when the reader was final, None: never; and for whom each of its versions has keys."""

    final_s: int | None
    keys: Sequence[Collection[str]]
    gateway: str
    reader: Named
    detector: Named

    @property
    def following(self) -> Named:
        """The reader's next version."""
        return self.reader._replace(version=self.reader.version + 1)


class Judged(NamedTuple):
    """What came of it. ``seconds`` from the publication's finality to the first image that was read."""

    digit_correct: bool
    revoked_grant_refused: bool
    anomaly_detected: bool
    seconds: float | None
    scored: int
    problems: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """For the report."""
        return {
            "digit_correct": self.digit_correct,
            "revoked_grant_refused": self.revoked_grant_refused,
            "anomaly_detected": self.anomaly_detected,
            "publish_to_first_score_s": self.seconds,
            "scored": self.scored,
        }


def said_in(lines: Sequence[str]) -> tuple[Said, ...]:
    """Read the record of a device.

    Raises:
        DemoError: it is none.
    """
    try:
        rows = [json.loads(line) for line in lines]
        return tuple(Said(bytes.fromhex(row["digest"]), str(row["kind"]), str(row["outcome"])) for row in rows)
    except (ValueError, KeyError, TypeError):
        raise DemoError("the record of a device that the models are for cannot be read") from None


def read_devices(camera: Path, sensor: Path) -> Devices:
    """Read both records; a device that never spoke left none.

    Raises:
        DemoError: one is no record.
    """
    camera_said, sensor_said = (
        said_in(path.read_text(encoding="utf-8").splitlines()) if path.exists() else () for path in (camera, sensor)
    )
    return Devices(camera_said, sensor_said)


def read_log(reader: Reader) -> Logged:
    """What the log says of messages and models."""
    messages: dict[bytes, MessageEntry] = {}
    events: list[ModelEntry] = []
    for entry in logged_entries(reader):
        if isinstance(entry, MessageEntry):
            messages[entry.digest] = entry
        elif isinstance(entry, ModelEntry):
            events.append(entry)
    return Logged(messages, events)


def time_of_block(config: Config, number: int) -> int | None:
    """When a block was made, in seconds since 1970; None when the chain has none.

    Raises:
        DemoError: the chain does not answer.
    """

    async def question(view: View, _source: Source) -> int | None:
        found = await view.block(number)
        return None if found is None else found.timestamp_s

    [(_, said)] = ask_each((config.chain,), question)
    if isinstance(said, str):
        raise DemoError(f"the chain does not answer at the end: {said}")
    return said


def final_s(config: Config, delivery: Delivery, confirmations: int) -> int | None:
    """When the reader's publication was final: the time of the block that made it so.

    Raises:
        DemoError: the chain does not answer.
    """
    return None if delivery.block is None else time_of_block(config, delivery.block + confirmations)


def keys_in(store: Path, manifests: Sequence[str]) -> tuple[Collection[str], ...]:
    """For whom there are keys in the manifests that lie in the publisher's store.

    Raises:
        DemoError: a manifest is not there, or is none.
    """
    blocks, found = BlockStore(store, STORE_BYTES), []
    for name in manifests:
        block = blocks.get(parse_cid(name))
        if block is None:
            raise DemoError(f"the manifest {name} is not in the publisher's store")
        try:
            found.append(tuple(parse_payload(parse_envelope(block.data).payload).wrapped))
        except ModelRefused as refused:
            raise DemoError(f"the manifest {name} cannot be read: {refused}") from None
    return tuple(found)


def judge_models(devices: Devices, logged: Logged, published: Published) -> Judged:
    """Whether the digits were right, the next version stayed closed, and the fault alone was seen (pure).

    Args:
        devices: what was sent.
        logged: what the log says.
        published: when, and for whom.
    """
    loaded = _first(logged, published.reader, "loaded")
    digits = tuple(_digit_faults(devices, logged, loaded))
    grant = (*_key_faults(published), *_grant_faults(devices, logged, loaded, published.following))
    fault = tuple(_fault_faults(devices, logged, published.detector))
    scored = [entry for entry in logged.messages.values() if entry.verdict is not Verdict.UNSCORED]
    seconds, late = _seconds(devices, logged, published.final_s)
    problems = tuple(dict.fromkeys((*_lost(devices, logged), *digits, *grant, *fault, *late)))
    return Judged(not digits, not grant, not fault, seconds, len(scored), problems)


def _first(logged: Logged, model: Named, event: str) -> ModelEntry | None:
    wanted = (*model, event)
    return next((each for each in logged.events if (each.model_id, each.version, each.event) == wanted), None)


def _lost(devices: Devices, logged: Logged) -> Iterator[str]:
    for name, record in (("images", devices.images), ("readings", devices.readings)):
        for said in record:
            if said.outcome != "accepted":
                yield f"{name} of the models' devices were not accepted: {said.outcome}"
            elif said.digest not in logged.messages:
                yield f"{name} of the models' devices were accepted, and are not in the log"


def _read(devices: Devices, logged: Logged) -> list[tuple[str, MessageEntry]]:
    """Every image in the log, in its order: what was drawn, and the entry."""
    found = [(said.kind, logged.messages[said.digest]) for said in devices.images if said.digest in logged.messages]
    return sorted(found, key=lambda each: (each[1].time_ms, each[1].seq))


def _digit_faults(devices: Devices, logged: Logged, loaded: ModelEntry | None) -> Iterator[str]:
    if loaded is None:
        yield "the reader of digits was never loaded"
        return
    read = [(kind, entry) for kind, entry in _read(devices, logged) if entry.verdict is not Verdict.UNSCORED]
    if not read:
        yield "no image was read"
    for kind, entry in read:
        if entry.verdict is not Verdict.CLASSIFIED or f"digit-{entry.label}" != kind:
            yield f"an image of {kind} was read as {entry.label}"
        if entry.model != loaded.manifest:
            yield "an image was read by another model than the one that was published"
    if len({kind for kind, _ in read}) == 1:
        yield "all images that were read show one digit: nothing is proven by that"


def _grant_faults(devices: Devices, logged: Logged, loaded: ModelEntry | None, following: Named) -> Iterator[str]:
    if _first(logged, following, "loaded") is not None:
        yield "the next version was loaded although the grant was taken back"
    refused = _first(logged, following, "refused")
    if refused is None:
        yield "the next version was not refused"
        return
    if refused.reason != _NOT_GRANTED:
        yield f"the next version was refused as {refused.reason}, and should be as {_NOT_GRANTED}"
    after = [entry for _, entry in _read(devices, logged) if entry.time_ms > refused.time_ms]
    if not after or loaded is None or any(entry.model != loaded.manifest for entry in after):
        yield "the version before did not read on after the refusal"


def _key_faults(published: Published) -> Iterator[str]:
    for version, keys in enumerate(published.keys, start=1):
        if (published.gateway in keys) != (version == 1):
            yield f"version {version} of the reader has {'a' if version > 1 else 'no'} key for this gateway"
        if not set(keys) - {published.gateway}:
            yield f"version {version} of the reader has no key for the second gateway"


def _fault_faults(devices: Devices, logged: Logged, detector: Named) -> Iterator[str]:
    loaded = _first(logged, detector, "loaded")
    if loaded is None:
        yield "the detector was never loaded"
        return
    by_kind: dict[str, list[Verdict]] = {}
    for said in devices.readings:
        entry = logged.messages.get(said.digest)
        if entry is not None:
            by_kind.setdefault(said.kind, []).append(entry.verdict)
            if entry.model not in {None, loaded.manifest}:
                yield "a reading was judged by another model than the detector"
    if Verdict.ANOMALOUS not in by_kind.get("fault", ()):
        yield "the bearing's fault was not seen"
    for kind in _GOOD:
        verdicts = by_kind.get(kind, [])
        if not verdicts or any(each is not Verdict.NORMAL for each in verdicts):
            wrong = sum(each is not Verdict.NORMAL for each in verdicts)
            yield f"of the good readings {kind} the fault, {wrong} of {len(verdicts)} were not called normal"
    filling = by_kind.get("filling", [])
    if not filling or Verdict.UNSCORED not in filling or Verdict.ANOMALOUS in filling:
        yield "of the readings that the detector learns from none was passed over, or one was called anomalous"


def _seconds(devices: Devices, logged: Logged, publication_s: int | None) -> tuple[float | None, tuple[str, ...]]:
    read = [entry for _, entry in _read(devices, logged) if entry.verdict is not Verdict.UNSCORED]
    if not read or publication_s is None:
        return None, ("no image was read after a publication",)
    seconds = round(read[0].time_ms / 1000 - publication_s, 3)
    if seconds > IN_FORCE_S:
        return seconds, (f"the reader took {seconds:g} s to be in force, and {IN_FORCE_S:g} s are allowed",)
    return max(0.0, seconds), ()
