"""How far a publication came: the file comes back as it was written, and never stands in for another one."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vault_kit import cid_of

from gateway.vault.manifest import Ciphertext
from gateway.vault.publisher_state import State, StateFile, about_of
from gateway.vault.publisher_words import PublishRefusal, PublishRefused

ABOUT = about_of("pump", 3, b"key")
TIMES = st.integers(1, 2**53)
CIDS = st.binary(max_size=8).map(cid_of)
CIPHERTEXTS = st.builds(Ciphertext, CIDS, TIMES, st.binary(min_size=32, max_size=32))


@st.composite
def states(draw):
    steps = [CIPHERTEXTS, st.binary(max_size=200), CIDS, st.binary(min_size=32, max_size=32)]
    done = draw(st.integers(0, 4))
    made = [draw(step) for step in steps[:done]] + [None] * (4 - done)
    return State(ABOUT, draw(st.binary(min_size=24, max_size=24)), draw(TIMES), draw(TIMES), *made)


@settings(max_examples=50, deadline=None)
@given(states())
def test_a_state_comes_back_as_it_was_written(tmp_path_factory, state):
    file = StateFile(tmp_path_factory.mktemp("state") / "m.publication")
    assert file.load(ABOUT) is None
    file.save(state)
    assert file.load(ABOUT) == state


def test_two_runs_at_the_same_time_leave_a_whole_state_of_one_of_them(tmp_path):
    file, state = StateFile(tmp_path / "m.publication"), State(ABOUT, b"s" * 24, 1, 2)
    ended = state._replace(ciphertext=Ciphertext(cid_of(b""), 7, bytes(32)), envelope=bytes(100_000))

    def saved(mine):
        for _ in range(60):
            file.save(mine)
            assert file.load(ABOUT) in {state, ended}

    with ThreadPoolExecutor(2) as runs:
        assert list(runs.map(saved, (state, ended))) == [None, None]
    assert [path.name for path in tmp_path.iterdir()] == ["m.publication"]


def test_the_state_of_another_publication_is_refused_and_left_alone(tmp_path):
    file = StateFile(tmp_path / "m.publication")
    file.save(State(ABOUT, b"s" * 24, 1, 2))
    before = file.path.read_bytes()
    with pytest.raises(PublishRefused) as refused:
        file.load(about_of("pump", 4, b"key"))
    assert refused.value.reason is PublishRefusal.STATE_FILE
    assert str(file.path) in refused.value.problem
    assert file.path.read_bytes() == before


def test_facts_do_not_run_into_each_other():
    assert len({about_of("ab", "c"), about_of("a", "bc"), about_of("abc"), about_of("a", "b", "c")}) == 4


def outcome_of(file):
    try:
        return type(file.load(ABOUT))
    except PublishRefused as refused:
        return refused.reason


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_state_is_refused_or_reads_as_a_state(tmp_path_factory, data):
    file = StateFile(tmp_path_factory.mktemp("state") / "m.publication")
    file.save(data.draw(states()))
    damaged = bytearray(file.path.read_bytes())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    file.path.write_bytes(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    assert outcome_of(file) in (State, PublishRefusal.STATE_FILE)


def test_a_step_without_the_one_before_it_is_refused(tmp_path):
    file = StateFile(tmp_path / "m.publication")
    file.save(State(ABOUT, b"s" * 24, 1, 2, manifest_cid=cid_of(b"x")))
    with pytest.raises(PublishRefused):
        file.load(ABOUT)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(PublishRefused) as refused:
        StateFile(tmp_path / "away" / "m.publication").save(State(ABOUT, b"s" * 24, 1, 2))
    assert "--state" in refused.value.hint
