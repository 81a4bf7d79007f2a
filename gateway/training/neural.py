"""Two small networks over a row of features: a CNN, and a CNN whose features an LSTM reads in their order.

Both begin with the same convolution along the row and end in one number a class. Sizes are such that a model stays
below 300 kB as float32. The LSTM is unrolled: twenty steps of plain operators that LiteRT has.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from gateway.training.data import Floats, Ints, Singles, seed_everything
from gateway.training.libraries import library, tensorflow

BATCH: Final = 512
KINDS: Final = ("cnn", "cnn-lstm")


def network(kind: str, width: int, classes: int) -> Any:  # noqa: ANN401 -- Keras is not typed
    """An untrained network of one of ``KINDS``."""
    layers = tensorflow().keras.layers
    held = [
        layers.Input((width,)),
        layers.Reshape((width, 1)),
        layers.Conv1D(24, 5, padding="same", activation="relu"),
        layers.MaxPool1D(2),
        layers.Conv1D(32, 3, padding="same", activation="relu"),
        layers.MaxPool1D(2),
    ]
    if kind == "cnn":
        held += [layers.Flatten(), layers.Dense(48, activation="relu")]
    elif kind == "cnn-lstm":
        held += [layers.LSTM(48, unroll=True), layers.Dense(48, activation="relu")]
    else:
        raise ValueError(f"{kind} is none of {', '.join(KINDS)}")
    return tensorflow().keras.Sequential([*held, layers.Dense(classes, activation="softmax")])


class Task(NamedTuple):
    """What to learn: rows, their classes, and how much each class counts."""

    inputs: Singles
    classes: Ints
    weights: Floats


def fit(kind: str, task: Task, *, epochs: int, seed: int) -> Any:  # noqa: ANN401 -- likewise
    """Train a network."""
    inputs, classes, weights = task
    seed_everything(seed)
    tf = tensorflow()
    model = network(kind, inputs.shape[1], len(weights))
    schedule = tf.keras.optimizers.schedules.CosineDecay(2e-3, max(1, epochs * (len(inputs) // BATCH + 1)))
    model.compile(optimizer=tf.keras.optimizers.Adam(schedule), loss="sparse_categorical_crossentropy")
    per_row = weights[classes].astype(np.float32)
    model.fit(inputs, classes, sample_weight=per_row, batch_size=BATCH, epochs=epochs, verbose=0)
    return model


def answers(model: Any, inputs: Singles) -> Singles:  # noqa: ANN401 -- likewise
    """The network's numbers for every row."""
    return np.asarray(model.predict(inputs, batch_size=4096, verbose=0), dtype=np.float32)


def class_weights(classes: Ints, count: int, power: float = 0.5) -> Floats:
    """Rare classes count more: by the square root of how much rarer they are than the mean."""
    rows = np.maximum(np.bincount(classes, minlength=count), 1).astype(np.float64)
    weights = (rows.mean() / rows) ** power
    return np.asarray(weights / ((weights * rows).sum() / rows.sum()), dtype=np.float64)


def frozen(model: Any, width: int) -> Any:  # noqa: ANN401 -- likewise
    """The network as a function whose weights are constants: a converted Keras 3 model loses its variables."""
    tf = tensorflow()
    freeze = library("tensorflow.python.framework.convert_to_constants").convert_variables_to_constants_v2
    traced = tf.function(lambda inputs: model(inputs, training=False))
    held = freeze(traced.get_concrete_function(tf.TensorSpec([None, width], tf.float32)))
    return lambda inputs: held(inputs)[0]
