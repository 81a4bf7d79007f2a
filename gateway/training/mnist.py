"""MNIST for the delivery demo: a small convolutional network, an image in, the digit out.

The device publishes 784 grey values, 0 to 255, row by row, as the tensor reading ``image``; the network is small so
that a bundle travels quickly and a gateway answers within a millisecond. The official split holds: everything is
chosen on 5,000 of the 60,000 training images, the 10,000 test images are asked once.
"""

from __future__ import annotations

import math
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from gateway.detection.spec import InputSpec, ModelSpec, OutputKind, OutputSpec, Selector, SmokeTest, TensorInput
from gateway.training.card import Card, Figure, Training, write
from gateway.training.data import (
    DataRefused,
    Floats,
    Ints,
    Singles,
    digest,
    find,
    read_bytes,
    seed_everything,
    stratified,
)
from gateway.training.export import compare, litert, smoke_test, to_tflite
from gateway.training.libraries import library, tensorflow
from gateway.training.metrics import many

MODEL_ID: Final = "mnist"
READING: Final = "image"
SIDE: Final = 28
PIXELS: Final = SIDE * SIDE
CLASSES: Final = 10
GREY: Final = 255.0
EPOCHS: Final = 12
BATCH: Final = 128
RATE: Final = 2e-3
SHIFT: Final = 2
HELD_SHARE: Final = 5_000 / 60_000

_FILES: Final = (
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
_LIMIT: Final = 64 << 20
_IDX_HEAD: Final = b"\0\0\x08"

_Line = tuple[tuple[float, float], ...]
_STROKES: Final[tuple[tuple[_Line, ...], ...]] = (
    (((14, 5), (10, 7), (8, 11), (8, 17), (10, 21), (14, 23), (18, 21), (20, 17), (20, 11), (18, 7), (14, 5)),),
    (((14, 5), (14, 23)),),
    (((9, 9), (11, 6), (14, 5), (18, 7), (18, 11), (14, 16), (9, 22), (20, 22)),),
    (((9, 7), (13, 5), (18, 7), (18, 11), (13, 13), (18, 16), (18, 20), (14, 23), (9, 21)),),
    (((10, 6), (8, 14), (19, 14)), ((18, 6), (17, 23))),
    (((19, 6), (11, 6), (10, 13), (15, 12), (19, 15), (18, 20), (14, 23), (9, 21)),),
    (((16, 5), (11, 10), (9, 16), (10, 21), (14, 23), (18, 21), (19, 17), (16, 14), (12, 15), (9, 18)),),
    (((8, 7), (20, 7), (16, 14), (13, 23)),),
    (((14, 5), (10, 8), (12, 12), (17, 16), (18, 20), (14, 23), (10, 20), (11, 16), (16, 12), (18, 8), (14, 5)),),
    (((18, 10), (14, 13), (10, 11), (10, 7), (14, 5), (18, 7), (18, 13), (16, 23)),),
)

Bytes = NDArray[np.uint8]


class Digits(NamedTuple):
    """Images as rows of 784 grey values, and the digit of each."""

    images: Bytes
    labels: Ints


class Outcome(NamedTuple):
    """What training gave: the model, its spec and card, and the card's figures."""

    model: bytes
    spec: ModelSpec
    card: Card
    figures: dict[str, float]


def idx(content: bytes) -> Bytes:
    """Read the IDX format: two zero bytes, the type, the number of dimensions, their sizes, the values.

    Raises:
        DataRefused: it is another format, another type than unsigned bytes, or not as long as it says.
    """
    dimensions = content[3] if content[:3] == _IDX_HEAD and len(content) > 3 else 0  # noqa: PLR2004 -- the fourth byte
    if not dimensions or len(content) < 4 + 4 * dimensions:
        raise DataRefused("not an IDX file of unsigned bytes")
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    body = content[4 + 4 * dimensions :]
    if math.prod(shape) != len(body):
        raise DataRefused(f"an IDX file says {shape} and holds {len(body)} values")
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def read_digits(folder: Path) -> tuple[Digits, Digits]:
    """Read the training and the test images, each with its labels.

    Raises:
        DataRefused: a file is missing or is not MNIST's.
    """
    return _pair(folder, *_FILES[0]), _pair(folder, *_FILES[1])


def _pair(folder: Path, images_name: str, labels_name: str) -> Digits:
    images = idx(read_bytes(find(folder, images_name), _LIMIT))
    labels = idx(read_bytes(find(folder, labels_name), _LIMIT))
    if images.shape[1:] != (SIDE, SIDE) or labels.shape != images.shape[:1] or labels.max(initial=0) >= CLASSES:
        raise DataRefused(f"{images_name} and {labels_name} are not images of {SIDE} x {SIDE} with a digit each")
    return Digits(images.reshape(-1, PIXELS), labels.astype(np.int64))


def drawn(digit: int, pen: float = 1.3) -> Bytes:
    """Draw a digit with a soft round pen: 784 grey values that come from no data set, for smoke tests and demos."""
    across, down = np.meshgrid(np.arange(SIDE, dtype=np.float64), np.arange(SIDE, dtype=np.float64))
    nearest = np.full((SIDE, SIDE), np.inf)
    for line in _STROKES[digit]:
        for (x0, y0), (x1, y1) in pairwise(line):
            dx, dy = x1 - x0, y1 - y0
            along = np.clip(((across - x0) * dx + (down - y0) * dy) / (dx * dx + dy * dy), 0, 1)
            nearest = np.minimum(nearest, np.hypot(across - x0 - along * dx, down - y0 - along * dy))
    ink: Bytes = np.round(GREY * np.clip(pen + 0.5 - nearest, 0, 1)).astype(np.uint8)
    return ink.reshape(PIXELS)


def to_input(images: Bytes) -> Singles:
    """Do what detection does with the reading: grey values to 0..1, in the network's shape."""
    return (images.astype(np.float32) / np.float32(GREY)).reshape(-1, SIDE, SIDE, 1)


def shifted(inputs: Singles, generator: np.random.Generator, reach: int = SHIFT) -> Singles:
    """Move each image by up to ``reach`` pixels both ways; what leaves is lost, what enters is black."""
    padded = np.pad(inputs, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    down, right = generator.integers(0, 2 * reach + 1, (2, len(inputs), 1))
    rows, columns = down + np.arange(SIDE), right + np.arange(SIDE)
    every = np.arange(len(inputs))[:, None, None]
    return np.ascontiguousarray(padded[every, rows[:, :, None], columns[:, None, :]])


def network() -> Any:  # noqa: ANN401 -- Keras is not typed
    """Build the network: four convolutions, two of them with a step of 2, the mean over the field, ten answers."""
    keras = tensorflow().keras
    layers = keras.layers
    inputs = held = keras.Input((SIDE, SIDE, 1))
    for width, step in ((16, 1), (16, 2), (32, 1), (32, 2)):
        held = layers.Conv2D(width, 3, strides=step, use_bias=False)(held)
        held = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(held))
    held = layers.GlobalAveragePooling2D()(held)
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax")(held))


def fit(model: Any, digits: Digits, seed: int, epochs: int = EPOCHS) -> None:  # noqa: ANN401 -- likewise
    """Train for ``epochs``; the rate falls along half a cosine, and each epoch sees other shifts of the images."""
    generator = np.random.default_rng(seed)
    inputs = to_input(digits.images)
    model.compile(
        optimizer=tensorflow().keras.optimizers.Adam(RATE),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    for epoch in range(epochs):
        model.optimizer.learning_rate.assign(RATE * (1 + math.cos(math.pi * epoch / epochs)) / 2)
        model.fit(shifted(inputs, generator), digits.labels, batch_size=BATCH, epochs=1, verbose=0)


def frozen(model: Any) -> Any:  # noqa: ANN401 -- likewise
    """Return the network as a function whose weights are constants.

    Left as variables, those of Keras 3's batch normalisation are initialised by nothing in LiteRT: it answers NaN.
    """
    tf = tensorflow()
    freeze = library("tensorflow.python.framework.convert_to_constants").convert_variables_to_constants_v2
    entrance = tf.TensorSpec([None, SIDE, SIDE, 1], tf.float32)
    graph = freeze(tf.function(lambda inputs: model(inputs, training=False)).get_concrete_function(entrance))
    return lambda inputs: graph(inputs)[0]


def answers(model: Any, digits: Digits) -> Floats:  # noqa: ANN401 -- likewise
    """Return the framework's answers."""
    return np.asarray(model.predict(to_input(digits.images), batch_size=512, verbose=0), dtype=np.float64)


def figures_of(answered: Floats | Singles, digits: Digits) -> dict[str, float]:
    """Say how many digits are right. ``false_alarms`` is the mean over digits of the others called by it."""
    figures = many(digits.labels, answered.argmax(axis=1), CLASSES)
    return {
        "accuracy": figures.accuracy,
        "macro_f1": figures.macro_f1,
        "worst_digit_recall": min(
            float((answered[digits.labels == digit].argmax(axis=1) == digit).mean())
            for digit in np.unique(digits.labels)
        ),
        "false_alarms": 1 - figures.specificity,
        "kappa": figures.kappa,
    }


def spec_of(smoke: SmokeTest) -> ModelSpec:
    """Return the spec: the tensor ``image``, 784 grey values, ten classes."""
    return ModelSpec(
        InputSpec((), TensorInput(READING, PIXELS, 0.0, GREY, 0.0, GREY), 1, (SIDE, SIDE, 1)),
        OutputSpec(OutputKind.CLASSES, None, tuple(map(str, range(CLASSES)))),
        smoke,
        Selector(readings=(READING,)),
    )


def train(folder: Path, seed: int, epochs: int = EPOCHS) -> Outcome:
    """Train on the 60,000 less what is held out, compare LiteRT with the framework, ask the test images once.

    Raises:
        DataRefused: the folder does not hold MNIST.
        ExportRefused: the exported model answers otherwise than the trained one.
    """
    learn, test = read_digits(folder)
    seed_everything(seed)
    part = stratified(learn.labels, HELD_SHARE, seed)
    model = network()
    fit(model, Digits(learn.images[part.train], learn.labels[part.train]), seed, epochs)
    exported = to_tflite(frozen(model), (SIDE, SIDE, 1))
    held = Digits(learn.images[part.held], learn.labels[part.held])
    lite = litert(exported, to_input(test.images))
    worst = compare(lite, answers(model, test))
    figures = figures_of(lite, test) | {"greatest_difference_to_the_framework": worst}
    chosen = figures_of(litert(exported, to_input(held.images)), held)
    spec = spec_of(smoke_test(exported, to_input(drawn(7)[None])[0]))
    card = card_of(folder, seed, (("5,000 held-out training images", chosen), ("10,000 test images", figures)))
    return Outcome(exported, spec, card, figures)


def card_of(folder: Path, seed: int, figures: tuple[tuple[str, dict[str, float]], ...]) -> Card:
    """Return the card."""
    protocol = "Official split. Fitted on 55,000 training images; nothing was chosen on the test images."
    return Card(
        model_id=MODEL_ID,
        version=1,
        title="MNIST digits",
        use="Reads one handwritten digit, 28 x 28 grey values in the tensor reading `image`. Made for the delivery "
        "demo: it shows that the model that was published is the one that answers.",
        training=Training(
            data="MNIST, 60,000 images",
            source="the IDX files rebuilt from github.com/rasbt/mnist-pngs at d26bd33bf1e4",
            licence="MIT (mnist-pngs); MNIST itself states none",
            cite="LeCun, Cortes, Burges: The MNIST database of handwritten digits",
            digest=digest(find(folder, name) for pair in _FILES for name in pair),
        ),
        seed=seed,
        command="securenet-train mnist FOLDER",
        figures=[Figure(on, protocol, values) for on, values in figures],
        limits=(
            "One centred digit, white on black; anything else still gets one of ten labels.",
            "No defence against images that were made to deceive it.",
        ),
    )


def ship(outcome: Outcome, out: Path) -> None:
    """Write the model, its spec and its card."""
    write(out, outcome.card, outcome.model, outcome.spec)


@click.command("mnist")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Where model, spec and card go.")
@click.option("--seed", default=1, show_default=True)
def command(data: Path, out: Path | None, seed: int) -> None:
    """Train the reader of digits for the delivery demo, ask the official test images once."""
    outcome = train(data, seed)
    for name, value in outcome.figures.items():
        click.echo(f"{name} {value:.6g}")
    if out is not None:
        ship(outcome, out)
