"""What a ``.tflite`` file is, seen before anything runs it: parts, operators, its one input and output (pure).

LiteRT's interpreter for Python does not verify a file; it follows what is written there. So a model is genuine only
if, in this order:

    1. it is a FlatBuffer of TFLite, version 3, every part of it within the file         model-structure
    2. its operators are on the list (``genuine_operators``)                             model-operator
    3. each operator reads what is there by then; nothing is written twice               model-structure
    4. weights have as many bytes as their shape says; sizes stay within limits          model-structure
    5. one input and one output of float32, shaped as the spec says                      model-shape

Not handled here: whether the numbers are any good (the smoke test), and who trained it (the record).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from gateway.detection.spec import ModelSpec, OutputKind
from gateway.vault.genuine_flatbuffer import STEPS_MAX, Flat, FlatbufferFault, Table
from gateway.vault.genuine_operators import ALLOWED, operator_name
from gateway.vault.publisher_words import PublishRefusal, PublishRefused

TENSORS_MAX: Final = 65536
OPERATORS_MAX: Final = 65536
DIMENSIONS_MAX: Final = 8
NUMBERS_MAX: Final = 1 << 28
"""Numbers in one tensor, for one message."""

_IDENTIFIER: Final = b"TFL3"
_VERSION: Final = 3
_NAME_MAX: Final = 1024
_FLOAT32: Final = 0
_SIZES: Final = {0: 4, 1: 2, 2: 4, 3: 1, 4: 8, 6: 1, 7: 2, 9: 1, 10: 8, 12: 8, 15: 4, 16: 2}
"""Bytes a number, by the kinds of tensors that are let in: floats, integers and truths of whole bytes."""
_CUSTOM: Final = 32
_DEPRECATED_MAX: Final = 127
_RESHAPE, _SQUEEZE = 17, 30


class Seen(NamedTuple):
    """What a model is made of. A shape's first number is the batch, -1 where any will do."""

    operators: tuple[str, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    weight_bytes: int


class _Tensor(NamedTuple):
    kind: int
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    constant: bool


class _Parts(NamedTuple):
    """The only graph of a model, and what it refers to."""

    codes: tuple[int, ...]
    tensors: tuple[_Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...]
    weight_bytes: int


def look_at(data: bytes | memoryview, steps: int = STEPS_MAX) -> Seen:
    """Look at a model.

    Raises:
        PublishRefused: ``model-structure``, ``model-operator``, ``model-shape``.
    """
    try:
        parts = _parts(Flat(data, steps))
        _check_order(parts)
    except FlatbufferFault as fault:
        raise _unsound(str(fault)) from None
    if len(parts.inputs) != 1 or len(parts.outputs) != 1:
        raise _misshapen(f"it has {len(parts.inputs)} inputs and {len(parts.outputs)} outputs")
    entrance, way_out = parts.tensors[parts.inputs[0]], parts.tensors[parts.outputs[0]]
    if entrance.kind != _FLOAT32 or way_out.kind != _FLOAT32:
        raise _misshapen("its input or its output is not of float32")
    names = tuple(sorted({operator_name(parts.codes[index]) for index, _, _ in parts.operators}))
    return Seen(names, entrance.signature or entrance.shape, way_out.signature or way_out.shape, parts.weight_bytes)


def check_shapes(seen: Seen, spec: ModelSpec) -> None:
    """See that the model takes and gives what its spec says.

    Raises:
        PublishRefused: ``model-shape``.
    """
    batch = seen.input_shape[0] if seen.input_shape else 0
    if seen.input_shape[1:] != spec.inputs.shape or (batch < 1 and batch != -1):
        raise _misshapen(f"its input has the shape {seen.input_shape}, the spec says {spec.inputs.shape} for each")
    wanted = {
        OutputKind.PROBABILITY: 1,
        OutputKind.RECONSTRUCTION: math.prod(spec.inputs.shape),
        OutputKind.CLASSES: len(spec.outputs.labels),
    }[spec.outputs.kind]
    answer = seen.output_shape[1:]
    if -1 in answer:
        return  # known when it runs: the smoke test counts the numbers
    if not seen.output_shape or math.prod(answer) != wanted or seen.output_shape[0] not in (batch, -1):
        raise _misshapen(f"its output has the shape {seen.output_shape}, the spec says {wanted} numbers for each")


def _parts(flat: Flat) -> _Parts:
    model = flat.root(_IDENTIFIER)
    if model.u32(0) != _VERSION:
        raise FlatbufferFault("it is not of version 3 of the format")
    codes = tuple(_code(table) for table in model.tables(1, OPERATORS_MAX))
    graphs = model.tables(2, TENSORS_MAX)
    if len(graphs) != 1:
        raise _not_allowed(f"{len(graphs)} graphs: all but one would be for control flow")
    if any(model.has(number) for number in (8, 9)):
        raise FlatbufferFault("its weights are in other files")
    buffers = tuple(_buffer(table) for table in model.tables(4, TENSORS_MAX))
    for entry in model.tables(6, TENSORS_MAX):
        entry.text(0, _NAME_MAX)
        _known(entry.u32(1), buffers)
    tensors = tuple(_tensor(table, buffers) for table in graphs[0].tables(0, TENSORS_MAX))
    inputs, outputs = graphs[0].integers(1, TENSORS_MAX), graphs[0].integers(2, TENSORS_MAX)
    operators = tuple(_operator(table, codes) for table in graphs[0].tables(3, OPERATORS_MAX))
    for table in model.tables(7, TENSORS_MAX):
        _signature(table, (inputs, outputs))
    return _Parts(codes, tensors, inputs, outputs, operators, sum(buffers))


def _code(table: Table) -> int:
    """The number of an operator: in a byte, or, where that is full, in 32 bits."""
    code = max(table.u8(0), table.i32(3))
    if table.u8(0) > _DEPRECATED_MAX:
        raise FlatbufferFault("an operator has a number below zero")
    if code == _CUSTOM or table.has(1):
        name = "".join(letter if letter.isprintable() else "?" for letter in table.text(1, _NAME_MAX))[:64]
        raise _not_allowed(f'the custom operator "{name}"')
    if code not in ALLOWED:
        raise _not_allowed(operator_name(code))
    return code


def _buffer(table: Table) -> int:
    if table.u64(1) > 1 or table.u64(2) > 1:
        raise FlatbufferFault("it has weights after its end")
    return table.vector_bytes(0)


def _known(index: int, found: tuple[int, ...]) -> int:
    if index >= len(found):
        raise FlatbufferFault("something refers to a part that is not there")
    return found[index]


def _tensor(table: Table, buffers: tuple[int, ...]) -> _Tensor:
    shape, signature = table.integers(0, DIMENSIONS_MAX), table.integers(7, DIMENSIONS_MAX)
    kind, held = table.u8(1), _known(table.u32(2), buffers)
    if kind not in _SIZES:
        raise FlatbufferFault("a tensor is of texts, of references, or of parts of bytes")
    if table.u8(5) or table.has(6) or table.has(9) or table.has(10):
        raise FlatbufferFault("a tensor is a variable, sparse, or lies in another file")
    if min(shape, default=1) < 0 or min(signature, default=1) < -1 or math.prod(map(abs, shape)) > NUMBERS_MAX:
        raise FlatbufferFault("a tensor is larger than any, or its shape is no shape")
    if signature and not _fits(shape, signature):
        raise FlatbufferFault("a tensor has two shapes")
    if held and held != math.prod(shape) * _SIZES[kind]:
        raise FlatbufferFault("weights have not as many bytes as their shape says")
    table.text(3, _NAME_MAX)
    if quantization := table.table(4):
        sizes = [quantization.vector_bytes(number, width) for number, width in ((0, 4), (1, 4), (2, 4), (3, 8))]
        if quantization.u8(4) or (sizes[3] and 2 * sizes[2] != sizes[3]):
            raise FlatbufferFault("a quantization is none")
    return _Tensor(kind, shape, signature, constant=bool(held))


def _fits(shape: tuple[int, ...], signature: tuple[int, ...]) -> bool:
    return len(shape) == len(signature) and all(
        said in (-1, size) for size, said in zip(shape, signature, strict=True)
    )


def _operator(table: Table, codes: tuple[int, ...]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    index = table.u32(0)
    _known(index, codes)
    if table.vector_bytes(5) or table.u64(9) > 1 or table.u64(10) > 1:
        raise _not_allowed("options of a custom operator")
    kind = table.u8(3)
    for number, chosen in ((4, kind), (12, table.u8(11))):
        options = table.table(number)
        if (options is None) != (not chosen):
            raise FlatbufferFault("an operator's options are of no kind")
        if options is not None:
            options.look_through()
            if number == 4 and chosen in (_RESHAPE, _SQUEEZE):  # noqa: PLR2004 -- the first union: those have a list
                options.integers(0, DIMENSIONS_MAX)
    if table.vector_bytes(7) or table.vector_bytes(8, 4):
        raise FlatbufferFault("an operator changes its inputs, or keeps what it works with")
    return index, table.integers(1, TENSORS_MAX), table.integers(2, TENSORS_MAX)


def _signature(table: Table, graph: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    """A signature says by name which tensors go in and out: those of the graph, and no others."""
    for number, known in zip((0, 1), graph, strict=True):
        for entry in table.tables(number, TENSORS_MAX):
            entry.text(0, _NAME_MAX)
            if entry.u32(1) not in known:
                raise FlatbufferFault("a signature names another input or output than the graph has")
    table.text(2, _NAME_MAX)
    if table.u32(4):
        raise FlatbufferFault("a signature is of a graph that is not there")


def _check_order(parts: _Parts) -> None:
    """Each operator reads constants, the inputs, or what came out before it; -1 is an input that it does without."""
    count = len(parts.tensors)
    ready = {index for index, tensor in enumerate(parts.tensors) if tensor.constant}
    empty = {index for index, tensor in enumerate(parts.tensors) if 0 in tensor.shape}
    if ready.intersection(parts.inputs) or len(set(parts.inputs)) != len(parts.inputs):
        raise FlatbufferFault("an input has weights, or is there twice")
    if any(not 0 <= index < count for index in parts.inputs):
        raise FlatbufferFault("an input is no tensor")
    ready.update(parts.inputs)
    for _, inputs, outputs in parts.operators:
        if any(index != -1 and index not in ready and index not in empty for index in inputs):
            raise FlatbufferFault("an operator reads what is not there yet")
        if any(not 0 <= index < count or index in ready for index in outputs):
            raise FlatbufferFault("an operator writes where something is, or nowhere")
        ready.update(outputs)
    if any(index not in ready for index in parts.outputs):
        raise FlatbufferFault("nothing writes an output")


def _unsound(problem: str) -> PublishRefused:
    return PublishRefused(
        PublishRefusal.MODEL_STRUCTURE,
        f"the file is no sound TFLite model: {problem}",
        "export it again with securenet-train, and look whether it was damaged on its way",
    )


def _not_allowed(what: str) -> PublishRefused:
    return PublishRefused(
        PublishRefusal.MODEL_OPERATOR,
        f"the model has {what}",
        "export it with the operators of docs/operations/models.md alone: no custom, no Flex, no control flow",
    )


def _misshapen(problem: str) -> PublishRefused:
    return PublishRefused(
        PublishRefusal.MODEL_SHAPE, problem, "publish the model with the spec that was exported beside it"
    )
