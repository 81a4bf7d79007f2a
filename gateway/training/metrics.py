"""What a detector is worth, in figures that can be compared: always with its false alarms.

Everything takes arrays and gives plain numbers from 0 to 1 (kappa from -1). "Attack" stands for what is to be found,
an intrusion or a fault; a false alarm is a normal row that was called one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gateway.training.data import Flags, Floats, Ints, Words


class Binary(NamedTuple):
    """A yes-or-no detector on one set of rows. ``recall`` is the detection rate, ``missed`` is 1 - recall (MAR).

    ``false_alarms`` is the share of normal rows called attacks (FAR). ``f1`` is that of the attacks, ``macro_f1`` the
    mean of it and that of the normal rows.
    """

    rows: int
    accuracy: float
    recall: float
    false_alarms: float
    missed: float
    precision: float
    f1: float
    macro_f1: float
    balanced_accuracy: float
    kappa: float


class Many(NamedTuple):
    """A classifier of several classes. The means over classes give every class the same weight.

    ``sensitivity`` (mean recall) is also the balanced accuracy; ``specificity`` is the mean, over classes, of the
    share of the other rows that were not called by that class.
    """

    rows: int
    accuracy: float
    macro_f1: float
    balanced_accuracy: float
    sensitivity: float
    specificity: float
    kappa: float


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def confusion(truth: ArrayLike, predicted: ArrayLike, classes: int) -> Ints:
    """Rows by true class (down) and predicted class (across)."""
    cells = np.asarray(truth, dtype=np.int64) * classes + np.asarray(predicted, dtype=np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def cohen_kappa(table: Ints) -> float:
    """How far the agreement is above that of chance (Cohen 1960); 0 when chance explains everything."""
    total = float(table.sum())
    if not total:
        return 0.0
    agreed = float(np.trace(table)) / total
    chance = float(table.sum(axis=0) @ table.sum(axis=1)) / (total * total)
    return _ratio(agreed - chance, 1 - chance)


def binary(attack: ArrayLike, called: ArrayLike) -> Binary:
    """Compare what is an attack with what was called one."""
    table = confusion(np.asarray(attack, dtype=bool), np.asarray(called, dtype=bool), 2)
    (quiet, false), (lost, found) = table.tolist()
    recall, alarms = _ratio(found, found + lost), _ratio(false, false + quiet)
    f1 = _ratio(2 * found, 2 * found + false + lost)
    normal_f1 = _ratio(2 * quiet, 2 * quiet + false + lost)
    return Binary(
        rows=int(table.sum()),
        accuracy=_ratio(found + quiet, float(table.sum())),
        recall=recall,
        false_alarms=alarms,
        missed=_ratio(lost, found + lost),
        precision=_ratio(found, found + false),
        f1=f1,
        macro_f1=(f1 + normal_f1) / 2,
        balanced_accuracy=(recall + 1 - alarms) / 2,
        kappa=cohen_kappa(table),
    )


def many(truth: ArrayLike, predicted: ArrayLike, classes: int) -> Many:
    """Compare true and predicted class numbers. A class without a row counts in no mean."""
    table = confusion(truth, predicted, classes).astype(np.float64)
    hits, actual, called, total = np.diag(table), table.sum(axis=1), table.sum(axis=0), table.sum()
    there = actual > 0
    recall = hits[there] / actual[there]
    f1 = 2 * hits[there] / (actual + called)[there]
    others = total - actual[there]
    spared = np.divide(others - (called - hits)[there], others, out=np.ones_like(others), where=others > 0)
    return Many(
        rows=int(total),
        accuracy=_ratio(float(hits.sum()), float(total)),
        macro_f1=float(f1.mean()),
        balanced_accuracy=float(recall.mean()),
        sensitivity=float(recall.mean()),
        specificity=float(spared.mean()),
        kappa=cohen_kappa(confusion(truth, predicted, classes)),
    )


class Roc(NamedTuple):
    """The curve: false alarms (across) and recall (up), both rising, from (0, 0) to (1, 1)."""

    false_alarms: Floats
    recall: Floats


def roc(attack: ArrayLike, scores: ArrayLike) -> Roc:
    """One point for each distinct score, so that equal scores are never told apart.

    Raises:
        ValueError: one of the two kinds of rows is missing, or a score is not a number.
    """
    truth, values = np.asarray(attack, dtype=bool), np.asarray(scores, dtype=np.float64)
    if truth.all() or not truth.any():
        raise ValueError("a ROC curve needs attacks and normal rows")
    if np.isnan(values).any():
        raise ValueError("a score is not a number")
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    found, called = np.cumsum(truth[order])[ends], ends + 1
    recall = np.concatenate([[0.0], found / truth.sum()])
    alarms = np.concatenate([[0.0], (called - found) / (~truth).sum()])
    return Roc(alarms, recall)


def auc(attack: ArrayLike, scores: ArrayLike) -> float:
    """The area under the ROC curve: how often an attack scores above a normal row, ties by half."""
    curve = roc(attack, scores)
    return float(np.trapezoid(curve.recall, curve.false_alarms))


def recall_at(attack: ArrayLike, scores: ArrayLike, rate: float) -> float:
    """The detection rate at the highest false-alarm rate that is not above ``rate``, on these very rows."""
    curve = roc(attack, scores)
    return float(curve.recall[curve.false_alarms <= rate].max())


def threshold_at(normal_scores: ArrayLike, rate: float) -> float:
    """The lowest threshold at which at most ``rate`` of these normal scores are at or above it.

    A gateway calls a score at or above the threshold anomalous; the normal rows are to be held out of training.
    """
    values = np.sort(np.asarray(normal_scores, dtype=np.float64))[::-1]
    allowed = int(rate * len(values))
    if allowed >= len(values):
        return float(values[-1])
    return float(np.nextafter(values[allowed], np.inf))


def recall_by(groups: Sequence[str] | Words, called: ArrayLike) -> dict[str, float]:
    """The share that was called an attack, by group (family or attack), in the order of their names."""
    names, flags = np.asarray(groups), np.asarray(called, dtype=bool)
    return {str(name): float(flags[names == name].mean()) for name in np.unique(names)}


def first_per_run(flags: Flags) -> Ints:
    """Where runs of true values begin: how many separate alarms a series has raised."""
    padded = np.concatenate([[False], np.asarray(flags, dtype=bool)])
    return np.flatnonzero(padded[1:] & ~padded[:-1]).astype(np.int64)
