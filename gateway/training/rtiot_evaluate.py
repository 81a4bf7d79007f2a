"""What is measured on RT-IoT2022: two networks that tell classes apart, and detectors that know normal flows alone.

Both are measured by five folds drawn by distinct vector; the networks also by folds drawn by row, as papers do. What
is pooled over the folds is every row once, held out from what answered it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from gateway.detection.spec import Column
from gateway.training import neural
from gateway.training.data import Flags, Ints, Part, Singles, Words, stratified
from gateway.training.detectors import Detector, fit_prototypes, fit_residual
from gateway.training.export import rows_of
from gateway.training.metrics import Binary, Many, Roc, auc, binary, many, recall_at, recall_by, roc, threshold_at
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

    ``found`` is the recall where at most 1 % of the test's normal rows alarm; ``at_threshold`` is what a threshold,
    set at 1 % on other held-out normal rows, gives on the test, ``by_attack`` what it finds of each attack. All of
    them count a distinct vector once; ``auc_all`` and ``found_all`` count it as often as it occurs. Means over folds.
    """

    detector: str
    auc: float
    found: float
    auc_all: float
    found_all: float
    at_threshold: Binary
    by_attack: Mapping[str, float]
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


class _Asked(NamedTuple):
    """One fold's test: attack or not, scores, how often each vector occurs, and its class."""

    attack: Flags
    scores: Singles
    times: Ints
    names: Words
    limit: float


def _asked(name: str, flows: Flows) -> Iterator[_Asked]:
    distinct = flows.take(firsts(flows))
    times = np.bincount(flows.vector)[distinct.vector]
    names = np.array(flows.kinds, dtype=np.str_)[distinct.kind]
    for number, part in enumerate(folds_by_vector(distinct, FOLDS, SEED)):
        normal = part.train[~distinct.attack[part.train]]
        split = stratified(distinct.kind[normal], 0.2, SEED + number)
        known = distinct.take(normal[split.train])
        pipeline = Pipeline(columns_of(known))
        detector = DETECTORS[name](pipeline.inputs_of(known))
        limit = threshold_at(detector.scores(pipeline.inputs_of(distinct.take(normal[split.held]))), RATE)
        quiet = part.held[~distinct.attack[part.held]]
        test = np.concatenate([quiet, np.flatnonzero(distinct.attack)])
        scores = detector.scores(pipeline.inputs_of(distinct.take(test)))
        yield _Asked(distinct.attack[test], scores, times[test], names[test], limit)


def novelty(name: str, flows: Flows) -> Novelty:
    """Fit on normal flows of four folds, a fifth held for the threshold; test on the other fold and all attacks."""
    every = list(_asked(name, flows))
    repeated = [(np.repeat(one.attack, one.times), np.repeat(one.scores, one.times)) for one in every]
    called = [one.scores >= one.limit for one in every]
    attacks = [recall_by(one.names[one.attack], flags[one.attack]) for one, flags in zip(every, called, strict=True)]
    return Novelty(
        name,
        float(np.mean([auc(one.attack, one.scores) for one in every])),
        float(np.mean([recall_at(one.attack, one.scores, RATE) for one in every])),
        float(np.mean([auc(*pair) for pair in repeated])),
        float(np.mean([recall_at(*pair, RATE) for pair in repeated])),
        _mean([binary(one.attack, flags) for one, flags in zip(every, called, strict=True)]),
        {attack: float(np.mean([one[attack] for one in attacks])) for attack in attacks[0]},
        roc(every[0].attack, every[0].scores),
    )


def facts(flows: Flows) -> dict[str, Any]:
    """How many rows there are, and how many distinct ones, by class."""
    distinct = flows.kind[firsts(flows)]
    return {
        "rows": len(flows),
        "dropped": flows.dropped,
        "distinct": len(distinct),
        "by_class": {name: int((flows.kind == at).sum()) for at, name in enumerate(flows.kinds)},
        "distinct_by_class": {name: int((distinct == at).sum()) for at, name in enumerate(flows.kinds)},
    }


def normal_only(flows: Flows) -> dict[str, Any]:
    """Every normal-only detector, as JSON takes it; curves are thinned for a plot."""
    found = [novelty(name, flows) for name in DETECTORS]
    told = [
        {**one._asdict(), "at_threshold": one.at_threshold._asdict(), "curve": thin(one.curve, 0.3)} for one in found
    ]
    return {**facts(flows), "novelty": told}


def networks(flows: Flows, done: Callable[[Classified], None]) -> dict[str, Any]:
    """Every network under both kinds of folds; ``done`` is told of each as it comes."""
    told: list[dict[str, Any]] = []
    for kind in neural.KINDS:
        for folds_by in PROTOCOLS:
            for one in classify(kind, flows, folds_by):
                done(one)
                told.append({**one._asdict(), "classes": one.classes._asdict(), "detection": one.detection._asdict()})
    return {**facts(flows), "networks": told}
