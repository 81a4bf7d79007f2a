"""The candidates for NSL-KDD and how one is fitted: a pipeline, a detector, a threshold, all from training rows.

A fifth of the normal rows takes no part in fitting: thresholds are set on it, so that they are not set on rows that
the detector has already explained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from gateway.detection.spec import Column
from gateway.training.data import Flags, Singles, stratified
from gateway.training.detectors import (
    Detector,
    either,
    fit_grown,
    fit_prototypes,
    fit_residual,
)
from gateway.training.export import rows_of
from gateway.training.libraries import library
from gateway.training.metrics import threshold_at
from gateway.training.nslkdd import Connections, columns_of

HELD_SHARE: Final = 0.2
PART_RATE: Final = 0.01

Fit = Callable[[Singles, Flags, Singles, int], Detector]
"""Rows to fit on, which of them are attacks, held-out normal rows, seed."""


class Recipe(NamedTuple):
    """A candidate: how it is fitted and which features it goes without."""

    fit: Fit
    without: frozenset[str] = frozenset()


class Fitted(NamedTuple):
    """A detector with its pipeline; ``held`` are the scores of the held-out normal rows."""

    columns: tuple[Column, ...]
    detector: Detector
    held: Singles

    def threshold(self, rate: float) -> float:
        """The threshold at which ``rate`` of the held-out normal rows are false alarms."""
        return threshold_at(self.held, rate)

    def scores(self, connections: Connections) -> Singles:
        """One score a row."""
        return self.detector.scores(rows_of(self.columns, connections.features))


def fit(recipe: Recipe, train: Connections, seed: int) -> Fitted:
    """Fit a candidate on training rows."""
    part = stratified(train.family, HELD_SHARE, seed)
    columns = columns_of(train.take(part.train), without=recipe.without)
    held = train.take(part.held[~train.attack[part.held]])
    held_rows = rows_of(columns, held.features)
    fitted = train.take(part.train)
    detector = recipe.fit(rows_of(columns, fitted.features), fitted.attack, held_rows, seed)
    return Fitted(columns, detector, detector.scores(held_rows))


def _residual(rows: Singles, attack: Flags, held: Singles, seed: int, *, count: int) -> Detector:  # noqa: ARG001 -- Fit
    return fit_residual(rows[~attack], count)


def _prototypes(rows: Singles, attack: Flags, held: Singles, seed: int, *, count: int) -> Detector:  # noqa: ARG001 -- Fit
    return fit_prototypes(rows[~attack], count, seed)


def _grown(rows: Singles, attack: Flags, held: Singles, seed: int) -> Detector:  # noqa: ARG001 -- Fit
    return fit_grown(rows, attack, trees=50, depth=10, seed=seed)


def _both(rows: Singles, attack: Flags, held: Singles, seed: int, *, normal: Fit) -> Detector:
    parts = [normal(rows, attack, held, seed), _grown(rows, attack, held, seed)]
    return either(parts, held, PART_RATE)


class Foreign(NamedTuple):
    """A model that stays in its library, for comparison only: it has no tensors."""

    score: Callable[[Singles], Singles]

    def scores(self, inputs: Singles) -> Singles:
        """One score a row."""
        return self.score(inputs)

    def tensors(self, inputs: object) -> object:
        """There are none."""
        raise NotImplementedError("a comparison is not exported")


def _foreign(rows: Singles, attack: Flags, held: Singles, seed: int, *, name: str) -> Detector:  # noqa: ARG001 -- Fit
    if name == "forest":
        model = library("sklearn.ensemble").RandomForestClassifier(100, random_state=seed, n_jobs=2)
    elif name == "boosting":
        model = library("sklearn.ensemble").HistGradientBoostingClassifier(random_state=seed)
    else:
        model = library("sklearn.linear_model").LogisticRegression(max_iter=300)
    model.fit(rows, attack)
    return Foreign(lambda inputs: np.asarray(model.predict_proba(inputs)[:, 1], dtype=np.float32))


def _stump(rows: Singles, attack: Flags, held: Singles, seed: int) -> Detector:  # noqa: ARG001 -- Fit
    tree = library("sklearn.tree").DecisionTreeClassifier(max_depth=1, random_state=seed)
    tree.fit(rows, attack)
    return Foreign(lambda inputs: np.asarray(tree.predict_proba(inputs)[:, 1], dtype=np.float32))


BASELINES: Final[Mapping[str, Recipe]] = {
    "one-rule stump": Recipe(_stump),
    "logistic regression": Recipe(partial(_foreign, name="logistic")),
    "random forest": Recipe(partial(_foreign, name="forest")),
    "gradient boosting": Recipe(partial(_foreign, name="boosting")),
}
"""What a reader compares with; the first three answer at 0.5 by themselves."""

_NO_SERVICE: Final = frozenset({"service"})
_RES = {count: partial(_residual, count=count) for count in (8, 16, 32)}
_PROTO = {count: partial(_prototypes, count=count) for count in (64, 256)}

CANDIDATES: Final[Mapping[str, Recipe]] = {
    **{f"PCA residual, {count}": Recipe(one) for count, one in _RES.items()},
    **{f"PCA residual, {count}, no service": Recipe(one, _NO_SERVICE) for count, one in _RES.items()},
    **{f"prototypes, {count}": Recipe(one) for count, one in _PROTO.items()},
    **{f"prototypes, {count}, no service": Recipe(one, _NO_SERVICE) for count, one in _PROTO.items()},
    "grown": Recipe(_grown),
    "grown, no service": Recipe(_grown, _NO_SERVICE),
    **{f"grown or PCA residual, {count}": Recipe(partial(_both, normal=one)) for count, one in _RES.items()},
    **{
        f"grown or PCA residual, {count}, no service": Recipe(partial(_both, normal=one), _NO_SERVICE)
        for count, one in _RES.items()
    },
    **{
        f"grown or prototypes, {count}, no service": Recipe(partial(_both, normal=one), _NO_SERVICE)
        for count, one in _PROTO.items()
    },
}
"""What may be chosen: all of it fits into a model for a gateway."""
