"""The pool of the development chain: what waits, what comes next, whatever is sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.chain.devchain_pool import Account, Pool, PoolRefusal, Waiting

ALICE, BOB = b"a" * 20, b"b" * 20
RICH = Account(0, 10**30)


def waiting(sender=ALICE, nonce=0, fee=100, tip=10, gas=21_000, value=0, mark=0):
    name = f"{sender!r}{nonce}{fee}{tip}{gas}{value}{mark}".encode()
    return Waiting(name, sender, nonce, gas, value, fee, tip, None)


def fill(*entries, limit=100, per_sender=100):
    pool = Pool(limit, per_sender)
    for entry in entries:
        pool.add(entry, RICH)
    return pool


def test_the_best_tip_goes_first_and_nonces_stay_in_order():
    cheap, dear, dearest = waiting(nonce=0, tip=1), waiting(BOB, tip=5), waiting(nonce=1, tip=9)
    assert fill(cheap, dear, dearest).choose(lambda _: 0, 50, 10**6) == [dear, cheap, dearest]


def test_a_tip_counts_as_far_as_the_fee_leaves_room_for_it():
    capped, plain = waiting(fee=55, tip=50), waiting(BOB, fee=100, tip=10)
    assert fill(capped, plain).choose(lambda _: 0, 50, 10**6) == [plain, capped]


def test_a_block_is_filled_and_no_more():
    big, small = waiting(gas=90, tip=9), waiting(BOB, gas=20, tip=1)
    assert fill(big, small).choose(lambda _: 0, 1, 100) == [big]
    assert fill(big, small).choose(lambda _: 0, 1, 89) == [small]


def test_what_bids_too_little_or_comes_too_early_waits():
    pool = fill(waiting(fee=49), waiting(BOB, nonce=1))
    assert pool.choose(lambda _: 0, 50, 10**6) == []
    assert [pool.next_nonce(sender, 0) for sender in (ALICE, BOB)] == [1, 0]


@pytest.mark.parametrize(
    ("fee", "tip", "taken"),
    [(110, 11, True), (109, 11, False), (110, 10, False), (200, 10, False), (100, 20, False), (1000, 100, True)],
)
def test_a_replacement_bids_a_tenth_more_in_both_fees(fee, tip, taken):
    pool, former, later = fill(waiting()), waiting(), waiting(fee=fee, tip=tip)
    if taken:
        pool.add(later, RICH)
    else:
        with pytest.raises(PoolRefusal, match=r"^replacement transaction underpriced$"):
            pool.add(later, RICH)
    assert pool.all() == ((later,) if taken else (former,))


def test_a_fee_of_nothing_is_not_replaced_by_the_same_nothing():
    pool = fill(waiting(fee=5, tip=0))
    with pytest.raises(PoolRefusal, match="underpriced"):
        pool.add(waiting(fee=9, tip=0), RICH)


def test_money_is_counted_over_all_that_waits():
    one = waiting(gas=10, fee=10)
    pool = Pool()
    pool.add(one, Account(0, 150))
    with pytest.raises(PoolRefusal, match="balance 150, queued cost 100, tx cost 100, overshot 50"):
        pool.add(waiting(nonce=1, gas=10, fee=10), Account(0, 150))
    pool.add(waiting(gas=10, fee=15, tip=15), Account(0, 150))


def test_limits_hold_for_one_sender_and_for_all():
    pool = fill(waiting(nonce=0), waiting(nonce=1), limit=3, per_sender=2)
    with pytest.raises(PoolRefusal, match=r"^account limit exceeded$"):
        pool.add(waiting(nonce=2), RICH)
    pool.add(waiting(BOB), RICH)
    with pytest.raises(PoolRefusal, match=r"^txpool is full$"):
        pool.add(waiting(BOB, nonce=1), RICH)


@given(
    st.lists(st.builds(waiting, st.sampled_from([ALICE, BOB]), st.integers(0, 5), st.integers(40, 60)), max_size=12)
)
def test_a_snapshot_of_the_pool_is_the_pool(entries):
    pool, other = Pool(), fill(waiting(nonce=99))
    for entry in entries:
        try:
            pool.add(entry, RICH)
        except PoolRefusal:
            pass
    other.restore(pool.all())
    assert other.all() == pool.all()
    assert other.choose(lambda _: 0, 50, 10**6) == pool.choose(lambda _: 0, 50, 10**6)


class PoolMachine(RuleBasedStateMachine):
    """Two senders, a chain of nonces each, and blocks that take what the pool chooses."""

    def __init__(self):
        super().__init__()
        self.pool = Pool(limit=6, limit_per_sender=4)
        self.nonces = {ALICE: 0, BOB: 0}

    @rule(
        sender=st.sampled_from([ALICE, BOB]),
        ahead=st.integers(-1, 4),
        fee=st.integers(1, 200),
        tip=st.integers(0, 50),
    )
    def send(self, sender, ahead, fee, tip):
        entry = waiting(sender, max(0, self.nonces[sender] + ahead), fee, tip, gas=10)
        before = self.pool.all()
        try:
            self.pool.add(entry, Account(self.nonces[sender], 5_000))
        except PoolRefusal:
            assert self.pool.all() == before
        else:
            assert self.pool.get(entry.hash) is entry

    @rule(base_fee=st.integers(0, 200), gas_limit=st.integers(0, 50))
    def mine(self, base_fee, gas_limit):
        chosen = self.pool.choose(self.nonces.__getitem__, base_fee, gas_limit)
        assert sum(entry.gas for entry in chosen) <= gas_limit
        for entry in chosen:
            assert entry.nonce == self.nonces[entry.sender]
            assert entry.max_fee >= base_fee
            self.nonces[entry.sender] += 1
        self.pool.forget_mined(self.nonces.__getitem__)
        assert not {entry.hash for entry in chosen} & {entry.hash for entry in self.pool.all()}

    @rule(sender=st.sampled_from([ALICE, BOB]))
    def another_node_mined(self, sender):
        self.nonces[sender] += 1
        self.pool.forget_mined(self.nonces.__getitem__)

    @rule(data=st.data())
    def discard(self, data):
        if self.pool.all():
            entry = data.draw(st.sampled_from(self.pool.all()))
            self.pool.discard(entry)
            self.pool.discard(entry)

    @invariant()
    def stays_in_its_limits(self):
        entries = self.pool.all()
        assert len(entries) == len(self.pool) <= 6
        assert len({(entry.sender, entry.nonce) for entry in entries}) == len(entries)
        assert all(entry.nonce >= self.nonces[entry.sender] for entry in entries)
        for sender in self.nonces:
            assert sum(entry.cost for entry in entries if entry.sender == sender) <= 5_000


TestPoolMachine = PoolMachine.TestCase
