"""The two devices that the demo's models are for: what they tell must be what the committed models make of it."""

import json
from pathlib import Path

import cbor2
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim import bearing, digits
from firmware_sim.keys import generate
from firmware_sim.solo import camera, sensor

MODELS = Path(__file__).resolve().parents[2] / "models"


class Model:
    def __init__(self, name):
        self._interpreter = Interpreter(str(MODELS / f"{name}.tflite"), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self.spec = json.loads((MODELS / f"{name}.spec.json").read_text())

    def __call__(self, values):
        self._interpreter.set_tensor(
            self._input["index"], np.array(values, dtype=np.float32).reshape(self._input["shape"])
        )
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output["index"]).ravel()


def test_the_reader_reads_every_image_that_the_camera_shows():
    reader, seen = Model("mnist"), set()
    for number in range(90):
        digit, image = digits.shown(number)
        assert int(reader([grey / 255 for grey in image]).argmax()) == digit, number
        seen.add((digit, tuple(image)))
    assert {digit for digit, _ in seen} == set(range(10))
    assert len(seen) == 90  # never twice at the same place


@given(st.integers(0, 9), st.integers(-3, 3), st.integers(-3, 3))
def test_an_image_is_784_grey_values_and_moves_as_a_whole(digit, right, down):
    image = digits.image(digit, right, down)
    assert len(image) == digits.PIXELS
    assert all(isinstance(grey, int) and 0 <= grey <= digits.GREY for grey in image)
    middle = digits.image(digit)
    for y in range(4, 24):
        for x in range(4, 24):
            assert image[(y + down) * digits.SIDE + x + right] == middle[y * digits.SIDE + x]


@pytest.mark.parametrize("number", range(10_001, 10_010))
def test_the_detector_sees_the_fault_of_the_bearing_and_nothing_else(number):
    detector = Model("nab")
    threshold, window = detector.spec["outputs"]["threshold"], detector.spec["inputs"]["window"]
    assert window == bearing.WINDOW
    (record,) = generate("demo", 1, (), 0, first=number).devices
    read = [bearing.temperature(record.device_id, at) for at in range(bearing.READINGS)]
    flagged = {}
    for at in range(window - 1, bearing.READINGS):
        anomalous = detector(read[at + 1 - window : at + 1])[0] >= threshold
        flagged.setdefault(bearing.stretch(at), []).append(bool(anomalous))
    assert flagged["fault"][0]
    assert flagged["before"] == [False] * bearing.BEFORE
    assert flagged["after"] == [False] * bearing.AFTER


def test_the_camera_looks_for_ever_and_the_sensor_tells_one_story():
    looks = camera()
    first, second = next(looks), next(looks)
    assert (first.kind, first.after_s, second.after_s) == ("digit-0", 0.0, 0.5)
    assert len(cbor2.loads(first.payload)["image"]) == digits.PIXELS
    for record in generate("demo", 2, (), 0, first=10_001).devices:
        told = list(sensor(record, 80, 45.0))
        assert len(told) == bearing.READINGS
        assert [said.kind for said in told[510:512]] == ["filling", "before"]
        assert [said.after_s for said in told[78:82]] == [0.0, 0.0, 1 / 45, 1 / 45]
