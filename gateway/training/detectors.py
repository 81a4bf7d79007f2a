"""Detectors that fit into a model for a gateway: each is trained, scores rows with NumPy, and says itself in tensors.

A detector's score rises with suspicion. ``Residual`` and ``Prototypes`` learn what is normal from normal rows alone;
``Grown`` is a forest that learns the difference from both. ``Either`` alarms when one of its parts does: each part is
divided by its own threshold, so the greatest quotient is at or above 1 exactly when a part is at or above its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from gateway.training.data import Flags, Singles
from gateway.training.forest import Forest, flatten, probability, tensors
from gateway.training.libraries import library, tensorflow
from gateway.training.metrics import threshold_at

_CHUNK: Final = 8192


class Detector(Protocol):
    """What is common to them."""

    def scores(self, inputs: Singles) -> Singles:
        """One score a row."""
        ...

    def tensors(self, inputs: Any) -> Any:  # noqa: ANN401 -- tensors are not typed
        """The same, in TensorFlow."""
        ...


class Residual(NamedTuple):
    """What the principal components of normal rows leave unexplained: the mean squared rest."""

    mean: Singles
    components: Singles

    def scores(self, inputs: Singles) -> Singles:
        """See the class."""
        centred = inputs - self.mean
        rest = centred - (centred @ self.components.T) @ self.components
        return np.asarray(np.mean(rest * rest, axis=1), dtype=np.float32)

    def tensors(self, inputs: Any) -> Any:  # noqa: ANN401 -- tensors are not typed
        """See the class."""
        tf = tensorflow()
        centred = inputs - tf.constant(self.mean)
        components = tf.constant(self.components)
        rest = centred - tf.matmul(tf.matmul(centred, components, transpose_b=True), components)
        return tf.reduce_mean(rest * rest, axis=1)


def fit_residual(normal: Singles, count: int) -> Residual:
    """The ``count`` strongest components of normal rows. Nothing here is drawn: no seed."""
    mean = normal.mean(axis=0, dtype=np.float64)
    centred = normal - mean
    _values, vectors = np.linalg.eigh(centred.T @ centred)
    return Residual(mean.astype(np.float32), np.ascontiguousarray(vectors[:, ::-1][:, :count].T, dtype=np.float32))


class Prototypes(NamedTuple):
    """The squared distance to the nearest of the centres of normal rows, a column on average."""

    centres: Singles

    def scores(self, inputs: Singles) -> Singles:
        """See the class."""
        parts = [self._nearest(inputs[at : at + _CHUNK]) for at in range(0, len(inputs), _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _nearest(self, inputs: Singles) -> Singles:
        own, theirs = (inputs * inputs).sum(axis=1)[:, None], (self.centres * self.centres).sum(axis=1)[None]
        distance = own - 2 * inputs @ self.centres.T + theirs
        return np.asarray(np.maximum(distance.min(axis=1), 0) / inputs.shape[1], dtype=np.float32)

    def tensors(self, inputs: Any) -> Any:  # noqa: ANN401 -- tensors are not typed
        """See the class."""
        tf = tensorflow()
        centres = tf.constant(self.centres)
        own = tf.reduce_sum(inputs * inputs, axis=1, keepdims=True)
        theirs = tf.constant((self.centres * self.centres).sum(axis=1)[None])
        distance = own - 2.0 * tf.matmul(inputs, centres, transpose_b=True) + theirs
        return tf.maximum(tf.reduce_min(distance, axis=1), 0.0) / float(self.centres.shape[1])


def fit_prototypes(normal: Singles, count: int, seed: int) -> Prototypes:
    """The centres that k-means finds in normal rows."""
    means = library("sklearn.cluster").MiniBatchKMeans(count, random_state=seed, n_init=3, batch_size=4096)
    return Prototypes(np.asarray(means.fit(normal).cluster_centers_, dtype=np.float32))


class Grown(NamedTuple):
    """The share of a forest's votes for an attack."""

    forest: Forest

    def scores(self, inputs: Singles) -> Singles:
        """See the class."""
        parts = [probability(self.forest, inputs[at : at + _CHUNK]) for at in range(0, len(inputs), _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def tensors(self, inputs: Any) -> Any:  # noqa: ANN401 -- tensors are not typed
        """See the class."""
        return tensors(self.forest, inputs)


def fit_grown(inputs: Singles, attack: Flags, *, trees: int, depth: int, seed: int) -> Grown:
    """Extremely randomised trees: splits drawn at random generalise to attacks that training does not hold."""
    grower = library("sklearn.ensemble").ExtraTreesClassifier(
        trees, max_depth=depth, min_samples_leaf=5, max_features=0.3, class_weight="balanced", random_state=seed
    )
    return Grown(flatten(grower.fit(inputs, attack)))


class Either(NamedTuple):
    """The greatest quotient of a part's score and its threshold."""

    parts: Sequence[Detector]
    thresholds: Sequence[float]

    def scores(self, inputs: Singles) -> Singles:
        """See the class."""
        quotients = [
            part.scores(inputs) / np.float32(limit) for part, limit in zip(self.parts, self.thresholds, strict=True)
        ]
        return np.asarray(np.max(quotients, axis=0), dtype=np.float32)

    def tensors(self, inputs: Any) -> Any:  # noqa: ANN401 -- tensors are not typed
        """See the class."""
        tf = tensorflow()
        pairs = zip(self.parts, self.thresholds, strict=True)
        return tf.reduce_max(tf.stack([part.tensors(inputs) / limit for part, limit in pairs]), axis=0)


def either(parts: Sequence[Detector], held_normal: Singles, rate: float) -> Either:
    """Give each part a threshold at the same rate of false alarms on held-out normal rows.

    The common ``rate`` is for one part; together they alarm more often, and the one threshold of the whole is set
    after this by ``threshold_at`` on the same rows.
    """
    return Either(parts, [max(threshold_at(part.scores(held_normal), rate), 1e-6) for part in parts])


class Squashed(NamedTuple):
    """A score from 0 to infinity as a probability: s / (s + limit), so that ``limit`` becomes 0.5."""

    held: Detector
    limit: float

    def scores(self, inputs: Singles) -> Singles:
        """See the class."""
        found = self.held.scores(inputs)
        return np.asarray(found / (found + np.float32(self.limit)), dtype=np.float32)

    def tensors(self, inputs: Any) -> Any:  # noqa: ANN401 -- tensors are not typed
        """See the class."""
        found = self.held.tensors(inputs)
        return found / (found + self.limit)
