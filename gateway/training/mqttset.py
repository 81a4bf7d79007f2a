"""MQTT devices under attack, seen by the traffic statistics that a gateway keeps of each device (row S4).

The captures of MQTTset are replayed: a device is a client address, its messages are the MQTT packets that it sends,
a CONNECT that the broker turns down and a packet that cannot be read count as refused. After each message the
statistics of ``gateway.detection.traffic`` make one row. The licence of the set (CC BY-NC-SA) lets us evaluate and
ship nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import click
import numpy as np

from gateway.detection.spec import Column, ColumnKind
from gateway.detection.traffic import DeviceTraffic, Statistic
from gateway.training.data import DataRefused, Flags, Floats, Ints, find, read_bytes
from gateway.training.export import fit_column, rows_of
from gateway.training.metrics import auc, binary, first_per_run, threshold_at
from gateway.training.mqttset_pcap import CaptureRefused, Packet, frames, packets, segments

ATTACKS: Final = ("bruteforce", "flood", "malariados", "malformed", "slowite")
BENIGN: Final = "benign-5mb"
STATISTICS: Final = (
    Statistic.REFUSED_RATIO,
    Statistic.BYTES_MEAN,
    Statistic.BYTES_VARIANCE,
    Statistic.BYTES_MEDIAN,
    Statistic.GAP_MEAN_S,
    Statistic.GAP_VARIANCE_S2,
    Statistic.GAP_MEDIAN_S,
)
WINDOW_MS: Final = 10_000
ALARM_SHARE: Final = 0.01

_LIMIT: Final = 64 << 20
_MAX_DEVICES: Final = 10_000
_CONNECT, _CONNACK, _MALFORMED = 1, 2, 0
_ROUNDS: Final = 400
_STEP: Final = 0.5
_DECAY: Final = 1e-3
_KNOWN: Final = 200


class Replay(NamedTuple):
    """One capture as rows: the statistics (NaN: too few messages yet), whose they are and when."""

    values: Floats
    devices: Ints
    times_ms: Ints


class Report(NamedTuple):
    """One detector on the test captures; every share is of rows or windows that could be scored."""

    detector: str
    false_alarms: float
    false_alarm_windows: float
    alarms_an_hour: float
    detected: Mapping[str, float]
    detected_windows: Mapping[str, float]
    auc: float


def read_capture(folder: Path, name: str) -> list[Packet]:
    """Read the packets of ``NAME.pcap`` or ``NAME.pcapng``, packed or not.

    Raises:
        DataRefused: there is none, or it is no capture.
    """
    try:
        path = find(folder, f"{name}.pcap")
    except DataRefused:
        path = find(folder, f"{name}.pcapng")
    try:
        return list(packets(segments(frames(read_bytes(path, _LIMIT)))))
    except CaptureRefused as error:
        raise DataRefused(f"{path.name}: {error}") from error


def replay(flow: Sequence[Packet]) -> Replay:
    """Feed the statistics as a gateway would; one row for each message from the first that has any statistic.

    Raises:
        DataRefused: the capture names more clients than a gateway has devices.
    """
    devices: dict[str, tuple[int, DeviceTraffic]] = {}
    asked: dict[tuple[str, int], Packet] = {}
    rows: list[list[float]] = []
    owners, times = [], []
    for packet in flow:
        number, traffic = devices.setdefault(packet.client, (len(devices), DeviceTraffic()))
        if len(devices) > _MAX_DEVICES:
            raise DataRefused(f"more than {_MAX_DEVICES} clients")
        connection = (packet.client, packet.port)
        if not packet.from_client:
            connect = asked.pop(connection, None) if packet.kind == _CONNACK else None
            if connect is None:
                continue
            _count(traffic, connect, refused=packet.refused)
        elif packet.kind == _CONNECT:
            asked[connection] = packet
            continue
        else:
            _count(traffic, packet, refused=packet.kind == _MALFORMED)
        values = [traffic.value(statistic) for statistic in STATISTICS]
        if any(value is not None for value in values):
            rows.append([np.nan if value is None else value for value in values])
            owners.append(number)
            times.append(packet.time_ms)
    table = np.array(rows, dtype=np.float64).reshape(-1, len(STATISTICS))
    return Replay(table, np.array(owners, dtype=np.int64), np.array(times, dtype=np.int64))


def _count(traffic: DeviceTraffic, packet: Packet, *, refused: bool) -> None:
    if refused:
        traffic.refused()
    else:
        traffic.accepted(packet.time_ms, packet.time_ms, packet.size)


def columns_of(benign: Floats) -> tuple[Column, ...]:
    """Fit the columns on benign rows; what is missing is taken to be the median."""
    columns = []
    for place, statistic in enumerate(STATISTICS):
        seen = benign[:, place]
        seen = seen[~np.isnan(seen)]
        fitted = fit_column(statistic.value, seen, log1p=statistic is not Statistic.REFUSED_RATIO)
        columns.append(fitted._replace(kind=ColumnKind.STATISTIC, missing=float(np.median(seen))))
    return tuple(columns)


def rows_from(columns: Sequence[Column], values: Floats) -> Floats:
    """Apply the columns to a replay's values."""
    table = {column.name: values[:, place] for place, column in enumerate(columns)}
    return rows_of(columns, table).astype(np.float64)


class Nearest(NamedTuple):
    """Normal only: how far a row is from the nearest of some benign ones."""

    known: Floats

    def __call__(self, rows: Floats) -> Floats:
        """Return the distances."""
        squares = (rows**2).sum(axis=1)[:, None] + (self.known**2).sum(axis=1) - 2.0 * rows @ self.known.T
        nearest: Floats = np.sqrt(np.maximum(squares.min(axis=1), 0.0))
        return nearest


def fit_nearest(rows: Floats, devices: Ints) -> Nearest:
    """Keep as many rows of each device, evenly spread over time: a device that talks much is one device."""
    kept = []
    for device in np.unique(devices):
        own = rows[devices == device]
        kept.append(own[np.linspace(0, len(own) - 1, min(len(own), _KNOWN), dtype=np.int64)])
    return Nearest(np.concatenate(kept))


class Logistic(NamedTuple):
    """Taught with attacks: the probability of one."""

    weights: Floats
    bias: float

    def __call__(self, rows: Floats) -> Floats:
        """Return the probabilities."""
        answer: Floats = 1.0 / (1.0 + np.exp(-np.clip(rows @ self.weights + self.bias, -40, 40)))
        return answer


def fit_logistic(kinds: Sequence[Floats]) -> Logistic:
    """Fit by gradient descent; the first kind is benign and weighs as much as all attacks together."""
    rows = np.concatenate(list(kinds))
    truth = np.concatenate([np.full(len(kind), float(place > 0)) for place, kind in enumerate(kinds)])
    share = [0.5] + [0.5 / (len(kinds) - 1)] * (len(kinds) - 1)
    weight = np.concatenate([np.full(len(kind), part / len(kind)) for kind, part in zip(kinds, share, strict=True)])
    model = Logistic(np.zeros(rows.shape[1]), 0.0)
    for _ in range(_ROUNDS):
        error = weight * (model(rows) - truth)
        model = Logistic(
            model.weights - _STEP * (error @ rows + _DECAY * model.weights), model.bias - _STEP * error.sum()
        )
    return model


def windows(flags: Flags, played: Replay) -> Flags:
    """Gather rows into windows of ten seconds of one device; a window is called when half of its rows are."""
    _, place = np.unique(np.stack([played.devices, played.times_ms // WINDOW_MS]), axis=1, return_inverse=True)
    place = place.ravel()
    return np.asarray(np.bincount(place, weights=flags) * 2 >= np.bincount(place))


def report(detector: str, threshold: float, scores: Mapping[str, Floats], played: Mapping[str, Replay]) -> Report:
    """Compare a detector's scores of the test captures with its threshold."""
    flags = {name: values >= threshold for name, values in scores.items()}
    gathered = {name: windows(flags[name], played[name]) for name in flags}
    quiet = played[BENIGN]
    alarms = sum(len(first_per_run(flags[BENIGN][quiet.devices == device])) for device in np.unique(quiet.devices))
    hours = sum(float(np.ptp(quiet.times_ms[quiet.devices == device])) for device in np.unique(quiet.devices)) / 3.6e6
    attacks = np.concatenate([scores[name] for name in ATTACKS])
    truth = np.concatenate([np.zeros(len(scores[BENIGN])), np.ones(len(attacks))])
    return Report(
        detector,
        binary(np.zeros(len(flags[BENIGN])), flags[BENIGN]).false_alarms,
        float(gathered[BENIGN].mean()),
        alarms / hours if hours else 0.0,
        {name: float(flags[name].mean()) for name in ATTACKS},
        {name: float(gathered[name].mean()) for name in ATTACKS},
        auc(truth, np.concatenate([scores[BENIGN], attacks])),
    )


def evaluate(folder: Path) -> list[Report]:
    """Train on the train captures, answer for the test captures: one rule, normal only, taught with attacks.

    Thresholds let through 1 % of the benign training rows of devices that the detector at hand was not fitted on
    (one device is left out at a time).

    Raises:
        DataRefused: the folder does not hold the captures.
    """
    learn = {name: replay(read_capture(folder, f"{name}-train")) for name in (BENIGN, *ATTACKS)}
    test = {name: replay(read_capture(folder, f"{name}-test")) for name in (BENIGN, *ATTACKS)}
    columns = columns_of(learn[BENIGN].values)
    rows = {name: rows_from(columns, played.values) for name, played in learn.items()}
    asked = {name: rows_from(columns, played.values) for name, played in test.items()}
    owners = learn[BENIGN].devices
    attacks = [rows[name] for name in ATTACKS]
    distances, chances = [], []
    for device in np.unique(owners):
        kept, out = rows[BENIGN][owners != device], rows[BENIGN][owners == device]
        distances.append(fit_nearest(kept, owners[owners != device])(out))
        chances.append(fit_logistic([kept, *attacks])(out))
    gap = list(STATISTICS).index(Statistic.GAP_MEAN_S)
    nearest, logistic = fit_nearest(rows[BENIGN], owners), fit_logistic([rows[BENIGN], *attacks])
    rule = threshold_at(-rows[BENIGN][:, gap], ALARM_SHARE)
    return [
        report("one rule: mean gap", rule, {name: -part[:, gap] for name, part in asked.items()}, test),
        report(
            "normal only: nearest benign row",
            threshold_at(np.concatenate(distances), ALARM_SHARE),
            {name: nearest(part) for name, part in asked.items()},
            test,
        ),
        report(
            "taught: logistic regression",
            threshold_at(np.concatenate(chances), ALARM_SHARE),
            {name: logistic(part) for name, part in asked.items()},
            test,
        ),
    ]


@click.command("mqttset")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
def command(data: Path) -> None:
    """Evaluate detectors of attacked MQTT devices on MQTTset's captures; nothing is shipped. Prints JSON."""
    click.echo(json.dumps([found._asdict() for found in evaluate(data)], indent=1))
