"""What a .tflite has to be: parts within the file, allowed operators, the spec's shapes; anything else has a name."""

import copy
from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.publisher_kit import OPERATORS, buffer, code, operator, packed, parts, spec_of, tensor

from gateway.detection.spec import OutputKind, OutputSpec
from gateway.vault import genuine_operators
from gateway.vault.genuine import check_shapes, look_at
from gateway.vault.publisher_words import PublishRefusal, PublishRefused

GOOD = packed(parts())
SHIPPED = sorted((Path(__file__).resolve().parents[2] / "models").glob("*.tflite"))


def refusal_of(data):
    with pytest.raises(PublishRefused) as refused:
        look_at(data)
    assert refused.value.hint
    return refused.value.reason


def outcome_of(data):
    try:
        look_at(data)
    except PublishRefused as refused:
        return refused.reason
    return None


def with_change(change):
    model = parts()
    change(model)
    return packed(model)


def test_a_model_is_seen_as_it_was_made():
    seen = look_at(GOOD)
    assert seen == (("FULLY_CONNECTED", "LOGISTIC"), (-1, 4), (-1, 1), 20)
    check_shapes(seen, spec_of())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_models_of_the_repository_are_genuine(path):
    assert look_at(path.read_bytes()).operators


def test_the_names_of_the_operators_are_those_of_the_schema():
    names = {number: name for name, number in vars(OPERATORS).items() if isinstance(number, int)}
    listed = {**genuine_operators.ALLOWED, **genuine_operators.REFUSED}
    assert {number: names[number] for number in listed} == listed
    assert not genuine_operators.ALLOWED.keys() & genuine_operators.REFUSED.keys()


@pytest.mark.parametrize(
    "number", [OPERATORS.WHILE, OPERATORS.IF, OPERATORS.VAR_HANDLE, OPERATORS.LSTM, OPERATORS.RANDOM_UNIFORM, 9999]
)
def test_an_operator_that_is_not_on_the_list_is_refused(number):
    def change(model):
        model.operatorCodes[1] = code(number)

    assert refusal_of(with_change(change)) is PublishRefusal.MODEL_OPERATOR


def test_an_operator_that_nobody_uses_is_refused_as_well():
    assert (
        refusal_of(with_change(lambda model: model.operatorCodes.append(code(OPERATORS.CALL_ONCE))))
        is PublishRefusal.MODEL_OPERATOR
    )


@pytest.mark.parametrize("name", ["FlexAddV2", "Mine", "\x1b[31m"])
def test_custom_and_flex_operators_are_refused_by_name(name):
    def change(model):
        model.operatorCodes[1] = code(OPERATORS.CUSTOM, name)

    with pytest.raises(PublishRefused) as refused:
        look_at(with_change(change))
    assert refused.value.reason is PublishRefusal.MODEL_OPERATOR
    assert str(refused.value).isprintable()
    assert name.replace("\x1b", "?") in str(refused.value)


def test_options_of_a_custom_operator_are_refused():
    def change(model):
        model.subgraphs[0].operators[1].customOptions = [1, 2, 3]

    assert refusal_of(with_change(change)) is PublishRefusal.MODEL_OPERATOR


def test_a_second_graph_is_refused():
    def change(model):
        model.subgraphs.append(copy.deepcopy(model.subgraphs[0]))

    assert refusal_of(with_change(change)) is PublishRefusal.MODEL_OPERATOR


def broken(path, value):
    def change(model):
        *names, last = path
        found = model
        for name in names:
            found = found[name] if isinstance(name, int) else getattr(found, name)
        if isinstance(last, int):
            found[last] = value
        else:
            setattr(found, last, value)

    return change


GRAPH = ("subgraphs", 0)
UNSOUND = {
    "another version": broken(("version",), 2),
    "a tensor of a buffer that is not there": broken((*GRAPH, "tensors", 1, "buffer"), 9),
    "weights of another size": broken(("buffers", 1), buffer([1.0])),
    "a tensor of texts": broken((*GRAPH, "tensors", 3, "type"), schema.TensorType.STRING),
    "a tensor of halves of bytes": broken((*GRAPH, "tensors", 3, "type"), schema.TensorType.INT4),
    "a variable": broken((*GRAPH, "tensors", 3, "isVariable"), True),
    "a huge tensor": broken((*GRAPH, "tensors", 3, "shape"), [1 << 20, 1 << 20]),
    "a negative size": broken((*GRAPH, "tensors", 1, "shape"), [-1, 4]),
    "too many dimensions": broken((*GRAPH, "tensors", 3, "shape"), [1] * 9),
    "two shapes": broken((*GRAPH, "tensors", 0, "shapeSignature"), [-1, 5]),
    "an operator without a code": broken((*GRAPH, "operators", 1, "opcodeIndex"), 7),
    "an input from nowhere": broken((*GRAPH, "operators", 1, "inputs"), [99]),
    "an input from below": broken((*GRAPH, "operators", 1, "inputs"), [-2]),
    "an input that comes later": broken((*GRAPH, "operators", 0, "inputs"), [4, 1, 2]),
    "an output over the weights": broken((*GRAPH, "operators", 0, "outputs"), [1]),
    "an output over the input": broken((*GRAPH, "operators", 0, "outputs"), [0]),
    "an output nowhere": broken((*GRAPH, "operators", 0, "outputs"), [77]),
    "an output that nothing writes": broken((*GRAPH, "operators"), []),
    "an input of the graph with weights": broken((*GRAPH, "inputs"), [1]),
    "an input of the graph that is no tensor": broken((*GRAPH, "inputs"), [55]),
    "an operator that changes its inputs": broken((*GRAPH, "operators", 1, "mutatingVariableInputs"), [True]),
    "weights after the end": broken(("buffers", 1, "offset"), 4096),
}


@pytest.mark.parametrize("change", UNSOUND.values(), ids=UNSOUND)
def test_parts_that_do_not_fit_together_are_refused(change):
    assert refusal_of(with_change(change)) is PublishRefusal.MODEL_STRUCTURE


def test_weights_in_other_files_are_refused():
    def change(model):
        group = schema.ExternalBufferGroupT()
        group.name = "weights.bin"
        model.externalBufferGroups = [group]

    assert refusal_of(with_change(change)) is PublishRefusal.MODEL_STRUCTURE


def test_a_signature_may_name_the_graphs_own_ends_alone():
    def signed(index):
        entry, exits = schema.TensorMapT(), schema.TensorMapT()
        entry.name, entry.tensorIndex, exits.name, exits.tensorIndex = "inputs", index, "scores", 4
        made = schema.SignatureDefT()
        made.inputs, made.outputs, made.signatureKey = [entry], [exits], "serving_default"
        return broken(("signatureDefs",), [made])

    assert look_at(with_change(signed(0)))
    assert refusal_of(with_change(signed(3))) is PublishRefusal.MODEL_STRUCTURE


def test_many_names_for_one_part_cost_no_more_than_the_budget():
    with pytest.raises(PublishRefused, match="more parts"):
        look_at(GOOD, steps=20)


@pytest.mark.parametrize("change", [((*GRAPH, "inputs"), [0, 3]), ((*GRAPH, "outputs"), [3, 4])])
def test_a_model_has_one_input_and_one_output(change):
    path, value = change
    assert refusal_of(with_change(broken(path, value))) in (
        PublishRefusal.MODEL_SHAPE,
        PublishRefusal.MODEL_STRUCTURE,
    )


def test_an_input_that_is_no_float_is_refused():
    change = broken((*GRAPH, "tensors", 0, "type"), schema.TensorType.INT32)
    assert refusal_of(with_change(change)) is PublishRefusal.MODEL_SHAPE


@pytest.mark.parametrize(
    "spec",
    [
        spec_of()._replace(inputs=spec_of().inputs._replace(shape=(2, 2))),
        spec_of()._replace(outputs=OutputSpec(OutputKind.CLASSES, None, ("a", "b"))),
        spec_of()._replace(outputs=OutputSpec(OutputKind.RECONSTRUCTION, 0.5, ())),
    ],
)
def test_a_shape_that_is_not_the_specs_is_refused(spec):
    with pytest.raises(PublishRefused) as refused:
        check_shapes(look_at(GOOD), spec)
    assert refused.value.reason is PublishRefusal.MODEL_SHAPE


@pytest.mark.parametrize("data", [b"", b"TFL3", GOOD[:100], b"\0" * 64, GOOD[:4] + b"TFL2" + GOOD[8:]])
def test_what_is_no_model_is_refused(data):
    assert refusal_of(data) is PublishRefusal.MODEL_STRUCTURE


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_an_altered_model_is_seen_or_refused_and_nothing_else(data):
    altered = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        altered[data.draw(st.integers(0, len(GOOD) - 1))] = data.draw(st.integers(0, 255))
    assert outcome_of(bytes(altered)) in {
        None,
        PublishRefusal.MODEL_STRUCTURE,
        PublishRefusal.MODEL_OPERATOR,
        PublishRefusal.MODEL_SHAPE,
    }


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
@example(b"\x08\0\0\0TFL3" + b"\xff" * 40)
def test_bytes_of_anybody_are_refused(data):
    assert refusal_of(data[:4] + b"TFL3" + data[8:]) in set(PublishRefusal)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6))
def test_our_reader_and_the_schemas_own_see_the_same(width, layers):
    model = parts()
    graph = model.subgraphs[0]
    for number in range(layers):
        graph.tensors.append(tensor(f"more-{number}", (1, 1), signature=[-1, 1]))
        graph.operators.append(operator(1, [len(graph.tensors) - 2], [len(graph.tensors) - 1]))
    graph.outputs = [len(graph.tensors) - 1]
    model.buffers += [buffer([0.0] * width)]
    data = packed(model)
    seen, theirs = look_at(data), schema.ModelT.InitFromPackedBuf(data)
    held = sum(0 if each.data is None else len(each.data) for each in theirs.buffers)
    assert seen.weight_bytes == held
    assert list(seen.input_shape) == list(theirs.subgraphs[0].tensors[0].shapeSignature)
