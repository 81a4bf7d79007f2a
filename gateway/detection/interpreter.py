"""LiteRT behind one small class: rows of float32 in, answers out. Imported only where models run."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from gateway.detection.features import FLOAT_BYTES, Pipeline, SpecFault
from gateway.detection.port import LoadedModel
from gateway.detection.verdict import answer_size, check_outputs

_BATCH_MAX: Final = 256
_SMOKE_BATCH: Final = 3


class ModelRefused(Exception):
    """The model cannot be run as its manifest says; the message says why."""


class ModelFault(Exception):
    """The model raised, or answered in another shape, for an input that the pipeline made."""


class Network:
    """One interpreter.

    Raises:
        ModelRefused: when it is made of a model that is no such model, or not the one its spec describes.
    """

    def __init__(self, model: LoadedModel) -> None:
        try:
            np: Any = import_module("numpy")
            litert: Any = import_module("ai_edge_litert.interpreter")
        except ImportError:
            raise ModelRefused("LiteRT is not installed: pip install 'securenet-gateway[litert]'") from None
        self._numpy = np
        try:
            self.pipeline = Pipeline(model.spec.inputs)
            check_outputs(model.spec.outputs)
        except SpecFault as fault:
            raise ModelRefused(f"its spec does not hold: {fault}") from None
        self.outputs = model.spec.outputs
        self.input_size = math.prod(model.spec.inputs.shape)
        self._smoke = model.spec.smoke
        self._shape = model.spec.inputs.shape
        self._answer_size = answer_size(model.spec.outputs, self.input_size)
        try:
            # The interpreter keeps the buffer, and does not copy it.
            self._interpreter: Any = litert.Interpreter(model_content=bytes(model.data), num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as fault:
            raise ModelRefused(f"LiteRT does not take it: {_plain(fault)}") from None
        entrances, exits = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._entrance, self._batch = self._check_entrance(entrances)
        if len(exits) != 1 or exits[0]["dtype"] is not np.float32:
            raise ModelRefused("it does not have one output of float32")
        self._exit: int = exits[0]["index"]
        self._size = 0

    def _check_entrance(self, entrances: Sequence[dict[str, Any]]) -> tuple[int, int | None]:
        """The input's index, and the batch that the model is made for, None where it takes any."""
        if len(entrances) != 1 or entrances[0]["dtype"] is not self._numpy.float32:
            raise ModelRefused("it does not have one input of float32")
        signature = tuple(int(size) for size in entrances[0]["shape_signature"])
        if signature[1:] != self._shape or not signature or signature[0] == 0 or signature[0] < -1:
            raise ModelRefused(f"its input has the shape {signature}, the spec says {self._shape} for each")
        return int(entrances[0]["index"]), None if signature[0] == -1 else signature[0]

    def answers(self, rows: bytes, count: int) -> Any:  # noqa: ANN401 -- an array of float32, (count, numbers)
        """Run ``count`` inputs, one after the other in ``rows``; one answer each.

        Raises:
            ModelFault: the model raised, or answered in another shape.
        """
        step = self._batch or _BATCH_MAX
        if count <= step:
            return self._run(rows, count)
        row_bytes = FLOAT_BYTES * self.input_size
        parts = [
            self._run(rows[start * row_bytes : (start + step) * row_bytes], min(step, count - start))
            for start in range(0, count, step)
        ]
        return self._numpy.concatenate(parts)

    def _run(self, rows: bytes, size: int) -> Any:  # noqa: ANN401 -- likewise
        np, interpreter = self._numpy, self._interpreter
        batch = self._batch or size
        # A model of a fixed batch gets it filled up with zeros; their answers are dropped.
        rows = rows.ljust(batch * self.input_size * FLOAT_BYTES, b"\0")
        inputs = np.frombuffer(rows, np.float32).reshape(batch, *self._shape)
        try:
            if self._batch is None and batch != self._size:
                interpreter.resize_tensor_input(self._entrance, inputs.shape)
                interpreter.allocate_tensors()
                self._size = batch
            interpreter.set_tensor(self._entrance, inputs)
            interpreter.invoke()
            answer = interpreter.get_tensor(self._exit)
        except (ValueError, RuntimeError) as fault:
            self._size = 0
            raise ModelFault(_plain(fault)) from None
        if answer.size != batch * self._answer_size:
            raise ModelFault(f"{answer.size} numbers instead of {batch * self._answer_size}")
        return answer.reshape(batch, self._answer_size)[:size]

    def smoke_error(self, count: int = 1) -> float:
        """How far the worst of ``count`` equal inputs is from what the manifest expects; infinite if it raises."""
        inputs, expected, _ = self._smoke
        try:
            answers = self.answers(array("f", inputs).tobytes() * count, count).tolist()
        except ModelFault:
            return math.inf
        errors = [abs(one - other) for answer in answers for one, other in zip(answer, expected, strict=True)]
        # ``max`` would let a NaN hide behind another number.
        return max(errors) if all(map(math.isfinite, errors)) else math.inf

    def holds(self) -> bool:
        """Whether it still passes its smoke test: whether an input is to blame for a fault, or the model."""
        return self.smoke_error() <= self._smoke.tolerance


def load(model: LoadedModel) -> Network:
    """Make a model ready and put it to its smoke test, alone and in a batch.

    Raises:
        ModelRefused: it cannot be run, or does not answer what its manifest says.
    """
    network = Network(model)
    inputs, expected, tolerance = model.spec.smoke
    if len(inputs) != network.input_size:
        raise ModelRefused("the smoke test has an input of another size")
    if len(expected) != answer_size(model.spec.outputs, network.input_size):
        raise ModelRefused("the smoke test expects an answer of another size")
    for count in (1, _SMOKE_BATCH):
        worst = network.smoke_error(count)
        if not worst <= tolerance:
            raise ModelRefused(f"the smoke test failed: an answer is {worst:.3g} off, {tolerance:.3g} is allowed")
    return network


def smoke(model: LoadedModel) -> str | None:
    """Load a model in this process and put it to its smoke test; None when it holds, else why not.

    For a publisher at his own desk: a model that crashes or never ends takes the process with it. A gateway asks
    ``gateway.detection.scorer.prove``.
    """
    try:
        load(model)
    except ModelRefused as refused:
        return str(refused)
    return None


def _plain(fault: Exception) -> str:
    """LiteRT's own words, shortened and on one line: a model's author can have a say in them."""
    words = "".join(letter if letter.isprintable() else " " for letter in str(fault))
    return " ".join(words.split())[:200]
