"""From a trained model to what a gateway runs: ``.tflite`` bytes, the ``ModelSpec`` beside them, proof they agree.

The rows that a model is trained on are made here by the columns of the spec it is shipped with: what detection does
with a reading (``gateway.detection``) is what training did.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gateway.detection.spec import (
    Column,
    ColumnKind,
    InputSpec,
    ModelSpec,
    OutputKind,
    OutputSpec,
    Record,
    Selector,
    SmokeTest,
    TensorInput,
)
from gateway.training.data import Floats, Singles
from gateway.training.libraries import library, tensorflow

TOLERANCE: Final = 1e-5
"""How far an answer of LiteRT may be from that of the framework, on every row of the test set."""

SMOKE_TOLERANCE: Final = 1e-4
"""The same between processors: a gateway's kernels add in another order."""

_BATCH: Final = 512


class ExportRefused(ValueError):
    """The exported model is not the trained one, or a spec cannot be read."""


def rows_of(columns: Sequence[Column], table: Mapping[str, NDArray[Any]]) -> Singles:
    """Apply the columns to raw values, all rows at once: numbers as they are read, words as texts, NaN for missing.

    Of a statistic or a record the raw value is what the device's past says, from ``gateway.detection``.

    Raises:
        ExportRefused: a value is missing and the column has no replacement.
    """
    parts: list[Floats] = []
    for column in columns:
        values = table[column.name]
        if column.kind is ColumnKind.CATEGORY:
            parts.extend((values == word).astype(np.float64) for word in column.vocabulary)
        else:
            parts.append(_numbers(column, values.astype(np.float64)))
    return np.stack(parts, axis=1).astype(np.float32)


def _numbers(column: Column, values: Floats) -> Floats:
    if np.isnan(values).any():
        if column.missing is None:
            raise ExportRefused(f"{column.name} is missing in a row and has no replacement")
        values = np.where(np.isnan(values), column.missing, values)
    values = np.clip(values, column.low, column.high)
    if column.log1p:
        values = np.where(values >= 0, np.log1p(np.maximum(values, 0)), values)
    return (values - column.mean) / column.scale


def fit_column(name: str, values: Floats, *, log1p: bool = False, spread: float = 10.0) -> Column:
    """A column normalised by what training holds: mean 0, deviation 1, clipped ``spread`` deviations out.

    A number that never varies in training gets scale 1, so that one that varies later cannot explode.
    """
    seen = np.log1p(np.maximum(values, 0)) if log1p else values
    mean, scale = float(seen.mean()), float(seen.std())
    scale = scale if scale > 1e-6 else 1.0  # noqa: PLR2004 -- rounding noise is no spread
    reach = spread * scale
    low, high = (0.0, float(np.expm1(min(mean + reach, 80.0)))) if log1p else (mean - reach, mean + reach)
    return Column(name, low=low, high=high, log1p=log1p, mean=mean, scale=scale)


def to_tflite(answer: Any, shape: Sequence[int]) -> bytes:  # noqa: ANN401 -- a Keras model or a function of tensors
    """Convert a function from a batch of ``shape`` to its answers into a model with one signature, all in float32.

    ``answer`` may be a Keras model, a ``tf.Module`` with ``__call__``, or a function.
    """
    tf = tensorflow()
    module = tf.Module()
    module.held = answer
    module.serve = tf.function(
        lambda inputs: {"scores": answer(inputs)},
        input_signature=[tf.TensorSpec([None, *shape], tf.float32, name="inputs")],
    )
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        return bytes(converter.convert())


def litert(model: bytes, inputs: Singles, batch: int = _BATCH) -> Singles:
    """Every answer of the model by LiteRT, the gateway's interpreter, on one thread."""
    interpreter = library("ai_edge_litert.interpreter").Interpreter(model_content=model, num_threads=1)
    entrance, way_out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    answers: list[Singles] = []
    size = 0
    for start in range(0, len(inputs), batch):
        part = np.ascontiguousarray(inputs[start : start + batch], dtype=np.float32)
        if len(part) != size:
            size = len(part)
            interpreter.resize_tensor_input(entrance, part.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(entrance, part)
        interpreter.invoke()
        answers.append(np.array(interpreter.get_tensor(way_out), dtype=np.float32))
    return np.concatenate(answers)


def compare(lite: ArrayLike, framework: ArrayLike, tolerance: float = TOLERANCE) -> float:
    """The greatest difference between the two, over everything given: the whole test set.

    Raises:
        ExportRefused: the shapes differ, an answer is not finite, or the difference is above ``tolerance``.
    """
    one, other = np.asarray(lite, dtype=np.float64), np.asarray(framework, dtype=np.float64)
    if one.shape != other.shape:
        raise ExportRefused(f"LiteRT answers {one.shape}, the framework {other.shape}")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise ExportRefused("an answer is not a finite number")
    worst = float(np.abs(one - other).max(initial=0.0))
    if worst > tolerance:
        raise ExportRefused(f"LiteRT and the framework differ by {worst:.2e}, {tolerance:.0e} is allowed")
    return worst


def smoke_test(model: bytes, row: Singles, tolerance: float = SMOKE_TOLERANCE) -> SmokeTest:
    """One input (shape of one row, after the pipeline) and what the exported model answers to it."""
    answer = litert(model, np.asarray(row, dtype=np.float32)[None])
    return SmokeTest(tuple(map(float, row.ravel())), tuple(map(float, answer.ravel())), tolerance)


def spec_json(spec: ModelSpec) -> str:
    """The spec as JSON, members in their order; floats are written so that they read back as the same numbers."""
    return json.dumps(_plain(spec), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        # As in a manifest: only a record column says what it records.
        plain = {name: _plain(member) for name, member in value._asdict().items()}
        return {name: member for name, member in plain.items() if (name, member) != ("record", None)}
    if isinstance(value, tuple):
        return [_plain(member) for member in value]
    return value


def _column(item: dict[str, Any]) -> Column:
    record = {"record": Record(**item["record"])} if "record" in item else {}
    return Column(**{**item, "kind": ColumnKind(item["kind"]), "vocabulary": tuple(item["vocabulary"])} | record)


def spec_from_json(text: str) -> ModelSpec:
    """Read what ``spec_json`` wrote. The file is one of ours: strangers' specs come as manifests.

    Raises:
        ExportRefused: a member is missing, unknown or of another type.
    """
    try:
        top = json.loads(text)
        inputs, outputs, selector = top["inputs"], top["outputs"], top["selector"]
        columns = tuple(map(_column, inputs["columns"]))
        tensor = None if inputs["tensor"] is None else TensorInput(**inputs["tensor"])
        return ModelSpec(
            InputSpec(columns, tensor, inputs["window"], tuple(inputs["shape"])),
            OutputSpec(OutputKind(outputs["kind"]), outputs["threshold"], tuple(outputs["labels"])),
            SmokeTest(tuple(top["smoke"]["inputs"]), tuple(top["smoke"]["expected"]), top["smoke"]["tolerance"]),
            Selector(tuple(selector["domains"]), tuple(selector["content_formats"]), tuple(selector["readings"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ExportRefused(f"not the JSON of a model spec: {error}") from error
