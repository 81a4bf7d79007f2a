import math

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import cbor

# RFC 8949 appendix A: those of our types whose form there is the deterministic one with float64.
APPENDIX_A = {
    "00": 0,
    "17": 23,
    "1818": 24,
    "1864": 100,
    "1903e8": 1000,
    "1a000f4240": 1000000,
    "1b000000e8d4a51000": 1000000000000,
    "1bffffffffffffffff": 18446744073709551615,
    "3bffffffffffffffff": -18446744073709551616,
    "20": -1,
    "29": -10,
    "3863": -100,
    "3903e7": -1000,
    "fb3ff199999999999a": 1.1,
    "fb7e37e43c8800759c": 1.0e300,
    "fbc010666666666666": -4.1,
    "f4": False,
    "f5": True,
    "f6": None,
    "40": b"",
    "4401020304": b"\x01\x02\x03\x04",
    "60": "",
    "6449455446": "IETF",
    "62225c": '"\\',
    "62c3bc": "ü",
    "63e6b0b4": "水",
    "64f0908591": "𐅑",
    "80": [],
    "83010203": [1, 2, 3],
    "8301820203820405": [1, [2, 3], [4, 5]],
    "98190102030405060708090a0b0c0d0e0f101112131415161718181819": list(range(1, 26)),
    "a0": {},
    "a201020304": {1: 2, 3: 4},
    "a26161016162820203": {"a": 1, "b": [2, 3]},
}
# Likewise those that are well-formed and not deterministic here.
LAX = {
    "f90000": 0.0,
    "f93c00": 1.0,
    "f97bff": 65504.0,
    "fa47c35000": 100000.0,
    "f90001": 5.960464477539063e-8,
    "f97c00": math.inf,
    "f9fc00": -math.inf,
    "fa7f800000": math.inf,
    "fb7ff0000000000000": math.inf,
    "1817": 23,
    "1900ff": 255,
    "1b0000000000000000": 0,
    "5801ff": b"\xff",
    "79000161": "a",
    "5f42010243030405ff": b"\x01\x02\x03\x04\x05",
    "7f657374726561646d696e67ff": "streaming",
    "9fff": [],
    "9f018202039f0405ffff": [1, [2, 3], [4, 5]],
    "83018202039f0405ff": [1, [2, 3], [4, 5]],
    "bf61610161629f0203ffff": {"a": 1, "b": [2, 3]},
    "a203040102": {3: 4, 1: 2},
    "9800": [],
    "b800": {},
}
REFUSED = {
    "nothing": "",
    "a byte too many": "0000",
    "a tag": "c074323031332d30332d32315432303a30343a30305a",
    "a bignum": "c249010000000000000000",
    "undefined": "f7",
    "simple value 16": "f0",
    "simple value 255": "f8ff",
    "false in two bytes": "f814",
    "reserved length": "1c",
    "reserved length of a string": "5d",
    "break alone": "ff",
    "integer of indefinite length": "1f",
    "negative of indefinite length": "3f",
    "tag of indefinite length": "df00",
    "break in an array": "81ff",
    "break as a value": "bf01ff",
    "duplicate key": "a201020103",
    "duplicate key, other length": "a20102180103",
    "float key": "a1f93c0001",
    "true as key": "a1f501",
    "null as key": "a1f601",
    "array as key": "a18001",
    "text not UTF-8": "61ff",
    "text with a surrogate": "63eda080",
    "text split within a character": "7f61c361bcff",
    "chunk of another type": "5f6161ff",
    "chunk of indefinite length": "5f5f4101ffff",
    "chunk that is an integer": "5f01ff",
    "array cut": "8301",
    "map cut": "a101",
    "string cut": "4401",
    "argument cut": "1901",
    "float cut": "fb3ff199",
    "string of 2^64 - 1": "5bffffffffffffffff",
    "array of 2^64 - 1": "9bffffffffffffffff",
    "map of 2^64 - 1": "bbffffffffffffffff00",
    "array without its break": "9f01",
    "string without its break": "5f4101",
    "map without its break": "bf0102",
}


def lax(data):
    return cbor.decode(data, max_depth=8, deterministic=False)


@pytest.mark.parametrize("written", APPENDIX_A)
def test_rfc_8949_appendix_a_both_ways(written):
    value = APPENDIX_A[written]
    data = bytes.fromhex(written)
    assert cbor.encode(value) == data
    assert repr(cbor.decode(data, max_depth=8)) == repr(lax(data)) == repr(value)


@pytest.mark.parametrize("written", LAX)
def test_another_form_is_read_only_when_asked_for(written):
    data = bytes.fromhex(written)
    assert repr(lax(data)) == repr(LAX[written])
    with pytest.raises(cbor.CborError):
        cbor.decode(data, max_depth=8)


@pytest.mark.parametrize("name", REFUSED)
def test_neither_form_takes(name):
    data = bytes.fromhex(REFUSED[name])
    for deterministic in (True, False):
        with pytest.raises(cbor.CborError):
            cbor.decode(data, max_depth=8, deterministic=deterministic)


def test_nan_is_read_only_when_asked_for():
    assert math.isnan(lax(bytes.fromhex("f97e00")))
    with pytest.raises(cbor.CborError, match="finite"):
        cbor.decode(bytes.fromhex("fb7ff8000000000000"), max_depth=8)


@pytest.mark.parametrize("opening", ["81", "9f", "a100", "bf00"])
def test_depth_counts_containers_from_one(opening):
    closing = "ff" if opening in ("9f", "bf00") else ""
    assert lax(bytes.fromhex(opening * 8 + "00" + closing * 8)) is not None
    for depth in (9, 30000):
        with pytest.raises(cbor.CborError, match="deep"):
            lax(bytes.fromhex(opening * depth + "00" + closing * depth))
    assert cbor.decode(b"\x00", max_depth=0) == 0
    with pytest.raises(cbor.CborError, match="deep"):
        cbor.decode(b"\x80", max_depth=0)


def test_a_depth_beyond_the_bound_is_our_fault():
    with pytest.raises(ValueError, match="max_depth"):
        cbor.decode(b"\x00", max_depth=cbor.MAX_DEPTH + 1)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        2**64,
        -(2**64) - 1,
        "\ud800",
        {True: 1},
        {None: 1},
        {1.0: 1},
        {(1,): 1},
        {1, 2},
        object(),
        bytearray(b"x"),
        [object()],
    ],
    ids=ascii,
)
def test_there_is_no_deterministic_form_of(value):
    with pytest.raises(cbor.CborError):
        cbor.encode(value)


def test_what_nests_for_ever_is_refused():
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(cbor.CborError, match="deep"):
        cbor.encode(loop)


KEYS = st.integers(-(2**64), 2**64 - 1) | st.text(max_size=30) | st.binary(max_size=30)
SCALARS = KEYS | st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))


@given(VALUES)
def test_what_is_written_is_read_back_and_cbor2_agrees(value):
    data = cbor.encode(value)
    assert repr(cbor2.loads(data)) == repr(cbor.decode(data, max_depth=64))
    assert cbor.decode(data, max_depth=64) == value
    assert cbor.encode(cbor.decode(data, max_depth=64, deterministic=False)) == data


@given(VALUES)
def test_what_cbor2_writes_is_read(value):
    assert cbor.decode(cbor2.dumps(value), max_depth=64, deterministic=False) == value


@given(st.binary(max_size=60))
def test_noise_is_read_or_refused_and_what_is_read_has_one_deterministic_form(data):
    try:
        value = cbor.decode(data, max_depth=8)
    except cbor.CborError:
        return
    assert cbor.encode(value) == data


def test_keys_are_sorted_by_their_encodings():
    value = {b"": 0, "": 0, -1: 0, 1000: 0, 10: 0, "b": 0, "aa": 0, -200: 0}
    assert list(cbor.decode(cbor.encode(value), max_depth=1)) == [10, 1000, -1, -200, b"", "", "b", "aa"]
