"""SKAB: a water circuit with eight sensors, evaluated by its own protocol and by what a gateway could do.

Of each of 34 files the first 400 rows train, the rest are the test; figures are pooled over all rows of all files.
SKAB's public detectors call a row anomalous when *every* window of 60 rows that holds it is above the limit: the last
of them ends 59 rows later, so the answer looks 59 s ahead. The causal answer is that of the window that ends with the
row. The set is GPL-3.0: nothing trained on it is shipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from gateway.training.data import DataRefused, Flags, Floats, find, rows
from gateway.training.detectors import fit_residual
from gateway.training.metrics import Binary, binary

GROUPS: Final = {"valve1": 16, "valve2": 4, "other": 14}
SENSORS: Final = 8
TRAIN_ROWS: Final = 400
WINDOW: Final = 60
COMPONENTS: Final = 8
QUANTILE: Final = 0.99
MARGIN: Final = 1.5
"""The limit is 1.5 times the 99 % quantile of the training windows' residuals: the rule of SKAB's own notebooks."""

_FREE: Final = "anomaly-free.csv"


class Series(NamedTuple):
    """One file: its sensors, a row a second, and which rows are anomalous (none in the anomaly-free file)."""

    name: str
    values: Floats
    anomaly: Flags


class Pooled(NamedTuple):
    """A method on all test rows, and its false alarms on the anomaly-free file where it could be asked."""

    method: str
    figures: Binary
    alarms_on_free: float | None


def read_file(path: Path) -> Series:
    """Read one file; the anomaly-free one has no labels.

    Raises:
        DataRefused: other columns than SKAB's, or no number where one belongs.
    """
    head, *table = list(rows(path, ";"))
    labelled = head[-2:] == ["anomaly", "changepoint"]
    if len(head) != 1 + SENSORS + 2 * labelled or any(len(row) != len(head) for row in table):
        raise DataRefused(f"{path.name}: a time, eight sensors and perhaps two labels were expected")
    try:
        numbers = np.array([row[1:] for row in table], dtype=np.float64)
    except ValueError as error:
        raise DataRefused(f"{path.name}: {error}") from error
    anomaly = numbers[:, SENSORS] > 0 if labelled else np.zeros(len(numbers), dtype=bool)
    return Series(path.name.split(".")[0], numbers[:, :SENSORS], anomaly)


def read(folder: Path) -> list[Series]:
    """The 34 files with labels, group by group.

    Raises:
        DataRefused: one is missing or damaged.
    """
    return [
        read_file(find(folder / group, f"{number}.csv"))._replace(name=f"{group}/{number}")
        for group, count in GROUPS.items()
        for number in _numbers(folder / group, count)
    ]


def _numbers(folder: Path, count: int) -> list[int]:
    found = sorted(int(path.name.split(".")[0]) for path in folder.glob("*.csv*"))
    if len(found) != count:
        raise DataRefused(f"{folder.name} holds {len(found)} files, {count} were expected")
    return found


def windows(values: Floats) -> Floats:
    """Every window of 60 rows as one row; window ``i`` begins with row ``i`` and ends with row ``i + 59``."""
    view = np.lib.stride_tricks.sliding_window_view(values, WINDOW, axis=0)
    return np.ascontiguousarray(view.transpose(0, 2, 1).reshape(len(view), -1))


class WindowPca(NamedTuple):
    """Window residuals as a share of the limit, for a file: its training rows decide everything."""

    ratio: Floats

    @classmethod
    def of(cls, train: Floats, test: Floats) -> WindowPca:
        """Fit on the training rows, then go over training and test rows as one series."""
        mean, scale = train.mean(axis=0), train.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        every = windows((np.concatenate([train, test]) - mean) / scale).astype(np.float32)
        known = every[: len(train) - WINDOW + 1]
        detector = fit_residual(known, COMPONENTS)
        limit = MARGIN * float(np.quantile(detector.scores(known), QUANTILE))
        return cls(detector.scores(every).astype(np.float64) / limit)

    def causal(self, rows_of_test: int) -> Flags:
        """The answer for each test row by the window that ends with it."""
        return np.asarray(self.ratio[-rows_of_test:] > 1)

    def ahead(self, rows_of_test: int) -> Flags:
        """SKAB's rule: every window that holds the row, those that end after it too, is above the limit."""
        above = np.concatenate([np.ones(WINDOW - 1), self.ratio > 1, np.ones(WINDOW - 1)])
        held = np.lib.stride_tricks.sliding_window_view(above, WINDOW).min(axis=1)
        return np.asarray(held[-rows_of_test:] > 0)


def position_mask(fitted_on: Sequence[Series]) -> Flags:
    """By row number alone: whether most of these files are anomalous there. It has never seen a sensor."""
    longest = max(len(series.anomaly) for series in fitted_on)
    votes, there = np.zeros(longest), np.zeros(longest)
    for series in fitted_on:
        votes[: len(series.anomaly)] += series.anomaly
        there[: len(series.anomaly)] += 1
    return np.asarray(votes > there / 2)


def _masked(mask: Flags, length: int) -> Flags:
    padded = np.zeros(max(length, len(mask)), dtype=bool)
    padded[: len(mask)] = mask
    return padded[TRAIN_ROWS:length]


def evaluate(series: Sequence[Series], free: Series) -> list[Pooled]:
    """Every method on the same test rows: two baselines that look at no sensor, and one detector asked twice."""
    truth = np.concatenate([one.anomaly[TRAIN_ROWS:] for one in series])
    mask = position_mask([one for one in series if one.name.startswith("valve1/")])
    by_position = np.concatenate([_masked(mask, len(one.anomaly)) for one in series])
    elsewhere = np.concatenate(
        [np.full(len(one.anomaly) - TRAIN_ROWS, not one.name.startswith("valve1/")) for one in series]
    )
    causal, ahead = [], []
    for one in series:
        fitted = WindowPca.of(one.values[:TRAIN_ROWS], one.values[TRAIN_ROWS:])
        causal.append(fitted.causal(len(one.values) - TRAIN_ROWS))
        ahead.append(fitted.ahead(len(one.values) - TRAIN_ROWS))
    quiet = WindowPca.of(free.values[:TRAIN_ROWS], free.values[TRAIN_ROWS:])
    rest = len(free.values) - TRAIN_ROWS
    return [
        Pooled("always anomalous", binary(truth, np.ones_like(truth)), 1.0),
        Pooled("row positions of valve1, no sensor", binary(truth, by_position), None),
        Pooled("the same, on valve2 and other alone", binary(truth[elsewhere], by_position[elsewhere]), None),
        Pooled("window PCA, causal", binary(truth, np.concatenate(causal)), float(quiet.causal(rest).mean())),
        Pooled(
            "window PCA, SKAB's rule, looks 59 s ahead",
            binary(truth, np.concatenate(ahead)),
            float(quiet.ahead(rest).mean()),
        ),
    ]


def free_of_anomalies(folder: Path) -> Series:
    """The file without anomalies."""
    return read_file(find(folder / "anomaly-free", _FREE))
