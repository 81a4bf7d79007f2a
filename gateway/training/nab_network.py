"""The detector of records as a network: a window of readings in, one probability out, no state between two answers.

The arithmetic is that of ``nab_records`` with a reach, in float32. What a part leaves its range by is divided by its
allowance, as a share of the least one, so that no answer is steeper than LiteRT's rounding allows.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from gateway.training.data import Floats, Singles
from gateway.training.export import litert
from gateway.training.libraries import tensorflow
from gateway.training.nab_records import CAP, FLOOR, Part, Rule

WINDOW: Final = 512

_REACH: Final = 100.0
"""How many ranges away a reading counts as being at most; beyond, float32 would lose the others."""
_LEAST_SHARE, _LEAST_LEVEL = 1e-5, 1e-3


def network(rule: Rule) -> Any:  # noqa: ANN401 -- tensors are not typed
    """Return the function from a batch of windows (batch, WINDOW) to probabilities (batch, 1)."""
    tf = tensorflow()
    least = min(rule.values())

    def answer(rows: Any) -> Any:  # noqa: ANN401 -- likewise
        before = rows[:, :-1]
        low = tf.reduce_min(before, axis=1, keepdims=True)
        span = tf.reduce_max(before, axis=1, keepdims=True) - low
        span = tf.maximum(span, _LEAST_SHARE * tf.maximum(tf.abs(low), _LEAST_LEVEL))
        unit = tf.clip_by_value((rows - low) / span, -_REACH, _REACH)
        left = [_left(_series(unit, part)) * (least / allowance) for part, allowance in rule.items()]
        out = tf.nn.relu(tf.reduce_max(tf.stack(left, axis=1), axis=1, keepdims=True))
        return out / (1.0 + out)

    return answer


def _series(unit: Any, part: Part) -> Any:  # noqa: ANN401 -- likewise
    tf = tensorflow()
    if part.steps:
        return _mean(tf.abs(unit[:, 1:] - unit[:, :-1]), part.short)
    short = _mean(unit, part.short)
    return short[:, part.warm - part.short + 1 :] - _mean(unit, part.long) if part.long else short


def _mean(series: Any, width: int) -> Any:  # noqa: ANN401 -- likewise
    """The moving mean, shorter by ``width`` - 1: its last value ends with the newest reading."""
    if width == 1:
        return series
    return tensorflow().nn.avg_pool1d(series[:, :, None], width, 1, "VALID")[:, :, 0]


def _left(series: Any) -> Any:  # noqa: ANN401 -- likewise
    """By how much of its range the newest value leaves that of the values before it."""
    tf = tensorflow()
    newest, before = series[:, -1], series[:, :-1]
    high, low = tf.reduce_max(before, axis=1), tf.reduce_min(before, axis=1)
    return tf.minimum(tf.maximum(newest - high, low - newest) / tf.maximum(high - low, FLOOR), CAP)


def windows(values: Singles) -> Singles:
    """Every full window of a file, one for each row from the WINDOW-th on: what a gateway would ask."""
    return np.lib.stride_tricks.sliding_window_view(values, WINDOW)


def answers(model: bytes, values: Floats) -> Floats:
    """Score a file by the exported model; rows before the window is full are silent, as in the gateway."""
    found = np.zeros(len(values))
    if len(values) >= WINDOW:
        found[WINDOW - 1 :] = litert(model, windows(values.astype(np.float32)))[:, 0]
    return found
