from collections import deque
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.ops.bytebudget import HOUR_S, NOTICES_BYTES, ByteBudget

BUDGET = 64 << 10
STEPS = st.lists(
    st.tuples(st.floats(0, 4000), st.integers(1, 20_000), st.booleans()),
    max_size=200,
)


@given(STEPS)
def test_no_hour_has_more_bytes_than_its_budget_less_what_notices_need(steps):
    budget, now, within = ByteBudget(BUDGET, 0), 0.0, deque()
    for wait, size, is_error in steps:
        now += wait
        if budget.spend(size, now, is_error=is_error):
            within.append((now, size))
        while within and within[0][0] <= now - HOUR_S:
            within.popleft()
        assert sum(size for _at, size in within) <= BUDGET - NOTICES_BYTES + 1


@given(STEPS)
def test_every_event_is_written_or_told_as_withheld(steps):
    budget, now, written, told = ByteBudget(BUDGET, 0), 0.0, 0, [0, 0, 0]
    withheld = []
    for wait, size, is_error in steps:
        now += wait
        if budget.spend(size, now, is_error=is_error):
            written += 1
        else:
            withheld.append((size, is_error))
        if (notice := budget.notice(now)) is not None:
            told = [count + more for count, more in zip(told, notice[1:], strict=True)]
    if (notice := budget.notice(now, at_the_end=True)) is not None:
        told = [count + more for count, more in zip(told, notice[1:], strict=True)]
    assert written + len(withheld) == len(steps)
    assert budget.withheld == len(withheld)
    assert told == [len(withheld), sum(size for size, _error in withheld), sum(error for _size, error in withheld)]


@given(STEPS)
def test_notices_take_no_more_than_is_set_apart_for_them(steps):
    budget, now, told = ByteBudget(BUDGET, 0), 0.0, deque()
    for wait, size, is_error in steps:
        now += wait
        budget.spend(size, now, is_error=is_error)
        if budget.notice(now) is not None:
            told.append(now)
        while told and told[0] <= now - HOUR_S:
            told.popleft()
        assert len(told) * 400 <= NOTICES_BYTES


def test_errors_have_a_share_that_nothing_else_uses():
    budget = ByteBudget(BUDGET, 0)
    while budget.spend(200, 0, is_error=False):
        pass
    assert not budget.spend(200, 0, is_error=False)
    errors = 0
    while budget.spend(200, 0, is_error=True):
        errors += 1
    assert errors * 200 > (BUDGET - NOTICES_BYTES) / 2 / 4 - 400


def test_it_is_told_at_once_then_hourly_and_when_there_is_room_again():
    budget = ByteBudget(BUDGET, 0)
    told = []
    for second in range(0, 3 * 3600, 10):
        for _each in range(100):
            budget.spend(300, second, is_error=False)
        if (notice := budget.notice(second)) is not None:
            told.append((second, notice.is_over))
    assert told[0][1] is True
    assert [over for _at, over in told] == [True] * 3
    assert [later - before for (before, _), (later, _) in pairwise(told)] == [3600, 3600]
    now, told = 3 * 3600.0, []
    while (due := budget.due_s(now)) is not None:
        assert due < 1 or budget.notice(now + due - 1) is None
        now += due + 0.001
        told.append(budget.notice(now))
    assert [notice.is_over for notice in told] == [True, False]
    assert [notice.withheld > 0 for notice in told] == [True, False]


def test_another_budget_holds_from_then_on_and_what_was_spent_stays_spent():
    budget = ByteBudget(BUDGET, 0)
    while budget.spend(200, 0, is_error=True):
        pass
    budget.change(2 * BUDGET)
    assert budget.spend(20_000, 0, is_error=True)
    budget.change(BUDGET)
    assert not budget.spend(200, 0, is_error=True)


def test_a_clock_that_goes_back_gives_nothing():
    budget = ByteBudget(BUDGET, 1000)
    while budget.spend(200, 1000, is_error=True):
        pass
    assert not budget.spend(200, 10, is_error=True)
    assert not budget.spend(200, 1000, is_error=True)
