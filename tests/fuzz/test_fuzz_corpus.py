"""Every seed of every fuzz target runs through it, without the fuzzer; so does a mutation of each."""

from pathlib import Path

import pytest
from fuzz_targets import MAX_BYTES, TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.envelope.decoding import decode
from gateway.message import Envelope, Rejected

CORPUS = Path(__file__).parent / "corpus"
SEEDS = {path.relative_to(CORPUS).as_posix(): path for path in sorted(CORPUS.glob("*/*")) if path.is_file()}


def test_every_target_has_seeds_and_every_folder_a_target():
    assert {name.partition("/")[0] for name in SEEDS} == set(TARGETS)
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)


@pytest.mark.parametrize("name", SEEDS)
def test_the_seed_runs_through_its_target(name):
    TARGETS[name.partition("/")[0]](SEEDS[name].read_bytes())


@pytest.mark.parametrize("target", ["cose", "jws"])
def test_the_seeds_reach_both_ends_of_the_decoder(target):
    verdicts = {type(decode(path.read_bytes(), None, max_bytes=MAX_BYTES)) for path in (CORPUS / target).iterdir()}
    assert verdicts == {Envelope, Rejected}


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=60)
@given(st.data())
def test_an_edited_seed_runs_through_its_target(target, data):
    seed = data.draw(st.sampled_from(sorted((CORPUS / target).iterdir()))).read_bytes()
    at = data.draw(st.integers(0, len(seed)))
    TARGETS[target](seed[:at] + data.draw(st.binary(max_size=4)) + seed[at + data.draw(st.integers(0, 4)) :])
