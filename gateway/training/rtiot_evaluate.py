"""What is measured on RT-IoT2022: two networks that tell classes apart, and detectors that know normal flows alone.

Both are measured by five folds drawn by distinct vector; the networks also by folds drawn by row, as papers do. What
is pooled over the folds is every row once, held out from what answered it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from gateway.detection.spec import Column
from gateway.training import neural
from gateway.training.data import Ints, Part, Singles, stratified
from gateway.training.detectors import Detector, fit_prototypes, fit_residual
from gateway.training.export import rows_of
from gateway.training.metrics import Binary, Many, Roc, auc, binary, many, recall_at, roc, threshold_at
from gateway.training.plot import thin
from gateway.training.rtiot import Flows, columns_of, firsts, folds_by_row, folds_by_vector, thinned

FOLDS: Final = 5
SEED: Final = 1
EPOCHS: Final = 12
MOST: Final = 6_000
RATE: Final = 0.01

PROTOCOLS: Final[Mapping[str, Callable[[Flows, int, int], list[Part]]]] = {
    "row": folds_by_row,
    "vector": folds_by_vector,
}


class Classified(NamedTuple):
    """A network under one protocol: by class, and as a detector of attacks of any kind."""

    network: str
    folds_by: str
    rows: str
    classes: Many
    detection: Binary


class Novelty(NamedTuple):
    """A normal-only detector: the curve over held-out normal flows and all attacks, and its work at a threshold.

    ``found`` is the recall where exactly 1 % of the test's normal rows alarm; ``at_threshold`` is what a threshold,
    set at 1 % on other held-out normal rows, gives on the test. A figure is the mean over the folds.
    """

    detector: str
    auc: float
    found: float
    at_threshold: Binary
    curve: Roc


class Pipeline(NamedTuple):
    """What turns flows into the input of what was trained with it."""

    columns: tuple[Column, ...]

    def inputs_of(self, flows: Flows) -> Singles:
        """One row a flow."""
        return rows_of(self.columns, flows.features)


def train(kind: str, flows: Flows, rows: Ints, seed: int) -> tuple[Any, Pipeline]:
    """Train a network on some rows; its pipeline comes with it."""
    chosen = flows.take(thinned(flows, rows, MOST, seed))
    pipeline = Pipeline(columns_of(chosen))
    weights = neural.class_weights(chosen.kind, len(flows.kinds))
    task = neural.Task(pipeline.inputs_of(chosen), chosen.kind, weights)
    return neural.fit(kind, task, epochs=EPOCHS, seed=seed), pipeline


def classify(kind: str, flows: Flows, folds_by: str) -> list[Classified]:
    """Train and test a network fold by fold; pooled over all rows, and over the first row of each vector."""
    called = np.zeros(len(flows), dtype=np.int64)
    for number, part in enumerate(PROTOCOLS[folds_by](flows, FOLDS, SEED)):
        model, pipeline = train(kind, flows, part.train, SEED + number)
        called[part.held] = neural.answers(model, pipeline.inputs_of(flows.take(part.held))).argmax(axis=1)
    is_attack = np.zeros(len(flows.kinds), dtype=bool)
    is_attack[np.unique(flows.kind[flows.attack])] = True
    every = np.arange(len(flows), dtype=np.int64)
    return [
        Classified(
            kind,
            folds_by,
            name,
            many(flows.kind[which], called[which], len(flows.kinds)),
            binary(flows.attack[which], is_attack[called[which]]),
        )
        for name, which in (("all", every), ("distinct", firsts(flows)))
    ]


DETECTORS: Final[Mapping[str, Callable[[Singles], Detector]]] = {
    "PCA residual, 8": lambda rows: fit_residual(rows, 8),
    "PCA residual, 16": lambda rows: fit_residual(rows, 16),
    "PCA residual, 32": lambda rows: fit_residual(rows, 32),
    "prototypes, 64": lambda rows: fit_prototypes(rows, 64, SEED),
    "prototypes, 256": lambda rows: fit_prototypes(rows, 256, SEED),
}


def _mean(found: list[Binary]) -> Binary:
    means = [float(np.mean(values)) for values in zip(*(one[1:] for one in found), strict=True)]
    return Binary(found[0].rows, *means)


def novelty(name: str, flows: Flows) -> Novelty:
    """Fit on normal flows of four folds, a fifth held for the threshold; test on the other fold and all attacks."""
    areas, found, works, curve = [], [], [], None
    distinct = flows.take(firsts(flows))
    for number, part in enumerate(folds_by_vector(distinct, FOLDS, SEED)):
        normal = part.train[~distinct.attack[part.train]]
        split = stratified(distinct.kind[normal], 0.2, SEED + number)
        known = distinct.take(normal[split.train])
        columns = columns_of(known)
        detector = DETECTORS[name](rows_of(columns, known.features))
        limit = threshold_at(detector.scores(rows_of(columns, distinct.take(normal[split.held]).features)), RATE)
        quiet = part.held[~distinct.attack[part.held]]
        asked = distinct.take(np.concatenate([quiet, np.flatnonzero(distinct.attack)]))
        scores = detector.scores(rows_of(columns, asked.features))
        areas.append(auc(asked.attack, scores))
        found.append(recall_at(asked.attack, scores, RATE))
        works.append(binary(asked.attack, scores >= limit))
        curve = curve or roc(asked.attack, scores)
    if curve is None:
        raise ValueError("no fold was drawn")
    return Novelty(name, float(np.mean(areas)), float(np.mean(found)), _mean(works), curve)


def told(flows: Flows, normal_only: list[Novelty], classified: list[Classified]) -> dict[str, Any]:
    """Everything that was found, as JSON takes it; curves are thinned for a plot."""
    return {
        "rows": len(flows),
        "dropped": flows.dropped,
        "distinct": len(firsts(flows)),
        "by_class": {name: int((flows.kind == at).sum()) for at, name in enumerate(flows.kinds)},
        "distinct_by_class": {
            name: int((flows.kind[firsts(flows)] == at).sum()) for at, name in enumerate(flows.kinds)
        },
        "novelty": [
            {
                **one._asdict(),
                "at_threshold": one.at_threshold._asdict(),
                "curve": thin(one.curve, 0.3),
            }
            for one in normal_only
        ],
        "networks": [
            {**one._asdict(), "classes": one.classes._asdict(), "detection": one.detection._asdict()}
            for one in classified
        ],
    }
