"""Depth is counted before the parser sees a text, whatever the interpreter's recursion limit is."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.jsontext import is_shallow

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=40,
)


def depth_of(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max((depth_of(item) for item in inner), default=0)


@given(JSON, st.integers(0, 8), st.booleans())
def test_it_counts_what_the_parser_would_nest(value, limit, ascii_only):
    assert is_shallow(json.dumps(value, ensure_ascii=ascii_only), limit) is (depth_of(value) <= limit)


@given(st.text(alphabet='[]{}"\\a,: \n', max_size=200), st.integers(0, 8))
def test_any_text_gets_an_answer_and_brackets_in_strings_do_not_count(text, limit):
    assert is_shallow(text, limit) in {True, False}
    assert is_shallow(json.dumps(text), 0)


def test_an_unterminated_string_hides_nothing_that_the_parser_would_reach():
    assert is_shallow('"' + "[" * 100_000)
    assert not is_shallow("[" * 65)


DEEP = """
import sys
sys.setrecursionlimit(1_000_000)
from gateway.envelope.decoding import decode
from gateway.envelope.readings import readings
from gateway.registry.line import LineRefused, parse_line
from gateway.tlog.proof import ProofError, parse
deep = b"[" * 60_000
print(decode(b'{"payload":' + deep, None, max_bytes=1 << 20).reason)
print(type(readings(50, deep)).__name__)
for parser, refusal in ((parse_line, LineRefused), (parse, ProofError)):
    try:
        parser(deep[:4000] if parser is parse_line else deep)
    except refusal:
        print("refused")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the gateway runs on Linux")
def test_a_raised_recursion_limit_does_not_turn_brackets_into_a_crash():
    done = subprocess.run([sys.executable, "-c", DEEP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["malformed", "NotScorable", "refused", "refused"]
