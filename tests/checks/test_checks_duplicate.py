"""The replay window against a model that remembers everything."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.checks.duplicate import (
    SESSIONS,
    WINDOW,
    ReplayWindow,
    Standing,
    verify_age,
    verify_not_duplicate,
)
from gateway.message import RejectReason

A, B = b"A" * 8, b"B" * 8


def accepted(*numbers, session=A, iat=100.0):
    window = ReplayWindow()
    for number in numbers:
        window.accept(session, number, iat)
    return window


def test_a_session_starts_anywhere_and_any_jump_forward_is_fresh():
    window = accepted(2**62)
    assert window.standing(A, 2**63 - 1, 100.0) is Standing.FRESH
    assert window.standing(B, 0, 100.0) is Standing.FRESH


def test_a_number_that_was_accepted_is_seen():
    window = accepted(5, 7)
    assert window.standing(A, 5, 100.0) is Standing.SEEN
    assert window.standing(A, 7, 100.0) is Standing.SEEN
    assert window.standing(A, 6, 100.0) is Standing.FRESH


@pytest.mark.parametrize(
    ("below", "standing"),
    [(WINDOW - 1, Standing.FRESH), (WINDOW, Standing.FRESH), (WINDOW + 1, Standing.OUT_OF_WINDOW)],
)
def test_the_window_reaches_1024_numbers_below_the_highest(below, standing):
    assert accepted(5000).standing(A, 5000 - below, 100.0) is standing


def test_the_ninth_session_evicts_the_first_accepted_one_and_its_age_stays():
    window = ReplayWindow()
    for number in range(SESSIONS + 1):
        window.accept(bytes([number]) * 8, 1, 100.0 + number)
    assert window.standing(bytes(8), 2, 100.0) is Standing.STALE_SESSION
    assert window.standing(b"new boot", 1, 100.0) is Standing.STALE_SESSION
    assert window.standing(b"new boot", 1, 100.1) is Standing.FRESH


def test_an_evicted_session_is_remembered_by_the_greatest_iat_it_ever_had():
    window = accepted(1, iat=500.0)
    window.accept(A, 2, 50.0)
    for number in range(SESSIONS):
        window.accept(bytes([number]) * 8, 1, 10.0)
    assert window.standing(b"new boot", 1, 500.0) is Standing.STALE_SESSION


def test_only_a_fresh_message_can_be_accepted():
    window = accepted(5)
    with pytest.raises(ValueError, match="fresh"):
        window.accept(A, 5, 100.0)


@given(st.binary(max_size=400))
def test_reading_a_window_from_garbage_raises_nothing_but_value_error(data):
    try:
        ReplayWindow.from_bytes(data)
    except ValueError:
        pass


def test_a_window_cut_short_is_refused():
    data = accepted(1, 2, 900).to_bytes()
    for end in range(len(data)):
        with pytest.raises(ValueError, match="replay window"):
            ReplayWindow.from_bytes(data[:end])


class WindowMachine(RuleBasedStateMachine):
    """Accept what is fresh; the model knows every accepted message of every session."""

    def __init__(self):
        super().__init__()
        self.window = ReplayWindow()
        self.order = []
        self.seen = {}
        self.evicted = -1.0

    def expected(self, session, seq, iat):
        if session not in self.order:
            return Standing.STALE_SESSION if iat <= self.evicted else Standing.FRESH
        numbers = self.seen[session]
        if seq in numbers and seq >= max(numbers) - WINDOW:
            return Standing.SEEN
        return Standing.OUT_OF_WINDOW if seq < max(numbers) - WINDOW else Standing.FRESH

    @rule(
        session=st.integers(0, 11).map(lambda n: bytes([n]) * 8),
        seq=st.one_of(st.integers(0, 3000), st.integers(0, 2**63 - 1)),
        iat=st.floats(0, 2**40, allow_nan=False),
    )
    def message_comes(self, session, seq, iat):
        standing = self.window.standing(session, seq, iat)
        assert standing is self.expected(session, seq, iat)
        if standing is not Standing.FRESH:
            return
        self.window.accept(session, seq, iat)
        if session not in self.order:
            self.order.append(session)
            self.seen[session] = {}
            if len(self.order) > SESSIONS:
                gone = self.seen.pop(self.order.pop(0))
                self.evicted = max(self.evicted, *gone.values())
        self.seen[session][seq] = iat

    @rule()
    def process_restarts(self):
        self.window = ReplayWindow.from_bytes(self.window.to_bytes())

    @invariant()
    def the_window_stays_small(self):
        assert len(self.window.to_bytes()) <= 10 + SESSIONS * (25 + 129)


TestWindowMachine = WindowMachine.TestCase
TestWindowMachine.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@pytest.mark.parametrize("standing", list(Standing))
def test_the_same_digest_is_a_duplicate_and_another_one_a_reuse_wherever_it_stands(standing):
    assert verify_not_duplicate(standing, b"d", b"d").reason is RejectReason.DUPLICATE
    assert verify_not_duplicate(standing, b"d", b"e").reason is RejectReason.SEQUENCE_REUSED


@pytest.mark.parametrize(
    ("standing", "reason"),
    [
        (Standing.OUT_OF_WINDOW, RejectReason.OUT_OF_WINDOW),
        (Standing.STALE_SESSION, RejectReason.STALE_SESSION),
        (Standing.SEEN, RejectReason.OUT_OF_WINDOW),
    ],
)
def test_what_the_journal_does_not_hold_is_named_by_the_window(standing, reason):
    assert verify_not_duplicate(standing, b"d", None).reason is reason


def test_a_fresh_message_that_the_journal_does_not_hold_is_no_duplicate():
    assert verify_not_duplicate(Standing.FRESH, b"d", None) is None


@pytest.mark.parametrize(
    ("iat", "reason"),
    [
        (1000 - 60, None),
        (1000 - 60.5, RejectReason.TOO_OLD),
        (1000 + 5, None),
        (1000 + 5.5, RejectReason.IN_FUTURE),
        (0, RejectReason.TOO_OLD),
        (2**53 - 1, RejectReason.IN_FUTURE),
    ],
)
def test_the_age_window_includes_its_borders(iat, reason):
    rejected = verify_age(iat, 1000.0, max_age_s=60, max_ahead_s=5)
    assert (rejected and rejected.reason) is reason
