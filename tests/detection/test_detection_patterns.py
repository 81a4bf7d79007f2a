"""Payloads that are recognised give what the plain reader gives, whatever came before."""

import json
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.detection.features import own_names
from gateway.envelope.readings import Readings, readings
from gateway.envelope.readings_patterns import PATTERN_BYTES, Patterns

ISSUED_AT = 1.7e9
IDS = st.sampled_from(["pump-1", "pump-2", "a", "b", "n", "v", "7", ".x", "-", "bn", "p:q", "x" * 64, "A.-_:9"])


def plain(device_id, content_format, payload, issued_at=ISSUED_AT):
    found = readings(content_format, payload, issued_at=issued_at)
    return own_names(found, device_id) if isinstance(found, Readings) else None


def bits(found):
    """Numbers as their bytes, so that a negative zero is one; the order of names counts as well."""
    if found is None:
        return None
    return (
        [(name, struct.pack("d", value)) for name, value in found.scalars.items()],
        dict(found.tensors),
        list(found.texts.items()),
    )


def agrees(patterns, device_id, content_format, payload, issued_at=ISSUED_AT):
    """Whether it was recognised; if it was, rightly."""
    recognised = patterns.read(device_id, content_format, payload, issued_at)
    if recognised is None:
        return False
    found = recognised.pattern.readings(recognised.values)
    assert bits(found) == bits(plain(device_id, content_format, payload, issued_at)), payload
    return True


NUMBERS = st.sampled_from(
    ["0", "-0", "-0.0", "1", "21.5", "1e3", "1E-7", "-3.25e+2", "1e308", "1.7e308", "-1e308", "1e999", "01", "1.",
     ".5", "+1", "NaN", "Infinity", "true", "null", '"x"', "[1]", "[1,2.5]", '{"v":1}', "7000001", "268435456",
     "1700000000", "12345678901234567890", "1_0", "1 ", " 1", "\t1"]
)  # fmt: skip
LABELS = st.sampled_from(
    [
        "n",
        "v",
        "v",
        "v",
        "vs",
        "t",
        "bt",
        "bn",
        "bv",
        "u",
        "vb",
        "vd",
        "s",
        "ut",
        "bver",
        "x",
        "x_",
        "e\\u0076",
        "\\n",
    ]
)
TEXTS = st.sampled_from(["temp", "hum", "", "a b", "\x00", "x" * 190, "x" * 250, 'q\\"v\\":1,', "v", "a,b", '":1,'])
COLONS = st.sampled_from([":", ": ", " :", ":  "])


@st.composite
def packs(draw, device_id):
    """Text that is SenML mostly, with all that could lead the reader astray."""
    records = []
    for _ in range(draw(st.integers(1, 3))):
        members = []
        for label in draw(st.lists(LABELS, min_size=1, max_size=4)):
            if label in {"bn", "n", "vs", "u"} and draw(st.integers(0, 9)):
                names = (
                    TEXTS | st.just(device_id) | st.sampled_from([f"{device_id}:", f"{device_id}/t", f"x{device_id}"])
                )
                value = json.dumps(draw(names)) if draw(st.booleans()) else f'"{draw(names)}"'
            else:
                value = draw(NUMBERS)
            members.append(f'"{label}"{draw(COLONS)}{value}')
        records.append("{" + ",".join(members) + "}")
    return "[" + ",".join(records) + "]"


@st.composite
def changed(draw, text):
    """The same text with another number in it."""
    for number in ("21.5", "1", "0"):
        if f":{number}" in text:
            return text.replace(f":{number}", f":{draw(NUMBERS)}", 1)
    return text


@settings(max_examples=600)
@given(st.data(), IDS, IDS)
def test_any_senml_is_read_as_the_plain_reader_reads_it(data, first, second):
    patterns = Patterns()
    text = data.draw(packs(first))
    for _ in range(3):
        agrees(patterns, first, 110, text.encode())
    for _ in range(3):
        device = data.draw(st.sampled_from([first, second]))
        other = data.draw(changed(text)).replace(first, device) if data.draw(st.booleans()) else text
        agrees(patterns, device, 110, other.encode())


@settings(max_examples=300)
@given(st.data(), IDS)
def test_any_json_is_read_as_the_plain_reader_reads_it(data, device):
    patterns = Patterns()
    names = st.sampled_from(["a", "b", "a.b", device, f"{device}:t", "\\n", "é", '":1,'])
    leaf = st.builds('"{}"{}{}'.format, names, COLONS, NUMBERS)
    inner = st.builds('"{}":{{{}}}'.format, names, st.lists(leaf, max_size=2).map(",".join))
    text = "{" + ",".join(data.draw(st.lists(leaf | inner, min_size=1, max_size=4))) + "}"
    for _ in range(3):
        agrees(patterns, device, 50, text.encode())
    agrees(patterns, device, 50, data.draw(changed(text)).encode())


def pack(device, temp=21.5, **more):
    return json.dumps([{"bn": f"{device}:", "n": "temp", "v": temp, **more}, {"n": "hum", "v": 45}]).encode()


def test_a_pattern_is_recognised_from_the_third_time_on_and_for_every_device():
    patterns = Patterns()
    assert [agrees(patterns, "pump-1", 110, pack("pump-1", 20 + n)) for n in range(4)] == [False, True, True, True]
    assert agrees(patterns, "a-much-longer-id:7", 110, pack("a-much-longer-id:7", -1e-3))
    assert agrees(patterns, "n", 110, pack("n"))
    assert len(patterns) == 1


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_both_ways_of_writing_json_and_both_formats_are_recognised(separators):
    patterns = Patterns()
    for content_format, what in (
        (
            110,
            [
                {"bn": "d:", "bt": 1.7e9, "n": "t", "u": "Cel", "v": 1},
                {"n": "m", "vs": "eco"},
                {"n": "h", "t": -1, "v": 2},
            ],
        ),
        (110, [{"n": "t", "v": 1.5}]),
        (50, {"t": 1, "in": {"h": -2.5e-3}}),
    ):
        payload = json.dumps(what, separators=separators).encode()
        assert [agrees(patterns, "d", content_format, payload) for _ in range(3)][-1], payload


HIDDEN = [
    (
        '[{"n":"a","x":{"v":1},"vb":true},{"n":"b","v" : 2}]',
        "a number of an unknown member, and one written otherwise",
    ),
    ('[{"n":"a","v" : 7000001},{"n":"b","x":{"v":1},"vb":true}]', "a number that looks like a mark"),
    ('[{"n":"a","v":1,"t":5},{"n":"a","v":2,"t":6}]', "two values of one name"),
    ('[{"bn":"d","bv":1,"n":"a","v":1}]', "a base value"),
    ('[{"bn":"d:","n":"t","v":1},{"bn":"d:","n":"u","v":1}]', "a second base name"),
    ('[{"bn":"d:","n":"t","v":1},{"bn":"","n":"t","v":1}]', "two names that would become one"),
    ('[{"n":"q\\"v","v":1}]', "a quotation mark in a name"),
    ('[{"bn":"d","v":1}]', "a name that is the device's"),
    ('[{"bver":10,"n":"a","v":1}]', "a version"),
    ('[{"n":"a","v":1,"s":3}]', "a sum"),
]


@pytest.mark.parametrize(("text", "why"), HIDDEN, ids=[why for _, why in HIDDEN])
def test_what_is_not_certain_is_left_to_the_plain_reader(text, why):
    patterns = Patterns()
    assert not any(agrees(patterns, "d", 110, text.encode()) for _ in range(3)), why


@example("-0.0", 0.0)
@example("1e308", 0.0)
@given(NUMBERS, st.floats(0, 2.0**53, exclude_max=True))
def test_a_number_that_is_none_is_no_reading_of_a_known_pattern_either(number, issued_at):
    patterns = Patterns()
    text = '[{"bn":"d:","bt":%s,"n":"a","v":%s},{"n":"b","t":2,"v":1}]'
    for _ in range(2):
        patterns.read("d", 110, (text % (1, 1)).encode(), issued_at)
    for place in ((number, "1"), ("1", number), (number, number)):
        agrees(patterns, "d", 110, (text % place).encode(), issued_at)


def test_what_never_repeats_is_bounded_and_long_payloads_are_not_looked_at():
    patterns = Patterns(8)
    for n in range(200):
        for _ in range(3):
            patterns.read("d", 110, json.dumps([{"n": f"r{n}", "v": 1}]).encode(), 0.0)
        assert len(patterns) <= 8
    long = json.dumps([{"n": f"r{n}", "v": n} for n in range(99)]).encode()
    assert len(long) > PATTERN_BYTES
    assert not any(agrees(patterns, "d", 110, long) for _ in range(4))


def test_other_formats_are_left_to_the_plain_reader():
    patterns = Patterns()
    assert not any(patterns.read("d", kind, b'[{"n":"a","v":1}]', 0.0) for kind in (42, 60, 112) for _ in range(3))
