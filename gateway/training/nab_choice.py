"""Which rule the detector of records has: chosen on NAB's files, scored by NAB's rules.

Three figures, never one for another: the detector chosen on the corpus, as NAB's rule of the threshold has it; the
same chosen on other files than those it is scored on; that one with a threshold from those files too.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from gateway.detection.spec import ModelSpec
from gateway.training.card import Card
from gateway.training.nab_records import CANDIDATES, Part, Rule, choose, novelty, scores
from gateway.training.nab_scoring import PROFILES, STANDARD, Series, score_corpus

FOLDS: Final = 5

Answers = Mapping[str, Sequence[float]]
Found = Mapping[str, Mapping[Part, Sequence[float]]]


class Outcome(NamedTuple):
    """What ships, and its figures."""

    model: bytes
    spec: ModelSpec
    card: Card


def folds(corpus: Sequence[Series]) -> dict[str, int]:
    """Put each file into one of five folds, each group of files spread over all of them, by their names."""
    ordered = sorted(series.name for series in corpus)
    return {name: place % FOLDS for place, name in enumerate(ordered)}


def profiles(corpus: Sequence[Series], answered: Answers, threshold: float | None = None) -> dict[str, float]:
    """Score answers under the three profiles; without a threshold by NAB's rule."""
    return {item.name: score_corpus(corpus, answered, item, threshold).score for item in PROFILES}


def by_rule(corpus: Sequence[Series], found: Found, rule: Rule) -> dict[str, Sequence[float]]:
    """Apply one rule to all files."""
    return {series.name: scores(found[series.name], rule) for series in corpus}


def rules_of_folds(corpus: Sequence[Series], found: Found) -> list[Rule]:
    """Choose a rule for each fold, on the files of the other folds."""
    fold = folds(corpus)
    return [
        choose([series for series in corpus if fold[series.name] != number], found, STANDARD)
        for number in range(FOLDS)
    ]


def held_out(corpus: Sequence[Series], found: Found, rules: Sequence[Rule]) -> dict[str, Sequence[float]]:
    """Score each file by the rule that was chosen on the files of the other folds."""
    fold = folds(corpus)
    return {series.name: scores(found[series.name], rules[fold[series.name]]) for series in corpus}


def baselines(corpus: Sequence[Series], found: Found) -> dict[str, dict[str, float]]:
    """Score silence, chance and one rule: a reading that leaves the range of all before it."""
    generator = random.Random(1)  # noqa: S311 -- chance as a baseline, not as a secret
    silent = {series.name: [0.0] * len(series.values) for series in corpus}
    chance = {series.name: [generator.random() for _ in series.values] for series in corpus}
    record = {series.name: [max(0.0, value) for value in found[series.name][Part(1)]] for series in corpus}
    return {
        "null": profiles(corpus, silent, 0.5),
        "random": profiles(corpus, chance),
        "one rule: a record": profiles(corpus, record),
    }


def told(rule: Rule) -> list[dict[str, float]]:
    """Return a rule as plain values."""
    return [{**part._asdict(), "allowance": allowance} for part, allowance in rule.items()]


class Chosen(NamedTuple):
    """What was chosen on the whole corpus, and for each fold on the others; and how the plain detector does by it."""

    rule: Rule
    rules: list[Rule]
    figures: dict[str, Any]


def evaluate(corpus: Sequence[Series], reach: int | None) -> Chosen:
    """Choose and score with and without the files at hand."""
    found = {series.name: novelty(series.values, CANDIDATES, reach) for series in corpus}
    rule, rules = choose(corpus, found, STANDARD), rules_of_folds(corpus, found)
    held = held_out(corpus, found, rules)
    figures: dict[str, Any] = {
        "rule": told(rule),
        "chosen on the corpus": profiles(corpus, by_rule(corpus, found, rule)),
        "chosen on other files, NAB's threshold": profiles(corpus, held),
        "chosen on other files, threshold too": profiles(corpus, held, 1.0),
    }
    if reach is None:
        figures["baselines"] = baselines(corpus, found)
    return Chosen(rule, rules, figures)
