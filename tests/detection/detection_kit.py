"""Models and messages for the tests of detection."""

import asyncio
import contextlib
import hashlib
import json
import math
import struct
import time

import make_models
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from gateway.detection.port import LoadedModel
from gateway.detection.scorer import ModelSet
from gateway.detection.spec import (
    Column,
    ColumnKind,
    InputSpec,
    ModelSpec,
    OutputKind,
    OutputSpec,
    Selector,
    SmokeTest,
)
from gateway.message import Alg, Encoding, Envelope, RawMessage, VerifiedMessage

ANY = Selector()
PROBABILITY = OutputSpec(OutputKind.PROBABILITY, 0.5, ())
RECONSTRUCTION = OutputSpec(OutputKind.RECONSTRUCTION, 0.5, ())


def message(device="pump-1", payload=None, *, content_format=110, received_ms=1_700_000_000_000, **readings):
    """A verified message that carries these readings, numbers and texts."""
    if payload is None:
        pack = [{"n": name, "vs" if isinstance(value, str) else "v": value} for name, value in readings.items()]
        payload = json.dumps(pack).encode()
    issued_at = received_ms / 1000
    envelope = Envelope(
        Encoding.COSE, device, "plant-7", Alg.ED25519, content_format, issued_at, b"s" * 8, 1, payload, b"", b"", b""
    )
    return VerifiedMessage(RawMessage(payload, "mqtt", device, received_ms, lambda outcome: None), envelope)


def columns(*names, **rules):
    return tuple(Column(name, **rules) for name in names)


def spec(data, inputs, outputs, smoke_input=None, *, selector=ANY, tolerance=1e-5, expected=None):
    """A spec whose smoke test says what the model really answers, unless ``expected`` does."""
    size = math.prod(inputs.shape)
    row = tuple(map(float, smoke_input or [0.25] * size))
    if expected is None:
        interpreter = Interpreter(model_content=data, num_threads=1)
        interpreter.allocate_tensors()
        entrance = interpreter.get_input_details()[0]
        batch = int(entrance["shape"][0])
        interpreter.set_tensor(entrance["index"], np.float32([row] * batch).reshape(batch, *inputs.shape))
        interpreter.invoke()
        answer = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        expected = tuple(map(float, answer.reshape(batch, -1)[0]))
    return ModelSpec(inputs, outputs, SmokeTest(row, expected, tolerance), selector)


def loaded(data, made, *, name="m", version=1):
    digest = hashlib.sha256(name.encode() + struct.pack(">q", version) + data).digest()
    return LoadedModel(digest, name, version, made, data)


def mean_model(names=("a", "b"), *, threshold=0.5, name="mean", version=1, selector=ANY, **rules):
    """Answers the mean of its inputs: anomalous at the threshold."""
    width = len(names)
    data = make_models.dense_model([([[1 / width] * width], [0.0])])
    inputs = InputSpec(columns(*names, **rules), None, 1, (width,))
    made = spec(data, inputs, OutputSpec(OutputKind.PROBABILITY, threshold, ()), selector=selector)
    return loaded(data, made, name=name, version=version)


def window_model(window=3, *, name="window", version=1):
    """Answers the mean of the last readings of ``a``."""
    data = make_models.dense_model([([[1 / window] * window], [float(version) - 1])])
    inputs = InputSpec(columns("a"), None, window, (window,))
    return loaded(data, spec(data, inputs, PROBABILITY), name=name, version=version)


def class_model(*, name="classes", selector=ANY):
    """The greatest of three readings names the class."""
    data = make_models.dense_model([(np.eye(3), [0.0] * 3)], end="softmax")
    outputs = OutputSpec(OutputKind.CLASSES, None, ("low", "middle", "high"))
    made = spec(data, InputSpec(columns("x", "y", "z"), None, 1, (3,)), outputs, selector=selector)
    return loaded(data, made, name=name)


def hanging_model(*, name="hanging", selector=ANY):
    """Never answers when a reading is above 1000."""
    data = make_models.hanging(2)
    made = spec(data, InputSpec(columns("a", "b"), None, 1, (2,)), PROBABILITY, selector=selector)
    return loaded(data, made, name=name)


def raising_model(*, name="raising", selector=ANY):
    """Raises when ``b`` is outside 0 to 9."""
    data = make_models.raising(2)
    inputs = InputSpec(columns("a", "b"), None, 1, (2,))
    return loaded(data, spec(data, inputs, PROBABILITY, (0.0, 3.0), selector=selector), name=name)


def statistic(name, **rules):
    return Column(name, ColumnKind.STATISTIC, **rules)


async def until(condition, limit_s=20.0):
    """Wait for a state."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "never came"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running_set(**options):
    """A set of models whose process is kept alive."""
    models = ModelSet(time.monotonic, **options)
    task = asyncio.create_task(models.run())
    try:
        yield models
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
