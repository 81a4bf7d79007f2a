"""The frozen protocol of NSL-KDD: what is fitted, at which thresholds, with which seeds; the one look at the test.

Everything in ``PROTOCOL`` was decided on KDDTrain+ (``nslkdd_choose``) and on what docs/evaluation.md says was known
before; it was committed before ``honest`` was run for the first time. Changing it afterwards makes another protocol,
and the page has to say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from gateway.training.data import Flags, Singles, stratified
from gateway.training.export import rows_of
from gateway.training.libraries import library
from gateway.training.metrics import auc, binary, recall_by, roc
from gateway.training.nslkdd import TESTS, TRAIN, Connections, also_in, columns_of, read
from gateway.training.nslkdd_models import BASELINES, CANDIDATES, Fitted, Recipe, fit
from gateway.training.plot import thin

SEEDS: Final = (1, 2, 3, 4, 5)
ITSELF: Final = 0.5
"""For a classifier that is asked for its own answer instead of a rate of false alarms."""


class Entry(NamedTuple):
    """One line of the protocol. ``rate`` is the false-alarm rate on held-out training rows; None: its own answer."""

    model: str
    rate: float | None


CHOSEN: Final = Entry("prototypes, 64, no service", 0.03)
"""The detector that the protocol is about; the others stand beside it."""

KNOWN_BEFORE: Final = Entry("PCA residual, 16", 0.05)
"""The family that was known to do well on KDDTest+ before anything was chosen here."""

PROTOCOL: Final[Sequence[Entry]] = (
    CHOSEN,
    KNOWN_BEFORE,
    Entry("one-rule stump", None),
    Entry("logistic regression", None),
    Entry("random forest", None),
    Entry("gradient boosting", 0.01),
)


def recipe_of(name: str) -> Recipe:
    """The recipe of that name, a candidate or a comparison."""
    return CANDIDATES[name] if name in CANDIDATES else BASELINES[name]


def figures(test: Connections, scores: Singles, limit: float, known: frozenset[str]) -> dict[str, Any]:
    """Every figure of one run on one file; ``known`` are the attacks that training holds."""
    called = scores >= limit
    unseen = test.attack & ~np.isin(test.label, sorted(known))
    families = recall_by(test.family[test.attack], called[test.attack])
    return {
        **binary(test.attack, called)._asdict(),
        "auc": auc(test.attack, scores),
        "families": families,
        "unseen": float(called[unseen].mean()) if unseen.any() else None,
    }


def curve(test: Connections, scores: Singles, limit: float) -> dict[str, Any]:
    """The ROC curve, thinned for a plot, and where the threshold lies on it."""
    works = binary(test.attack, scores >= limit)
    return {"points": thin(roc(test.attack, scores), 0.3), "works_at": [works.false_alarms, works.recall]}


def fitted_once(train: Connections, entry: Entry, seed: int) -> tuple[Fitted, float]:
    """Fit a line of the protocol; its threshold comes with it."""
    fitted = fit(recipe_of(entry.model), train, seed)
    return fitted, ITSELF if entry.rate is None else fitted.threshold(entry.rate)


def honest(folder: Path, protocol: Sequence[Entry] = PROTOCOL, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Fit on KDDTrain+ everything that the protocol names, then look at both test files."""
    train = read(folder, TRAIN)
    known = frozenset(train.label.tolist())
    fits = {(entry, seed): fitted_once(train, entry, seed) for entry in protocol for seed in seeds}
    runs: list[dict[str, Any]] = []
    curves: dict[str, dict[str, Any]] = {}
    facts: dict[str, Any] = {}
    for file in TESTS:
        test = read(folder, file)
        copies = also_in(test, train)
        facts[file] = {"rows": len(test), "normal": int((~test.attack).sum()), "also_in_train": int(copies.sum())}
        for (entry, seed), (fitted, limit) in fits.items():
            scores = fitted.scores(test)
            told = {"model": entry.model, "rate": entry.rate, "seed": seed, "file": file, "limit": limit}
            runs.append({**told, **figures(test, scores, limit, known)})
            runs[-1]["without_copies"] = _brief(test.attack, scores >= limit, ~copies)
            if seed == seeds[0] and file == TESTS[0]:
                curves[entry.model] = curve(test, scores, limit)
    return {"seeds": list(seeds), "files": facts, "runs": runs, "curves": curves}


def _brief(attack: Flags, called: Flags, which: Flags) -> Mapping[str, float]:
    found = binary(attack[which], called[which])
    return {"accuracy": found.accuracy, "false_alarms": found.false_alarms}


def random_split(folder: Path, seeds: Sequence[int] = SEEDS) -> list[dict[str, Any]]:
    """The papers' protocol: KDDTrain+ shuffled, a fifth held out. Neighbours of every held-out row are trained on."""
    train = read(folder, TRAIN)
    runs: list[dict[str, Any]] = []
    for seed in seeds:
        part = stratified(train.label, 0.2, seed)
        known, held = train.take(part.train), train.take(part.held)
        columns = columns_of(known)
        inputs, asked = rows_of(columns, known.features), rows_of(columns, held.features)
        models = {
            "random forest": library("sklearn.ensemble").RandomForestClassifier(100, random_state=seed, n_jobs=2),
            "logistic regression": library("sklearn.linear_model").LogisticRegression(C=100.0, max_iter=600),
        }
        for name, model in models.items():
            scores = model.fit(inputs, known.attack).predict_proba(asked)[:, 1]
            told = {"model": name, "seed": seed, "auc": auc(held.attack, scores)}
            runs.append({**told, **binary(held.attack, scores >= ITSELF)._asdict()})
    return runs
