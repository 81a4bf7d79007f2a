"""A forest as tensor operators: one step down every tree at once is a few gathers, so LiteRT runs it as it is.

Children stand side by side, so a node needs the number of its left child alone; a leaf is its own left child and its
threshold is beyond every number. ``depth`` steps bring every row of every tree to a leaf. Matrix products instead of
gathers would need a matrix of nodes by leaves: megabytes for what takes a hundred kilobytes here.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.training.data import Floats, Ints, Singles
from gateway.training.libraries import tensorflow

_NEVER: Final = np.float32(3.4e38)


class Forest(NamedTuple):
    """All trees' nodes in one row each; ``roots`` are the numbers of the trees' first nodes."""

    feature: NDArray[np.int32]
    threshold: Singles
    left: NDArray[np.int32]
    value: Singles
    roots: NDArray[np.int32]
    depth: int


def _down(threshold: Floats) -> Singles:
    """The greatest float32 that is not above: x <= threshold then means the same for every float32 x."""
    near = threshold.astype(np.float32)
    return np.where(near.astype(np.float64) > threshold, np.nextafter(near, np.float32(-np.inf)), near)


def flatten(ensemble: Any) -> Forest:  # noqa: ANN401 -- scikit-learn is not typed
    """Take a fitted scikit-learn forest of two classes apart; ``value`` is a leaf's share of the second class."""
    feature, threshold, left, value, roots = [], [], [], [], []
    base, depth = 0, 0
    for estimator in ensemble.estimators_:
        tree = estimator.tree_
        order, place = _side_by_side(tree.children_left, tree.children_right)
        leaf = tree.children_left[order] < 0
        shares = tree.value[order, 0, :]
        feature.append(np.where(leaf, 0, tree.feature[order]))
        threshold.append(np.where(leaf, _NEVER, _down(tree.threshold[order])))
        left.append(base + np.where(leaf, np.arange(len(order)), place[tree.children_left[order]]))
        value.append(shares[:, 1] / shares.sum(axis=1))
        roots.append(base)
        base += len(order)
        depth = max(depth, int(tree.max_depth))
    return Forest(
        np.concatenate(feature).astype(np.int32),
        np.concatenate(threshold).astype(np.float32),
        np.concatenate(left).astype(np.int32),
        np.concatenate(value).astype(np.float32),
        np.array(roots, dtype=np.int32),
        depth,
    )


def _side_by_side(left: Ints, right: Ints) -> tuple[Ints, Ints]:
    """The nodes level by level, two children always next to each other, and where each old node now stands."""
    order = [0]
    for node in order:
        if left[node] >= 0:
            order += [int(left[node]), int(right[node])]
    placed = np.zeros(len(order), dtype=np.int64)
    placed[order] = np.arange(len(order))
    return np.array(order, dtype=np.int64), placed


def probability(forest: Forest, inputs: Singles) -> Singles:
    """The mean over the trees, by NumPy: the same steps as ``tensors``."""
    at = np.broadcast_to(forest.roots, (len(inputs), len(forest.roots)))
    for _ in range(forest.depth):
        seen = np.take_along_axis(inputs, forest.feature[at].astype(np.int64), axis=1)
        at = forest.left[at] + (seen > forest.threshold[at])
    return np.asarray(forest.value[at].mean(axis=1), dtype=np.float32)


def tensors(forest: Forest, inputs: Any) -> Any:  # noqa: ANN401 -- tensors are not typed
    """The same in TensorFlow: a batch of rows in, one number a row out."""
    tf = tensorflow()
    feature, threshold = tf.constant(forest.feature), tf.constant(forest.threshold)
    left, value = tf.constant(forest.left), tf.constant(forest.value)
    at = tf.zeros([tf.shape(inputs)[0], 1], tf.int32) + tf.constant(forest.roots)[None, :]
    for _ in range(forest.depth):
        seen = tf.gather(inputs, tf.gather(feature, at), axis=1, batch_dims=1)
        at = tf.gather(left, at) + tf.cast(seen > tf.gather(threshold, at), tf.int32)
    return tf.reduce_mean(tf.gather(value, at), axis=1)
