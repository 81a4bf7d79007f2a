"""What passes between gateway and scoring process arrives as it was sent."""

import subprocess
import sys

import pytest
from detection_kit import class_model, mean_model, message, statistic, window_model
from hypothesis import given
from hypothesis import strategies as st

from gateway.detection import frames
from gateway.detection.port import LoadedModel, UnscoredReason
from gateway.detection.spec import (
    Column,
    ColumnKind,
    InputSpec,
    ModelSpec,
    OutputKind,
    OutputSpec,
    Selector,
    SmokeTest,
    TensorInput,
)
from gateway.message import Score, Verdict

SPECS = [
    ModelSpec(
        InputSpec((Column("a", log1p=True), Column("p", ColumnKind.CATEGORY, 0.0, vocabulary=("tcp", "udp")),
                   statistic("bytes", missing=1.5)), None, 2, (2, 4)),
        OutputSpec(OutputKind.RECONSTRUCTION, 0.25, ()),
        SmokeTest((0.5,) * 8, (0.1,) * 8, 1e-4),
        Selector(("pump:",), (110, 112), ("a",)),
    ),
    ModelSpec(
        InputSpec((), TensorInput("image", 784, 0.0, 255.0, 0.0, 255.0), 1, (28, 28, 1)),
        OutputSpec(OutputKind.CLASSES, None, tuple("0123456789")),
        SmokeTest((), (), 0.0),
    ),
]  # fmt: skip


@pytest.mark.parametrize("spec", SPECS)
def test_a_model_arrives_with_its_spec(spec):
    models = [
        LoadedModel(b"d" * 32, "m", 7, spec, b"data"),
        LoadedModel(b"e" * 32, "n", 1, spec, memoryview(b"more")),
    ]
    there = frames.unpack_models(frames.pack_models(models))
    assert there == [models[0], models[1]._replace(data=b"more")]
    assert [model.data for model in frames.unpack_models(frames.pack_models(models, 0b10))] == [b"data", b""]
    assert isinstance(there[0].spec.outputs.kind, OutputKind)


IDS = st.text("ABCabc019._:-", min_size=1, max_size=64)


@given(
    st.lists(st.tuples(IDS, st.sampled_from([42, 110]), st.integers(0, 2**53), st.binary(max_size=40)), max_size=5),
    st.lists(IDS, max_size=4),
    st.integers(0, 2**16 - 1),
)
def test_a_batch_arrives_as_it_was_sent(sent, refused, aside):
    messages = [message(device, payload, content_format=kind, received_ms=ms) for device, kind, ms, payload in sent]
    there = frames.unpack_batch(frames.pack_batch(messages, refused, aside))
    expected = [frames.Message(device, kind, ms / 1000, ms, payload) for device, kind, ms, payload in sent]
    assert there == (aside, refused, expected)


def test_results_become_scores_and_reasons():
    models = [mean_model(), class_model(), window_model()]
    results = [
        frames.scored(Verdict.NORMAL, 0, 0.25, None),
        frames.unscored(UnscoredReason.WINDOW_SHORT),
        frames.scored(Verdict.CLASSIFIED, 1, 0.9, 2),
        frames.scored(Verdict.ANOMALOUS, 2, 7.0, None),
    ]
    scores, reasons, faults = frames.unpack_results(frames.pack_results(results, [2]), models)
    assert scores == [
        Score(Verdict.NORMAL, models[0].manifest_sha256, 0.25, None),
        Score(),
        Score(Verdict.CLASSIFIED, models[1].manifest_sha256, 0.9, "high"),
        Score(Verdict.ANOMALOUS, models[2].manifest_sha256, 7.0, None),
    ]
    assert (reasons, faults) == ([UnscoredReason.WINDOW_SHORT], [2])
    assert frames.unpack_results(frames.pack_results([], []), models) == ([], [], [])


def test_the_scoring_process_loads_nothing_that_it_does_not_need():
    asked = "import sys, gateway.detection.worker; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    tops = {name.partition(".")[0] for name in loaded}
    assert "gateway.detection.detector" in loaded
    assert not tops & {
        "cryptography",
        "nacl",
        "asyncio",
        "structlog",
        "sqlite3",
        "web3",
        "aiohttp",
        "ssl",
        "pydantic",
    }


def test_a_frame_that_is_too_long_is_not_ours():
    assert frames.frame_length(frames.answer(b"abc")[:4]) == 3
    with pytest.raises(ValueError, match="a frame of"):
        frames.frame_length(b"\xff" * 4)
