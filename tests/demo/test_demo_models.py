"""The demo's word on its models: what the log does not bear out must be found, a constant verdict first of all."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.demo_delivered import (
    IN_FORCE_S,
    Devices,
    Logged,
    Published,
    Said,
    judge_models,
    read_devices,
    said_in,
)
from gateway.cli.demo_kubo import _alone, find_kubo
from gateway.cli.demo_papers import MODELS, READER, Named, card_of, detector_in, make_papers, named, why_no_models
from gateway.cli.demo_parts import DemoError
from gateway.message import Verdict
from gateway.tlog.entry import MessageEntry, ModelEntry

FINAL_S = 1_732_165_200
FINAL_MS = FINAL_S * 1000
READS, DETECTS = b"r" * 32, b"d" * 32
LOADED_MS = FINAL_MS + 1_000
REFUSED_MS = FINAL_MS + 8_000
EVENTS = (
    ModelEntry(FINAL_MS - 5_000, "nab", 2, DETECTS, "loaded", None),
    ModelEntry(LOADED_MS, READER, 1, READS, "loaded", None),
    ModelEntry(REFUSED_MS, READER, 2, b"n" * 32, "refused", "not-granted"),
)

PUBLISHED = Published(
    FINAL_S, (("demo-gw", "demo-gw-2"), ("demo-gw-2",)), "demo-gw", Named(READER, 1), Named("nab", 2)
)


def digest_of(kind, number):
    return hashlib.sha256(f"{kind}|{number}".encode()).digest()


def entry(digest, time_ms, verdict=Verdict.UNSCORED, model=None, label=None):
    score = None if verdict is Verdict.UNSCORED else 0.5
    return MessageEntry(time_ms, digest, "home-10001", bytes(8), time_ms % 1000, verdict, model, score, label)


def story():
    """A run in which all is as it must be: messages as they were sent, and the log's entries."""
    images, readings, logged = [], [], {}
    for number in range(24):
        kind, at_ms = f"digit-{number * 7 % 10}", FINAL_MS + 500 * number
        digest = digest_of("image", number)
        images.append(Said(digest, kind, "accepted"))
        read = at_ms > LOADED_MS
        logged[digest] = entry(digest, at_ms, Verdict.CLASSIFIED, READS, kind[-1]) if read else entry(digest, at_ms)
    for kind, count, verdict in (
        ("filling", 100, Verdict.UNSCORED),
        ("filling", 48, Verdict.NORMAL),
        ("before", 12, Verdict.NORMAL),
        ("fault", 1, Verdict.ANOMALOUS),
        ("fault", 3, Verdict.NORMAL),
        ("after", 12, Verdict.NORMAL),
    ):
        for _ in range(count):
            digest = digest_of("reading", len(readings))
            readings.append(Said(digest, kind, "accepted"))
            model = None if verdict is Verdict.UNSCORED else DETECTS
            logged[digest] = entry(digest, FINAL_MS + 10 * len(readings), verdict, model)
    return Devices(images, readings), logged


def judged(change=None, events=EVENTS, published=PUBLISHED, devices=None):
    sent, logged = story()
    if change is not None:
        logged = {digest: change(each) or each for digest, each in logged.items()}
    return judge_models(devices(sent) if devices else sent, Logged(logged, events), published)


def test_a_story_as_it_must_be_has_no_problem():
    found = judged()
    assert found.problems == ()
    assert found.facts() == {
        "digit_correct": True,
        "revoked_grant_refused": True,
        "anomaly_detected": True,
        "publish_to_first_score_s": 1.5,
        "scored": 21 + 28 + 48,
    }


def one_wrong_digit(each):
    return each._replace(label="8") if each.label == "1" else None


def always_seven(each):
    return each._replace(label="7") if each.label else None


def never_read(each):
    return entry(each.digest, each.time_ms) if each.label else None


def other_model(each):
    return each._replace(model=b"x" * 32) if each.label else None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (one_wrong_digit, "an image of digit-1 was read as 8"),
        (always_seven, "was read as 7"),
        (never_read, "no image was read"),
        (other_model, "by another model than the one that was published"),
    ],
)
def test_a_digit_that_was_not_read_rightly_is_found(change, words):
    found = judged(change)
    assert not found.digit_correct
    assert any(words in problem for problem in found.problems), found.problems


def test_a_camera_that_shows_one_digit_proves_nothing():
    def one_digit(sent):
        return sent._replace(images=[said for said in sent.images if said.kind == "digit-7"])

    found = judged(devices=one_digit)
    assert not found.digit_correct
    assert any("one digit" in problem for problem in found.problems), found.problems


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (EVENTS[:2], "was not refused"),
        ((*EVENTS[:2], EVENTS[2]._replace(reason="expired")), "was refused as expired"),
        ((*EVENTS, EVENTS[1]._replace(version=2, time_ms=REFUSED_MS + 1)), "was loaded although"),
        ((EVENTS[0], EVENTS[2]), "was never loaded"),
        ((*EVENTS[:2], EVENTS[2]._replace(time_ms=REFUSED_MS + 60_000)), "did not read on"),
    ],
)
def test_a_grant_that_did_not_count_is_found(events, words):
    found = judged(events=events)
    assert not (found.revoked_grant_refused and found.digit_correct)
    assert any(words in problem for problem in found.problems), found.problems


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ((("demo-gw", "demo-gw-2"), ("demo-gw", "demo-gw-2")), "version 2 of the reader has a key for this gateway"),
        ((("demo-gw-2",), ("demo-gw-2",)), "version 1 of the reader has no key for this gateway"),
        ((("demo-gw", "demo-gw-2"), ()), "no key for the second gateway"),
    ],
)
def test_a_version_with_a_key_for_whom_it_must_not_have_one_is_found(keys, words):
    found = judged(published=PUBLISHED._replace(keys=keys))
    assert not found.revoked_grant_refused
    assert any(words in problem for problem in found.problems), found.problems


def test_the_version_before_must_read_on_after_the_refusal():
    assert not judged(
        lambda each: entry(each.digest, each.time_ms) if each.label and each.time_ms > REFUSED_MS else None
    ).revoked_grant_refused


def as_verdict(verdict):
    return lambda each: each._replace(verdict=verdict) if each.model == DETECTS else None


def nothing_scored(each):
    return entry(each.digest, each.time_ms) if each.model == DETECTS else None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (as_verdict(Verdict.NORMAL), "the bearing's fault was not seen"),
        (as_verdict(Verdict.ANOMALOUS), "of the good readings before the fault, 12 of 12"),
        (nothing_scored, "the bearing's fault was not seen"),
    ],
)
def test_a_verdict_that_is_always_the_same_detects_nothing(change, words):
    found = judged(change)
    assert not found.anomaly_detected
    assert any(words in problem for problem in found.problems), found.problems


@given(st.integers(0, 175), st.sampled_from(list(Verdict)))
def test_the_fault_is_seen_only_when_every_good_reading_is_called_normal(number, verdict):
    sent, logged = story()
    said = sent.readings[number]
    before = logged[said.digest]
    model = None if verdict is Verdict.UNSCORED else DETECTS
    logged[said.digest] = before._replace(verdict=verdict, model=model)
    found = judge_models(sent, Logged(logged, EVENTS), PUBLISHED)
    if said.kind == "fault":
        assert found.anomaly_detected == (before.verdict is not Verdict.ANOMALOUS or verdict is Verdict.ANOMALOUS)
    elif said.kind == "filling":
        assert found.anomaly_detected == (verdict is not Verdict.ANOMALOUS)
    else:
        assert found.anomaly_detected == (verdict is Verdict.NORMAL)


def test_a_message_that_was_refused_or_lost_is_told():
    sent, logged = story()
    refused = sent._replace(images=[sent.images[0]._replace(outcome="rate-limited"), *sent.images[1:]])
    assert any("rate-limited" in each for each in judge_models(refused, Logged(logged, EVENTS), PUBLISHED).problems)
    del logged[sent.readings[5].digest]
    assert any("not in the log" in each for each in judge_models(sent, Logged(logged, EVENTS), PUBLISHED).problems)


def test_a_model_that_takes_too_long_is_told():
    found = judged(published=PUBLISHED._replace(final_s=FINAL_S - int(IN_FORCE_S)))
    assert found.seconds == 11.5
    assert any("10 s are allowed" in problem for problem in found.problems)
    never = judged(published=PUBLISHED._replace(final_s=None))
    assert never.seconds is None
    assert never.problems


def test_a_record_that_is_none_is_told_and_a_silent_device_has_none(tmp_path):
    (tmp_path / "record").write_text('{"digest": "00", "kind": 7, "outcome": "accepted"}\n{"dig\n')
    with pytest.raises(DemoError, match="cannot be read"):
        read_devices(tmp_path / "record", tmp_path / "none")
    assert read_devices(tmp_path / "no", tmp_path / "none") == Devices((), ())
    assert said_in(['{"digest": "0a", "kind": "fault", "outcome": "accepted", "via": "mqtt"}']) == (
        Said(b"\n", "fault", "accepted"),
    )


# --- files ---


def test_the_next_version_is_the_same_model_with_another_number_on_its_card(tmp_path):
    papers = make_papers(tmp_path / "models")
    first, second = papers.readers
    assert first.read_bytes() == second.read_bytes() == (MODELS / f"{READER}.tflite").read_bytes()
    cards = [json.loads(card_of(model).read_text()) for model in (first, second)]
    assert [card["version"] for card in cards] == [1, 2]
    assert cards[0] | {"version": 2} == cards[1]
    assert papers.reads == Named(READER, 1)
    assert papers.detects == named(MODELS / f"{detector_in(MODELS)}.tflite")
    assert 100 <= papers.filling < 2000
    assert papers.trainer.stat().st_mode & 0o777 == papers.signing.stat().st_mode & 0o777 == 0o600
    assert len({len(word) for word in papers.twin_keys.values()}) == 2  # 20 bytes, and twice 32


def test_a_detector_that_keeps_records_judges_later_than_its_first_answers(tmp_path):
    inputs = {"window": 1, "columns": [{"record": {"short": 1, "long": 48, "steps": False, "after": 100}}, {}]}
    papers = make_papers(tmp_path / "models")
    spec = papers.detector.with_name(f"{papers.detector.stem}.spec.json")
    spec.write_text(json.dumps({"inputs": inputs}))
    assert papers.filling == 148
    spec.write_text(json.dumps({"inputs": {"window": 512, "columns": [{"record": None}]}}))
    assert papers.filling == 511


def test_a_demo_without_models_says_why(tmp_path, monkeypatch):
    assert why_no_models(chain=True) == ""
    assert "--no-chain" in why_no_models(chain=False)
    assert "checkout" in why_no_models(chain=True, models=tmp_path)
    monkeypatch.setattr("gateway.cli.demo_papers.find_spec", lambda _name: None)
    assert "litert" in why_no_models(chain=True)


def test_models_that_cannot_be_read_are_told(tmp_path):
    with pytest.raises(DemoError, match="cannot be taken"):
        make_papers(tmp_path / "models", tmp_path / "nowhere")


def test_an_ipfs_node_is_taken_when_it_is_asked_for_and_there():
    assert find_kubo("none") == ""
    assert find_kubo("sh").endswith("/sh")
    with pytest.raises(DemoError, match="is no program"):
        find_kubo("no-such-ipfs")


def test_the_ipfs_node_of_the_demo_knows_nobody():
    config = _alone({"Addresses": {"API": "x", "Swarm": ["/ip4/0.0.0.0/tcp/4001"]}, "Bootstrap": ["y"]}, 4711)
    assert config["Addresses"] == {"API": "/ip4/127.0.0.1/tcp/4711", "Gateway": [], "Swarm": []}
    assert config["Bootstrap"] == []
    assert config["Routing"]["Type"] == "none"
