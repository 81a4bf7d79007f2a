"""Small .tflite models made by hand: what training tools write, without the tools.

    python tests/detection/make_models.py FOLDER      # writes them, to be looked at

Everything is built through the flatbuffer schema that comes with LiteRT. Tests call the builders; no file is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

F32 = schema.TensorType.FLOAT32
BOOL = schema.TensorType.BOOL
OPS = schema.BuiltinOperator
KINDS = schema.BuiltinOptions


class Builder:
    """One model: tensors and operators are added in order, the first input and last output are the signature's."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.model.subgraphs = []
        self.model.description = b"made by hand"

    def subgraph(self) -> Graph:
        graph = Graph(self)
        self.model.subgraphs.append(graph.graph)
        return graph

    def code(self, operator: int) -> int:
        for index, known in enumerate(self.model.operatorCodes):
            if known.builtinCode == operator:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode = operator
        code.deprecatedBuiltinCode = min(operator, 127)
        code.version = 1
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def data(self) -> bytes:
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


class Graph:
    """One subgraph."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []

    def tensor(self, shape: Sequence[int], value: Any = None, *, kind: int = F32, batch: bool = True) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = list(shape), kind, 0
        tensor.name = f"t{len(self.graph.tensors)}".encode()
        if value is None and batch:
            tensor.shapeSignature = [-1, *shape[1:]]
        if value is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(value.tobytes(), dtype=np.uint8)
            self.builder.model.buffers.append(buffer)
            tensor.buffer = len(self.builder.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(
        self, operator: int, inputs: Sequence[int], outputs: Sequence[int], kind: int = 0, options: Any = None
    ):
        made = schema.OperatorT()
        made.opcodeIndex = self.builder.code(operator)
        made.inputs, made.outputs = list(inputs), list(outputs)
        made.builtinOptionsType, made.builtinOptions = kind, options
        self.graph.operators.append(made)

    def dense(
        self, source: int, weights: np.ndarray, bias: np.ndarray, *, relu: bool = False, batch: bool = True
    ) -> int:
        """out = weights · in + bias."""
        w = self.tensor(weights.shape, weights.astype(np.float32))
        b = self.tensor(bias.shape, bias.astype(np.float32))
        out = self.tensor((1, weights.shape[0]), batch=batch)
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU if relu else 0
        self.operator(OPS.FULLY_CONNECTED, [source, w, b], [out], KINDS.FullyConnectedOptions, options)
        return out


def dense_model(layers: Sequence[tuple[Any, Any]], *, end: str = "", fixed_batch: bool = False) -> bytes:
    """A stack of dense layers with ReLU between them; ``end``: "", "logistic" or "softmax"."""
    builder = Builder()
    graph = builder.subgraph()
    batch = not fixed_batch
    pairs = [(np.asarray(weights, np.float32), np.asarray(bias, np.float32)) for weights, bias in layers]
    at = source = graph.tensor((1, pairs[0][0].shape[1]), batch=batch)
    for number, (weights, bias) in enumerate(pairs, 1):
        at = graph.dense(at, weights, bias, relu=number < len(pairs), batch=batch)
    if end:
        out = graph.tensor((1, pairs[-1][0].shape[0]), batch=batch)
        if end == "logistic":
            graph.operator(OPS.LOGISTIC, [at], [out])
        else:
            options = schema.SoftmaxOptionsT()
            options.beta = 1.0
            graph.operator(OPS.SOFTMAX, [at], [out], KINDS.SoftmaxOptions, options)
        at = out
    graph.graph.inputs, graph.graph.outputs = [source], [at]
    return builder.data()


def autoencoder(widths: Sequence[int] = (41, 64, 16, 64, 41), seed: int = 1) -> bytes:
    """Random weights: for its cost, not for its answers."""
    rng = np.random.default_rng(seed)
    return dense_model([(rng.normal(size=(b, a)) / a, np.zeros(b)) for a, b in pairwise(widths)])


def identity(width: int) -> bytes:
    """What comes in goes out."""
    return dense_model([(np.eye(width), np.zeros(width))])


def hanging(width: int, above: float = 1000.0) -> bytes:
    """One number out: the greatest of the inputs, unless that is above ``above``: then it never answers."""
    builder = Builder()
    graph = builder.subgraph()
    source = graph.tensor((1, width), batch=False)
    axis = graph.tensor((1,), np.array([1], np.int32), kind=schema.TensorType.INT32)
    options = schema.ReducerOptionsT()
    options.keepDims = False
    greatest, out = graph.tensor((1,), batch=False), graph.tensor((1,), batch=False)
    reducer = KINDS.ReducerOptions
    graph.operator(OPS.REDUCE_MAX, [source, axis], [greatest], reducer, options)
    loop = schema.WhileOptionsT()
    loop.condSubgraphIndex, loop.bodySubgraphIndex = 1, 2
    graph.operator(OPS.WHILE, [greatest], [out], KINDS.WhileOptions, loop)
    graph.graph.inputs, graph.graph.outputs = [source], [out]
    condition = builder.subgraph()
    value = condition.tensor((1,), batch=False)
    limit = condition.tensor((1,), np.array([above], np.float32))
    holds = condition.tensor((1,), kind=BOOL, batch=False)
    condition.operator(OPS.GREATER, [value, limit], [holds], KINDS.GreaterOptions, schema.GreaterOptionsT())
    condition.graph.inputs, condition.graph.outputs = [value], [holds]
    body = builder.subgraph()
    value = body.tensor((1,), batch=False)
    same = body.tensor((1,), batch=False)
    body.operator(OPS.ABS, [value], [same], KINDS.AbsOptions, schema.AbsOptionsT())
    body.graph.inputs, body.graph.outputs = [value], [same]
    return builder.data()


def raising(width: int) -> bytes:
    """Gathers at the index that the last input names: outside 0 to 9 the interpreter raises."""
    builder = Builder()
    graph = builder.subgraph()
    source = graph.tensor((1, width), batch=False)
    begin = graph.tensor((2,), np.array([0, width - 1], np.int32), kind=schema.TensorType.INT32)
    size = graph.tensor((2,), np.array([1, 1], np.int32), kind=schema.TensorType.INT32)
    last = graph.tensor((1, 1), batch=False)
    graph.operator(OPS.SLICE, [source, begin, size], [last], KINDS.SliceOptions, schema.SliceOptionsT())
    index = graph.tensor((1, 1), kind=schema.TensorType.INT32, batch=False)
    cast = schema.CastOptionsT()
    cast.inDataType, cast.outDataType = F32, schema.TensorType.INT32
    graph.operator(OPS.CAST, [last], [index], KINDS.CastOptions, cast)
    table = graph.tensor((10,), np.linspace(0, 0.9, 10).astype(np.float32))
    out = graph.tensor((1, 1), batch=False)
    gather = schema.GatherOptionsT()
    gather.axis = 0
    graph.operator(OPS.GATHER, [table, index], [out], KINDS.GatherOptions, gather)
    graph.graph.inputs, graph.graph.outputs = [source], [out]
    return builder.data()


MODELS = {
    "autoencoder": autoencoder,
    "identity-2": lambda: identity(2),
    "hanging-2": lambda: hanging(2),
    "raising-2": lambda: raising(2),
}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in MODELS.items():
        (folder / f"{name}.tflite").write_bytes(make())


if __name__ == "__main__":
    main()
