"""What the scoring process does with a batch: readings, statistics, selection, rows, models, verdicts.

The process around it is ``gateway.detection.worker``; here is no pipe and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from gateway.detection import frames
from gateway.detection.columnar import Columnar, Made, judge_all
from gateway.detection.features import Kept, Row, own_names
from gateway.detection.frames import Message, Result
from gateway.detection.interpreter import ModelFault, ModelRefused, Network, load
from gateway.detection.port import LoadedModel, UnscoredReason
from gateway.detection.records import RecordTable
from gateway.detection.selection import ENOUGH, Candidate, choose, domain_of, rank
from gateway.detection.spec import Selector
from gateway.detection.traffic import DeviceTraffic, TrafficTable
from gateway.detection.verdict import judge
from gateway.detection.windows import Windows
from gateway.envelope.readings import NotScorable, Readings, readings
from gateway.envelope.readings_patterns import Pattern, Patterns, Recognised

_REMEMBERED: Final = 1024
_REMEMBERED_DEVICES: Final = 16_384
_WORTH_AN_ARRAY: Final = 6
"""Fewer rows are made one by one: an array costs as much as these."""


class Bounds(NamedTuple):
    """What the tables of the devices may hold."""

    traffic_devices: int
    window_bytes: int


class _Held(NamedTuple):
    """A model in force, its place, its windows (None for a window of one) and its records (None without such)."""

    place: int
    model: LoadedModel
    network: Network
    windows: Windows | None
    records: RecordTable | None


@dataclass(slots=True)
class _Pending:
    """A message that has no result yet.

    ``ranked`` are the models that may still be asked; ``records`` what the records of some of them say of it, by the
    model's place; ``inputs`` what the first of them is given, where that is known already.
    """

    at: int
    message: Message
    found: Readings | Recognised
    traffic: DeviceTraffic | None
    ranked: tuple[int, ...]
    records: dict[int, Kept] | None = None
    inputs: bytes | None = None

    def readings(self) -> Readings:
        """The message's readings, as the plain reader would give them."""
        found = self.found
        return found.pattern.readings(found.values) if isinstance(found, Recognised) else found

    def recorded(self, place: int) -> Kept | None:
        """What the records of a model say of it."""
        return None if self.records is None else self.records.get(place)


class Detector:
    """The models in force and the devices' past.

    Args:
        bounds: of the tables.
        running: told the place of the model that is about to run, and None behind it: so that whoever finds this
            process dead or silent knows which model it was.
    """

    def __init__(self, bounds: Bounds, running: Callable[[int | None], None]) -> None:
        self._bounds = bounds
        self._running = running
        self._held: dict[int, _Held] = {}
        self._places: list[int] = []
        self._candidates: list[Candidate] = []
        self._domained: list[Selector] = []
        self._ranks: dict[object, tuple[int, ...]] = {}
        self._domains: dict[str, tuple[int | None, ...]] = {}
        self._columnar: dict[tuple[int, int], Columnar | None] = {}
        self._patterns = Patterns()
        self._traffic: TrafficTable | None = None
        self._windows: dict[object, Windows] = {}
        self._records: dict[object, RecordTable] = {}

    def load(self, models: Sequence[LoadedModel]) -> list[str | None]:
        """Take these models in place of the ones before, if every one of them can be loaded.

        A model that is in force already goes on as it is. Windows go on where the rows are made in the same way, and
        traffic statistics do in any case: a new version does not start blind.

        Returns:
            Why each was refused, None for each that was not; one refusal, and everything stays as it was.
        """
        known = {held.model.manifest_sha256: held.network for held in self._held.values()}
        networks: dict[int, Network] = {}
        refusals: list[str | None] = []
        for place, model in enumerate(models):
            refusals.append(None)
            if not model.data:
                continue
            try:
                self._running(place)
                networks[place] = known.get(model.manifest_sha256) or load(model)
            except ModelRefused as refused:
                refusals[place] = str(refused)
            finally:
                self._running(None)
        if not any(refusals):
            self._take(models, networks)
        return refusals

    def _take(self, models: Sequence[LoadedModel], networks: dict[int, Network]) -> None:
        windows: dict[object, Windows] = {}
        records: dict[object, RecordTable] = {}
        self._held = {}
        for place, network in networks.items():
            inputs, pipeline = network.pipeline.inputs, network.pipeline
            rows, ranges = None, None
            if inputs.window > 1:
                # The rows that this model was given: another one with the same columns has its own.
                key: object = (models[place].model_id, inputs.columns, inputs.window)
                rows = windows[key] = self._windows.get(key) or Windows(
                    inputs.window, pipeline.width, self._bounds.window_bytes
                )
            if pipeline.records:
                # A message is counted once for each model that it is meant for: two models never share their records.
                key = (models[place].model_id, inputs.columns)
                ranges = records[key] = self._records.get(key) or RecordTable(
                    inputs.columns, self._bounds.window_bytes
                )
            self._held[place] = _Held(place, models[place], network, rows, ranges)
        self._windows, self._records = windows, records
        self._places = list(networks)
        self._candidates = [
            Candidate(held.model.manifest_sha256, held.model.spec.selector, held.network.pipeline)
            for held in self._held.values()
        ]
        self._domained = [
            held.model.spec.selector for held in self._held.values() if held.model.spec.selector.domains
        ]
        self._ranks = {}
        self._domains = {}
        self._columnar = {}
        if any(network.pipeline.statistics for network in networks.values()):
            self._traffic = self._traffic or TrafficTable(self._bounds.traffic_devices)
        else:
            self._traffic = None

    def score(
        self, messages: Sequence[Message], refused: Iterable[str] = (), aside: int = 0
    ) -> tuple[list[Result], list[int]]:
        """Score a batch.

        Args:
            messages: accepted messages, in the order of the log.
            refused: devices of which a message was refused since the last batch.
            aside: models that are not to be asked, as bits.

        Returns:
            A result a message, in their order; the places of models that raised and no longer pass their smoke test.
        """
        if self._traffic is not None:
            for device_id in refused:
                self._traffic.use(device_id).refused()
        results = [_NO_READINGS] * len(messages)
        pending = self._meant(messages, aside, results)
        alike: dict[tuple[int, int], list[tuple[_Pending, Recognised]]] = {}
        for one in pending:
            if isinstance(one.found, Recognised):
                alike.setdefault((one.ranked[0], one.found.pattern.number), []).append((one, one.found))
        for key, group in alike.items():
            if len(group) >= _WORTH_AN_ARRAY:
                self._rows(key, group)
        faults: list[int] = []
        while pending:
            pending = self._round(pending, results, faults)
        return results, faults

    def _meant(self, messages: Sequence[Message], aside: int, results: list[Result]) -> list[_Pending]:
        """Take the messages in their order: count them, read them, find the models that are meant for each."""
        pending: list[_Pending] = []
        latest: dict[str, _Pending] = {}
        for at, message in enumerate(messages):
            traffic = None if self._traffic is None else self._counted(self._traffic, message, latest)
            found = self._read(message)
            if found is None:
                continue
            ranked = self._ranked(message, found)
            left = tuple(place for place in ranked if not aside >> place & 1) if aside else ranked
            if not left:
                results[at] = _FAULTED if ranked else _NO_FITTING
                continue
            one = _Pending(at, message, found, traffic, left)
            pending.append(one)
            if traffic is not None:
                latest[message.device_id] = one
            if self._records:
                self._record(one)
        return pending

    @staticmethod
    def _counted(table: TrafficTable, message: Message, latest: dict[str, _Pending]) -> DeviceTraffic:
        """Count a message of a device; what is said of its message before takes no notice of this one."""
        device_id, _, issued_at, received_ms, payload = message
        before = latest.pop(device_id, None)
        if before is not None and before.traffic is not None:
            before.traffic = before.traffic.copy()
        traffic = table.use(device_id)
        traffic.accepted(received_ms, int(issued_at * 1000), len(payload))
        return traffic

    def _read(self, message: Message) -> Readings | Recognised | None:
        """The message's readings under its own names; None where it has none."""
        device_id, content_format, issued_at, _, payload = message
        recognised = self._patterns.read(device_id, content_format, payload, issued_at)
        if recognised is not None:
            return recognised
        found = readings(content_format, payload, issued_at=issued_at)
        return own_names(found, device_id) if isinstance(found, Readings) else None

    def _record(self, one: _Pending) -> None:
        """Let the records of each model that is meant for a message take its readings."""
        scalars = one.readings().scalars
        one.records = {
            place: records.push(one.message.device_id, scalars)
            for place in one.ranked
            if (records := self._held[place].records) is not None
        }

    def _rows(self, key: tuple[int, int], group: Sequence[tuple[_Pending, Recognised]]) -> None:
        """Make the rows of messages of one pattern for their first model at once, where that can be done."""
        place, pipeline = key[0], self._held[key[0]].network.pipeline
        columnar = self._columnar_of(key, group[0][1].pattern)
        if columnar is None:
            return
        values: list[Sequence[float | None]] = [found.values for _, found in group]
        if pipeline.records or pipeline.statistics:
            values = [[*found.values, *pipeline.kept(one.traffic, one.recorded(place))] for one, found in group]
        made: Sequence[Made | None] = columnar.rows(values)
        for (one, _), row in zip(group, made, strict=True):
            if row is not None and row.quality >= ENOUGH:
                one.inputs = row.inputs

    def _columnar_of(self, key: tuple[int, int], pattern: Pattern) -> Columnar | None:
        if key not in self._columnar:
            if len(self._columnar) >= _REMEMBERED:
                self._columnar.clear()
            pipeline = self._held[key[0]].network.pipeline
            self._columnar[key] = Columnar.of(pipeline, pattern.names, pattern.texts)
        return self._columnar[key]

    def _ranked(self, message: Message, found: Readings | Recognised) -> tuple[int, ...]:
        """The places of the models that are meant for the message; asked once for each kind of message."""
        domains = self._domains_of(message.device_id) if self._domained else ()
        key: object
        if isinstance(found, Recognised):
            key = (found.pattern.number, domains)
        else:
            key = (message.content_format, domains, *map(tuple, found))
        ranked = self._ranks.get(key)
        if ranked is None:
            if len(self._ranks) >= _REMEMBERED:
                self._ranks.clear()
            if isinstance(found, Recognised):
                names = {*found.pattern.names, *found.pattern.texts}
            else:
                names = set().union(*found)
            order = rank(self._candidates, message.device_id, message.content_format, names)
            ranked = self._ranks[key] = tuple(self._places[place] for place in order)
        return ranked

    def _domains_of(self, device_id: str) -> tuple[int | None, ...]:
        """How particular the domain of each model is that holds the device; remembered for some devices."""
        known = self._domains.get(device_id)
        if known is None:
            if len(self._domains) >= _REMEMBERED_DEVICES:
                self._domains.clear()
            known = self._domains[device_id] = tuple(domain_of(selector, device_id) for selector in self._domained)
        return known

    def _round(self, pending: Sequence[_Pending], results: list[Result], faults: list[int]) -> list[_Pending]:
        """Give each message to the first model that takes it; return those whose model raised, without that model."""
        groups: dict[int, list[tuple[_Pending, bytes]]] = {}
        for one in pending:
            if one.inputs is not None:
                place, inputs = one.ranked[0], one.inputs
                one.inputs = None
            else:
                chosen = choose(one.ranked, partial(self._row, one))
                if isinstance(chosen, NotScorable):
                    results[one.at] = frames.unscored(UnscoredReason(chosen.reason))
                    continue
                place, inputs = chosen.place, chosen.row.values.tobytes()
            windows = self._held[place].windows
            if windows is not None:
                whole = windows.push(one.message.device_id, inputs)
                if whole is None:
                    results[one.at] = _WINDOW_SHORT
                    continue
                inputs = whole
            groups.setdefault(place, []).append((one, inputs))
        left: list[_Pending] = []
        for place, group in groups.items():
            left += self._run(self._held[place], group, results, faults)
        return left

    def _row(self, one: _Pending, place: int) -> Row | NotScorable:
        return self._held[place].network.pipeline.row(one.readings(), one.traffic, one.recorded(place))

    def _run(
        self, held: _Held, group: list[tuple[_Pending, bytes]], results: list[Result], faults: list[int]
    ) -> list[_Pending]:
        """Ask a model about its share of the batch; return the messages for which another has to be asked."""
        try:
            self._ask(held, group, results)
        except ModelFault:
            if not self._holds(held):
                faults.append(held.place)
                return [pending for one, _ in group for pending in _without(one, held.place, results)]
        else:
            return []
        # The model is well, an input is not: the others in the batch are not to suffer for it.
        left: list[_Pending] = []
        for one in group:
            try:
                self._ask(held, [one], results)
            except ModelFault:
                left += _without(one[0], held.place, results)
        return left

    def _holds(self, held: _Held) -> bool:
        self._running(held.place)
        try:
            return held.network.holds()
        finally:
            self._running(None)

    def _ask(self, held: _Held, group: list[tuple[_Pending, bytes]], results: list[Result]) -> None:
        together = b"".join([inputs for _, inputs in group])
        self._running(held.place)
        try:
            answers = held.network.answers(together, len(group))
        finally:
            self._running(None)
        judged_all = judge_all(held.network.outputs, held.place, answers, together)
        if judged_all is not None:
            for (one, _), result in zip(group, judged_all, strict=True):
                results[one.at] = result
            return
        for (one, inputs), answer in zip(group, answers.tolist(), strict=True):
            judged = judge(held.network.outputs, answer, memoryview(inputs).cast("f"))
            if isinstance(judged, NotScorable):
                results[one.at] = frames.unscored(UnscoredReason(judged.reason))
            else:
                results[one.at] = frames.scored(judged.verdict, held.place, judged.score, judged.label)


_NO_READINGS: Final = frames.unscored(UnscoredReason.NO_READINGS)
_NO_FITTING: Final = frames.unscored(UnscoredReason.NO_FITTING_MODEL)
_WINDOW_SHORT: Final = frames.unscored(UnscoredReason.WINDOW_SHORT)
_FAULTED: Final = frames.unscored(UnscoredReason.MODEL_FAULT)


def _without(one: _Pending, place: int, results: list[Result]) -> list[_Pending]:
    """Keep a message pending without one of its models; when that was the last, it is unscored."""
    one.ranked = tuple(other for other in one.ranked if other != place)
    if one.ranked:
        return [one]
    results[one.at] = _FAULTED
    return []
