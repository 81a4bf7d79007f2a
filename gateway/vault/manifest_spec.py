"""The part of a manifest that detection reads, as CBOR values: ``gateway.detection.spec`` and back.

Every member is always written, also where it has the value that it has by default: a spec has one spelling. What came
to the format later is a member of the kinds that need it alone, so that a manifest without such a kind stays what it
was, byte for byte, and a reader that does not know the kind refuses it. What is read is checked as a whole: the
columns fill the shape, the smoke test has as many numbers as model and meaning need.
"""

from __future__ import annotations

from math import prod
from typing import Final

from gateway.detection.features import SpecFault, check_record
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
from gateway.vault.fields import count, flag, items, malformed, members, number, optional_number, text, texts

COLUMNS_MAX: Final = 1024
WORDS_MAX: Final = 1024
LABELS_MAX: Final = 1024
NUMBERS_MAX: Final = 65536
"""How many numbers one input, and one answer, may have."""
DIMENSIONS_MAX: Final = 8
SELECTOR_MAX: Final = 64
CONTENT_FORMAT_MAX: Final = 0xFFFF

SPEC_MEMBERS: Final = ("inputs", "outputs", "smoke", "selector")

_INPUTS: Final = ("columns", "tensor", "window", "shape")
_COLUMN: Final = ("name", "kind", "missing", "low", "high", "log1p", "mean", "scale", "vocabulary")
_RECORD_COLUMN: Final = (*_COLUMN, "record")
_RECORD: Final = ("short", "long", "steps", "after")
_TENSOR: Final = ("name", "length", "low", "high", "mean", "scale")
_OUTPUTS: Final = ("kind", "threshold", "labels")
_SMOKE: Final = ("inputs", "expected", "tolerance")
_SELECTOR: Final = ("domains", "content_formats", "readings")


def spec_values(spec: ModelSpec) -> dict[str, object]:
    """Return the four members of a manifest that are its spec, ready for ``cbor.encode``."""
    tensor = spec.inputs.tensor
    return {
        "inputs": {
            "columns": [_column_value(column) for column in spec.inputs.columns],
            "tensor": None if tensor is None else _tensor_value(tensor),
            "window": spec.inputs.window,
            "shape": spec.inputs.shape,
        },
        "outputs": {
            "kind": str(spec.outputs.kind),
            "threshold": None if spec.outputs.threshold is None else float(spec.outputs.threshold),
            "labels": spec.outputs.labels,
        },
        "smoke": {
            "inputs": [float(number) for number in spec.smoke.inputs],
            "expected": [float(number) for number in spec.smoke.expected],
            "tolerance": float(spec.smoke.tolerance),
        },
        "selector": dict(zip(_SELECTOR, spec.selector, strict=True)),
    }


def read_spec(inputs: object, outputs: object, smoke: object, selector: object) -> ModelSpec:
    """Read the four members of a manifest that are its spec.

    Raises:
        ModelRefused: ``manifest-malformed``.
    """
    read = ModelSpec(_read_inputs(inputs), _read_outputs(outputs), _read_smoke(smoke), _read_selector(selector))
    _check_whole(read)
    return read


def _column_value(column: Column) -> dict[str, object]:
    record = {} if column.record is None else {"record": dict(zip(_RECORD, column.record, strict=True))}
    return record | {
        "name": column.name,
        "kind": str(column.kind),
        "missing": None if column.missing is None else float(column.missing),
        "low": float(column.low),
        "high": float(column.high),
        "log1p": column.log1p,
        "mean": float(column.mean),
        "scale": float(column.scale),
        "vocabulary": column.vocabulary,
    }


def _tensor_value(tensor: TensorInput) -> dict[str, object]:
    numbers = (float(tensor.low), float(tensor.high), float(tensor.mean), float(tensor.scale))
    return dict(zip(_TENSOR, (tensor.name, tensor.length, *numbers), strict=True))


def _read_inputs(value: object) -> InputSpec:
    columns, tensor, window, shape = members(value, "inputs", _INPUTS)
    return InputSpec(
        items(columns, "inputs.columns", COLUMNS_MAX, _read_column),
        None if tensor is None else _read_tensor(tensor),
        count(window, "inputs.window", 1, NUMBERS_MAX),
        items(shape, "inputs.shape", DIMENSIONS_MAX, lambda size, what: count(size, what, 1, NUMBERS_MAX)),
    )


def _read_column(value: object, what: str) -> Column:
    recording = isinstance(value, dict) and value.get("kind") == ColumnKind.RECORD
    *plain, vocabulary, record = (
        members(value, what, _RECORD_COLUMN) if recording else (*members(value, what, _COLUMN), None)
    )
    name, kind, missing, low, high, log1p, mean, scale = plain
    if kind not in list(ColumnKind):
        raise malformed(f"{what} are of the kinds {', '.join(ColumnKind)}")
    column = Column(
        text(name, what),
        ColumnKind(str(kind)),
        optional_number(missing, what),
        number(low, what),
        number(high, what),
        flag(log1p, what),
        number(mean, what),
        number(scale, what),
        texts(vocabulary, what, WORDS_MAX),
        _read_record(record, f"{what}.record") if recording else None,
    )
    _check_range(column.low, column.high, column.scale, what)
    if (column.kind is ColumnKind.CATEGORY) != bool(column.vocabulary):
        raise malformed(f"{what} have a vocabulary exactly when they are categories")
    return column


def _read_record(value: object, what: str) -> Record:
    short, long, steps, after = members(value, what, _RECORD)
    record = Record(count(short, what, 1), count(long, what), flag(steps, what), count(after, what))
    try:
        check_record(record)
    except SpecFault as fault:
        raise malformed(f"{what}: {fault}") from None
    return record


def _read_tensor(value: object) -> TensorInput:
    what = "inputs.tensor"
    name, length, low, high, mean, scale = members(value, what, _TENSOR)
    numbers = (number(low, what), number(high, what), number(mean, what), number(scale, what))
    tensor = TensorInput(text(name, what), count(length, what, 1, NUMBERS_MAX), *numbers)
    _check_range(tensor.low, tensor.high, tensor.scale, what)
    return tensor


def _read_outputs(value: object) -> OutputSpec:
    kind, threshold, labels = members(value, "outputs", _OUTPUTS)
    if kind not in list(OutputKind):
        raise malformed(f"outputs.kind is one of {', '.join(OutputKind)}")
    outputs = OutputSpec(
        OutputKind(str(kind)),
        optional_number(threshold, "outputs.threshold"),
        texts(labels, "outputs.labels", LABELS_MAX),
    )
    classes = outputs.kind is OutputKind.CLASSES
    if bool(outputs.labels) != classes or (outputs.threshold is None) != classes:
        raise malformed("outputs has labels when it is classes, and otherwise a threshold")
    return outputs


def _read_smoke(value: object) -> SmokeTest:
    inputs, expected, tolerance = members(value, "smoke", _SMOKE)
    smoke = SmokeTest(
        items(inputs, "smoke.inputs", NUMBERS_MAX, number),
        items(expected, "smoke.expected", NUMBERS_MAX, number),
        number(tolerance, "smoke.tolerance"),
    )
    if smoke.tolerance < 0:
        raise malformed("smoke.tolerance is not below zero")
    return smoke


def _read_selector(value: object) -> Selector:
    domains, content_formats, readings = members(value, "selector", _SELECTOR)
    return Selector(
        texts(domains, "selector.domains", SELECTOR_MAX),
        items(
            content_formats,
            "selector.content_formats",
            SELECTOR_MAX,
            lambda code, what: count(code, what, 0, CONTENT_FORMAT_MAX),
        ),
        texts(readings, "selector.readings", COLUMNS_MAX),
    )


def _check_range(low: float, high: float, scale: float, what: str) -> None:
    if low > high or scale == 0:
        raise malformed(f"{what} have low up to high, and a scale that is not zero")


def _check_whole(spec: ModelSpec) -> None:
    """Check what only all members together can say."""
    inputs, outputs = spec.inputs, spec.outputs
    if bool(inputs.columns) == (inputs.tensor is not None):
        raise malformed("inputs has columns or one tensor, never both")
    if inputs.tensor is not None and inputs.window != 1:
        raise malformed("inputs.window is 1 where the input is a tensor")
    row = sum(column.width for column in inputs.columns) if inputs.tensor is None else inputs.tensor.length
    size = prod(inputs.shape) if inputs.shape else 0
    if size != row * inputs.window or size > NUMBERS_MAX:
        raise malformed(f"inputs.shape is filled by the window's rows or the tensor, up to {NUMBERS_MAX} numbers")
    if len(spec.smoke.inputs) != size:
        raise malformed("smoke.inputs has as many numbers as inputs.shape")
    answers = {OutputKind.PROBABILITY: 1, OutputKind.RECONSTRUCTION: size, OutputKind.CLASSES: len(outputs.labels)}
    if len(spec.smoke.expected) != answers[outputs.kind]:
        raise malformed("smoke.expected has as many numbers as the model answers")
