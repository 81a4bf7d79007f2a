"""Choosing a detector on KDDTrain+ alone: attacks that training does not hold, services that it does not hold.

Every fold leaves out some types of attack of each family, and some services of the normal rows. What is measured: how
many of the unseen attacks are found, and how often normal rows alarm, of the services that were there and of those
that were not. The test files differ from training in both ways; none of them is read here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np

from gateway.training.data import Flags, stratified
from gateway.training.metrics import auc
from gateway.training.nslkdd import Connections
from gateway.training.nslkdd_models import Recipe, fit

FOLDS: Final = 4
RATES: Final = (0.005, 0.01, 0.02, 0.03, 0.05)
COMMON: Final = 3
"""The most frequent services of normal rows are never left out: no fold is to be without most of what is normal."""


class Fold(NamedTuple):
    """Training rows, and what is asked of a detector: unseen attacks, normal rows of known and of other services."""

    train: Connections
    unseen: Connections
    same: Connections
    shifted: Connections


class Outcome(NamedTuple):
    """Means over folds, by rate: found (mean over unseen types), false alarms, and those on unseen services."""

    auc: float
    found: Mapping[float, float]
    alarms: Mapping[float, float]
    shifted: Mapping[float, float]


def _turns(names: list[str], fold: int) -> set[str]:
    return {name for turn, name in enumerate(names) if turn % FOLDS == fold}


def _by_size(values: list[str]) -> list[str]:
    found, counts = np.unique(values, return_counts=True)
    return [str(found[at]) for at in np.argsort(-counts, kind="stable")]


def folds_of(train: Connections, seed: int) -> Iterator[Fold]:
    """The folds. Every type of attack, and every service but the common ones, is unseen in exactly one."""
    services = _by_size(train.features["service"][~train.attack].tolist())[COMMON:]
    types = {
        family: _by_size(train.label[train.family == family].tolist()) for family in ("DoS", "Probe", "R2L", "U2R")
    }
    known = stratified(train.family, 0.1, seed)
    spare = np.zeros(len(train), dtype=bool)
    spare[known.held] = True
    for fold in range(FOLDS):
        gone = set[str]().union(*(_turns(names, (fold + turn) % FOLDS) for turn, names in enumerate(types.values())))
        unseen = np.isin(train.label, sorted(gone))
        elsewhere: Flags = np.isin(train.features["service"], sorted(_turns(services, fold))) & ~train.attack
        yield Fold(
            train.take(~unseen & ~elsewhere & ~spare),
            train.take(unseen),
            train.take(spare & ~train.attack & ~elsewhere),
            train.take(elsewhere),
        )


def measure(recipe: Recipe, train: Connections, seed: int) -> Outcome:
    """Fit the candidate in every fold and measure it there."""
    areas: list[float] = []
    found: dict[float, list[float]] = {rate: [] for rate in RATES}
    alarms: dict[float, list[float]] = {rate: [] for rate in RATES}
    shifted: dict[float, list[float]] = {rate: [] for rate in RATES}
    for fold in folds_of(train, seed):
        fitted = fit(recipe, fold.train, seed)
        unseen, same, other = (fitted.scores(part) for part in (fold.unseen, fold.same, fold.shifted))
        truth = np.repeat([True, False, False], [len(unseen), len(same), len(other)])
        areas.append(auc(truth, np.concatenate([unseen, same, other])))
        for rate in RATES:
            limit = fitted.threshold(rate)
            called = unseen >= limit
            types = np.unique(fold.unseen.label)
            found[rate].append(float(np.mean([called[fold.unseen.label == name].mean() for name in types])))
            alarms[rate].append(float((same >= limit).mean()))
            shifted[rate].append(float((other >= limit).mean()))
    means = [{rate: float(np.mean(values)) for rate, values in table.items()} for table in (found, alarms, shifted)]
    return Outcome(float(np.mean(areas)), *means)
