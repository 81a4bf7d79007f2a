"""Log entries: one spelling each, the hand-made encoder equal to the general one, and nothing else is read."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import cbor
from gateway.message import RejectReason, Score, Verdict
from gateway.tlog import entry
from gateway.tlog.entry import (
    ClockEntry,
    EntryError,
    KeyEntry,
    MessageEntry,
    ModelEntry,
    RejectionsEntry,
    ResponseEntry,
)

COUNTS = st.one_of(
    st.sampled_from([0, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**63 - 1]), st.integers(0, 2**63 - 1)
)
IDS = st.text("ABCxyz019._:-", min_size=1, max_size=64)
DIGESTS = st.binary(min_size=32, max_size=32)
TEXTS = st.text(max_size=80)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
OUTCOMES = st.one_of(
    st.just(tuple(Score())),
    st.tuples(st.sampled_from([Verdict.UNSCORED, Verdict.NORMAL, Verdict.ANOMALOUS]), DIGESTS | st.none()).flatmap(
        lambda pair: st.tuples(st.just(pair[0]), st.just(pair[1]), FLOATS | st.none(), st.none())
    ),
    st.tuples(st.just(Verdict.CLASSIFIED), DIGESTS | st.none(), FLOATS | st.none(), st.text(max_size=60)),
)
MESSAGES = st.builds(
    lambda head, outcome: MessageEntry(*head, *outcome),
    st.tuples(COUNTS, DIGESTS, IDS, st.binary(min_size=8, max_size=8), COUNTS),
    OUTCOMES,
)
REJECTIONS = st.builds(
    RejectionsEntry,
    COUNTS,
    COUNTS,
    COUNTS,
    st.dictionaries(st.sampled_from([str(reason) for reason in RejectReason]), COUNTS),
    st.lists(st.tuples(IDS, COUNTS), max_size=10).map(tuple),
)
MODELS = st.builds(
    ModelEntry, COUNTS, IDS, COUNTS, DIGESTS, st.sampled_from(sorted(entry.MODEL_EVENTS)), st.none() | TEXTS
)
RESPONSES = st.builds(
    ResponseEntry,
    COUNTS,
    IDS,
    st.sampled_from(sorted(entry.RESPONSE_ACTIONS)),
    TEXTS,
    st.lists(COUNTS, max_size=8).map(tuple),
)
KEYS = st.builds(KeyEntry, COUNTS, DIGESTS, DIGESTS)
CLOCKS = st.one_of(
    st.builds(ClockEntry, COUNTS, st.sampled_from(["trusted", "untrusted"]), st.none(), TEXTS),
    st.builds(ClockEntry, COUNTS, st.just("stepped"), COUNTS, TEXTS),
)
SAMPLE = MessageEntry(1_732_165_200_123, bytes(32), "urn:dev:mac:0024befffe804ff1", b"sessions", 7, *Score())


def plain(message):
    """The array of a message entry as plain values, for the general encoder."""
    return [entry.FORMAT, "message", *(str(value) if isinstance(value, Verdict) else value for value in message)]


@given(MESSAGES)
def test_the_hand_made_message_entry_is_that_of_the_general_encoder(message):
    assert entry.message_entry(message) == cbor.encode(plain(message))


@given(st.one_of(MESSAGES, REJECTIONS, MODELS, RESPONSES, KEYS, CLOCKS))
def test_every_kind_of_entry_is_read_back_as_written(value):
    data = entry.encode_entry(value)
    assert entry.parse_entry(data) == value
    assert entry.encode_entry(entry.parse_entry(data)) == data


@given(MESSAGES, st.data())
def test_a_byte_more_or_less_is_no_entry(message, data):
    encoded = entry.message_entry(message)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    for other in (encoded[:cut], encoded + b"\x00"):
        with pytest.raises(EntryError):
            entry.parse_entry(other)


@given(st.one_of(MESSAGES, REJECTIONS, MODELS, RESPONSES, KEYS, CLOCKS), st.data())
def test_a_changed_byte_is_refused_or_is_another_entry_in_its_one_spelling(value, data):
    encoded = bytearray(entry.encode_entry(value))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        other = entry.parse_entry(bytes(encoded))
    except EntryError:
        return
    assert entry.encode_entry(other) == bytes(encoded)
    assert entry.encode_entry(other) != entry.encode_entry(value)


@given(st.binary(max_size=200))
@example(b"")
@example(b"\x9f\xff")
@example(b"\x81" * 1000)
@example(b"\xf9\x7e\x00")
def test_arbitrary_bytes_never_raise_anything_but_entry_error(data):
    with pytest.raises(EntryError):
        entry.parse_entry(data)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_not_written(score):
    with pytest.raises(EntryError, match="finite"):
        entry.message_entry(SAMPLE._replace(verdict=Verdict.NORMAL, score=score))


@pytest.mark.parametrize(
    "change",
    [
        {"digest": bytes(31)},
        {"session": bytes(9)},
        {"device_id": ""},
        {"device_id": "a" * 65},
        {"time_ms": -1},
        {"time_ms": 1 << 63},
        {"seq": -1},
        {"seq": 1 << 63},
        {"model": bytes(31)},
        {"label": "a cat"},
        {"verdict": Verdict.CLASSIFIED},
        {"verdict": Verdict.CLASSIFIED, "label": "x" * 257},
        {"verdict": Verdict.CLASSIFIED, "label": "\ud800"},
    ],
    ids=str,
)
def test_a_message_that_breaks_the_format_is_not_written(change):
    with pytest.raises(EntryError):
        entry.message_entry(SAMPLE._replace(**change))


CORRECT = plain(SAMPLE)
WRONG = {
    "another format": [(0, "securenet.entry/2")],
    "another kind": [(1, "massage")],
    "a kind that is no text": [(1, 7)],
    "a time before 1970": [(2, -1)],
    "a time that is true": [(2, True)],
    "a time of 64 bits": [(2, 1 << 63)],
    "a text as digest": [(3, "d" * 32)],
    "a short digest": [(3, bytes(31))],
    "an id outside the alphabet": [(4, "a/b")],
    "an empty id": [(4, "")],
    "a session of nine bytes": [(5, bytes(9))],
    "a float as number": [(6, 7.0)],
    "an unknown verdict": [(7, "odd")],
    "a verdict that is no text": [(7, 1)],
    "a model that is a text": [(8, "m" * 32)],
    "a whole number as score": [(9, 1)],
    "a label without a class": [(10, "cat")],
    "a class without a label": [(7, "classified")],
    "a label of 257 bytes": [(7, "classified"), (10, "x" * 257)],
}


@pytest.mark.parametrize("name", WRONG)
def test_an_entry_that_breaks_the_format_is_not_read(name):
    values = list(CORRECT)
    assert entry.parse_entry(cbor.encode(values)) == SAMPLE
    for at, value in WRONG[name]:
        values[at] = value
    with pytest.raises(EntryError):
        entry.parse_entry(cbor.encode(values))


@pytest.mark.parametrize(
    "values", [[], [entry.FORMAT], CORRECT[:-1], [*CORRECT, None], {1: 2}, "text", None], ids=repr
)
def test_an_array_of_another_length_is_no_entry(values):
    with pytest.raises(EntryError):
        entry.parse_entry(cbor.encode(values))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("rejections", [1, 2, 3, {"too-old": 1}, [["d", 1]] * 11]),
        ("rejections", [1, 2, 3, {"too-old": 1}, [["d", 1, 2]]]),
        ("rejections", [1, 2, 3, {"too-old": 1}, ["d"]]),
        ("rejections", [1, 2, 3, {"too-old": 1}, [["a/b", 1]]]),
        ("rejections", [1, 2, 3, {"Too Old": 1}, []]),
        ("rejections", [1, 2, 3, {"too-old": -1}, []]),
        ("rejections", [1, 2, 3, {1: 1}, []]),
        ("rejections", [1, 2, 3, [], []]),
        ("rejections", [1, 2, 3, {}, {}]),
        ("model", [1, "m", 1, bytes(32), "stolen", None]),
        ("model", [1, "m", 1, bytes(32), 5, None]),
        ("model", [1, "m", 1, bytes(31), "loaded", None]),
        ("model", [1, "m", 1, bytes(32), "loaded", "x" * 1025]),
        ("response", [1, "d", "jailed", "c", []]),
        ("response", [1, "d", None, "c", []]),
        ("response", [1, "d", "isolated", 5, []]),
        ("response", [1, "d", "isolated", "c", [-1]]),
        ("response", [1, "d", "isolated", "c", None]),
        ("key", [1, bytes(32)]),
        ("key", [1, bytes(32), bytes(33)]),
    ],
)
def test_the_other_kinds_are_as_strict(kind, fields):
    with pytest.raises(EntryError):
        entry.parse_entry(cbor.encode([entry.FORMAT, kind, *fields]))


@pytest.mark.parametrize(
    "value",
    [
        ResponseEntry(1, "d", "jailed", "c", ()),
        ResponseEntry(1, "d", "isolated", "c", tuple(range(2**32, 2**32 + 8000))),
        KeyEntry(1, b"", b""),
        ClockEntry(1, "set", None, "c"),
        ClockEntry(1, "stepped", None, "c"),
        ClockEntry(1, "trusted", 1, "c"),
        ClockEntry(1, "stepped", -1, "c"),
        ClockEntry(1, "trusted", None, "c" * 1025),
        RejectionsEntry(-1, 0, 0, {}, ()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_not_be_read_is_not_written(value):
    with pytest.raises(EntryError):
        entry.encode_entry(value)


def test_an_entry_that_no_bundle_can_hold_is_not_looked_at():
    with pytest.raises(EntryError, match="65535"):
        entry.parse_entry(bytes(65_536))


def test_another_spelling_of_the_same_values_is_refused():
    encoded = entry.message_entry(SAMPLE)
    assert encoded[0] == 0x8B
    head_of_format = encoded.index(b"\x71securenet")
    longer = encoded[:head_of_format] + b"\x78\x11" + encoded[head_of_format + 1 :]
    with pytest.raises(EntryError, match="deterministic"):
        entry.parse_entry(longer)
    indefinite = b"\x9f" + encoded[1:] + b"\xff"
    with pytest.raises(EntryError, match="deterministic"):
        entry.parse_entry(indefinite)
