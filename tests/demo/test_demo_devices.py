"""The two devices that the demo's models are for: what they tell must be what the committed models make of it."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim import bearing, digits
from firmware_sim.keys import generate
from firmware_sim.payload import CBOR
from firmware_sim.solo import camera, sensor
from gateway.cli.demo_papers import MODELS, make_papers
from gateway.detection.detector import Bounds, Detector
from gateway.detection.frames import Message
from gateway.detection.port import LoadedModel
from gateway.message import Verdict
from gateway.training.export import spec_from_json


def verdicts(stem, device_id, payloads, content_format):
    """What the gateway's own detection makes of a device's payloads, one after the other."""
    files = MODELS / f"{stem}.spec.json", MODELS / f"{stem}.tflite"
    model = LoadedModel(bytes(32), stem, 1, spec_from_json(files[0].read_text()), files[1].read_bytes())
    detector = Detector(Bounds(16, 1 << 22), lambda _place: None)
    assert detector.load([model]) == [None]
    sent = [Message(device_id, content_format, 1e9 + at, 10**12 + at, payload) for at, payload in enumerate(payloads)]
    found = [result for at in range(0, len(sent), 16) for result in detector.score(sent[at : at + 16])[0]]
    return [(list(Verdict)[each.verdict], each.detail) for each in found]


def test_the_reader_reads_every_image_that_the_camera_shows():
    shown = [digits.shown(number) for number in range(90)]
    read = verdicts("mnist", "home-10002", [cbor2.dumps({"image": image}) for _, image in shown], CBOR)
    assert read == [(Verdict.CLASSIFIED, digit) for digit, _ in shown]
    assert {digit for digit, _ in shown} == set(range(10))
    assert len({(digit, tuple(image)) for digit, image in shown}) == 90  # never twice at the same place


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
def test_the_detector_sees_the_fault_of_the_bearing_and_nothing_else(number, tmp_path):
    papers = make_papers(tmp_path / "models")
    (record,) = generate("demo", 1, (), 0, first=number).devices
    story = list(sensor(record, papers.filling, 80, 18.0))
    told = {}
    found = verdicts(papers.detector.stem, record.device_id, [said.payload for said in story], story[0].content_type)
    for said, (verdict, _) in zip(story, found, strict=True):
        told.setdefault(said.kind, []).append(verdict)
    assert told["filling"][0] is Verdict.UNSCORED
    assert Verdict.ANOMALOUS not in told["filling"]
    assert told["fault"][0] is Verdict.ANOMALOUS
    assert told["before"] == [Verdict.NORMAL] * bearing.BEFORE
    assert told["after"] == [Verdict.NORMAL] * bearing.AFTER


def test_the_camera_looks_for_ever_and_the_sensor_tells_one_story():
    looks = camera()
    first, second = next(looks), next(looks)
    assert (first.kind, first.after_s, second.after_s) == ("digit-0", 0.0, 0.5)
    assert len(cbor2.loads(first.payload)["image"]) == digits.PIXELS
    for record in generate("demo", 2, (), 0, first=10_001).devices:
        told = list(sensor(record, 148, 80, 18.0))
        assert len(told) == bearing.readings(148) == 148 + 12 + 4 + 12
        assert [said.kind for said in told[147:149]] == ["filling", "before"]
        assert [said.after_s for said in told[78:82]] == [0.0, 0.0, 1 / 18, 1 / 18]
