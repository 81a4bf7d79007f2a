"""NAB's own rules of scoring (Numenta Anomaly Benchmark v1.1), written anew: what a detection is worth, and when.

A file has windows of anomaly. The first detection inside a window earns up to one point, the earlier the more; a
window without one costs; every detection outside costs, the less the nearer it follows a window. The first 15 % of a
file (of its first 5,000 rows at most) are for the detector to settle in and count for nothing. One threshold serves
the whole corpus, and it is the one that scores best: NAB's rule. Silence is worth 0, every window met at its first
row 100.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

_PROBATION_PERCENT = 15
_PROBATION_ROWS = 5000
_FAR_BEHIND = 3.0
_SILENT = 1.1


class Profile(NamedTuple):
    """What a window met, a window missed and a false alarm weigh."""

    name: str
    tp_weight: float
    fn_weight: float
    fp_weight: float


STANDARD = Profile("standard", 1.0, 1.0, 0.11)
LOW_FP = Profile("reward_low_FP_rate", 1.0, 1.0, 0.22)
LOW_FN = Profile("reward_low_FN_rate", 1.0, 2.0, 0.11)
PROFILES = (STANDARD, LOW_FP, LOW_FN)


class Series(NamedTuple):
    """One file: its readings in order, and its windows as (first row, last row), both inside, in order, apart."""

    name: str
    values: tuple[float, ...]
    windows: tuple[tuple[int, int], ...]


class Row(NamedTuple):
    """What a detection at one row is worth; ``window`` names the window that holds it."""

    worth: float
    window: tuple[str, int] | None


class Tally(NamedTuple):
    """The outcome at one threshold: rows that score at least ``threshold`` are detections."""

    threshold: float
    score: float
    tp: int
    tn: int
    fp: int
    fn: int


def probation_rows(rows: int, percent: int = _PROBATION_PERCENT) -> int:
    """How many rows at the head of a file do not count."""
    return min(rows * percent // 100, _PROBATION_ROWS * percent // 100)


def scaled_sigmoid(position: float) -> float:
    """Return what a position relative to a window is worth: -1 its left edge, 0 its right edge, above 0 behind it."""
    if position > _FAR_BEHIND:
        return -1.0
    return 2.0 / (1.0 + math.exp(5.0 * position)) - 1.0


def worths(series: Series, profile: Profile, probation_percent: int = _PROBATION_PERCENT) -> list[Row | None]:
    """Return the worth of a detection at each row; None in probation."""
    rows: list[Row | None] = []
    skip = probation_rows(len(series.values), probation_percent)
    best = scaled_sigmoid(-1.0)
    ahead = list(series.windows)
    last: tuple[int, int] | None = None
    for index in range(len(series.values)):
        if ahead and index > ahead[0][1]:
            last = ahead.pop(0)
        if ahead and index >= ahead[0][0]:
            first, end = ahead[0]
            inside = -(end - index + 1) / (end - first + 1)
            row = Row(scaled_sigmoid(inside) * profile.tp_weight / best, (series.name, first))
        elif last is None:
            row = Row(-profile.fp_weight, None)
        else:
            # A window of one row would divide by nothing: any row behind it is then far behind it.
            width = last[1] - last[0]
            behind = (index - last[1]) / width if width else math.inf
            row = Row(scaled_sigmoid(behind) * profile.fp_weight, None)
        rows.append(row if index >= skip else None)
    return rows


def sweep(rows: Iterable[tuple[Row | None, float]], profile: Profile) -> list[Tally]:
    """Return the tally at every threshold that tells two rows apart, from silence downwards."""
    scored = sorted(((score, row) for row, score in rows if row is not None), key=lambda pair: -pair[0])
    met = {row.window: -profile.fn_weight for _, row in scored if row.window is not None}
    total = -profile.fn_weight * len(met)
    fn = sum(row.window is not None for _, row in scored)
    tp, fp, tn = 0, 0, len(scored) - fn
    tallies: list[Tally] = []
    # Above every score, so that the first tally is that of silence; NAB's scores end at 1, and it begins at 1.1.
    threshold = max([_SILENT, *(1.0 + score for score, _ in scored[:1] if score >= 1.0)])
    for score, row in scored:
        if score != threshold:
            tallies.append(Tally(threshold, total, tp, tn, fp, fn))
            threshold = score
        if row.window is None:
            fp, tn = fp + 1, tn - 1
            total += row.worth
        else:
            tp, fn = tp + 1, fn - 1
            gain = max(row.worth - met[row.window], 0.0)
            met[row.window] += gain
            total += gain
    tallies.append(Tally(threshold, total, tp, tn, fp, fn))
    return tallies


def tally_at(tallies: Sequence[Tally], threshold: float) -> Tally:
    """Return the outcome when rows at or above ``threshold`` are detections."""
    return min((tally for tally in tallies if tally.threshold >= threshold), key=lambda tally: tally.threshold)


def best(tallies: Iterable[Tally]) -> Tally:
    """Return the outcome at NAB's threshold: the best score, the highest threshold among equals."""
    return max(tallies, key=lambda tally: (tally.score, tally.threshold))


def normalised(score: float, profile: Profile, windows: int) -> float:
    """Return the score on NAB's scale: 0 is what silence scores, 100 is what perfection does."""
    silence = -profile.fn_weight * windows
    return 100.0 * (score - silence) / (profile.tp_weight * windows - silence)


def pooled(
    corpus: Iterable[Series], scores: Mapping[str, Sequence[float]], profile: Profile
) -> list[tuple[Row | None, float]]:
    """Put the rows of all files beside the detector's scores of them.

    Raises:
        ValueError: A file has another number of scores than of rows.
    """
    together: list[tuple[Row | None, float]] = []
    for series in corpus:
        together.extend(zip(worths(series, profile), scores[series.name], strict=True))
    return together


class CorpusScore(NamedTuple):
    """A detector on a corpus under one profile: the normalised score, and the tally it comes from."""

    profile: str
    score: float
    tally: Tally


def score_corpus(
    corpus: Sequence[Series],
    scores: Mapping[str, Sequence[float]],
    profile: Profile,
    threshold: float | None = None,
) -> CorpusScore:
    """Score a detector's answers, at ``threshold`` or, without one, by NAB's rule at the best."""
    tallies = sweep(pooled(corpus, scores, profile), profile)
    tally = best(tallies) if threshold is None else tally_at(tallies, threshold)
    windows = sum(len(series.windows) for series in corpus)
    return CorpusScore(profile.name, normalised(tally.score, profile, windows), tally)
