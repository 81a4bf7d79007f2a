"""The receiver's rules, held against their promises over histories that no publisher would make."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from vault_kit import PUBLISHER

from gateway.chain.model_events import ModelHistory, VersionOnChain
from gateway.vault.receiver_rules import (
    BACK_OFF_S,
    NEWEST,
    RULES,
    WAITED_FOR_S,
    WAITS,
    Act,
    Decision,
    Failure,
    Memory,
    Moment,
    Policy,
    Ran,
    Reason,
    Refusal,
    Standing,
    decide,
    failed_again,
    is_frozen,
    memory_of,
    remember_aside,
    remember_loaded,
    row_of,
)

GATEWAY = "gw-1"
POLICY = Policy(GATEWAY, 100)
NOW = Moment(1000.0, 50.0, 1000)
UNTIL = 5000


def digest(version, other=0):
    return bytes([version % 256, other]) * 16


def said(version, **changes):
    return VersionOnChain("cid", digest(version), UNTIL, PUBLISHER)._replace(**changes)


def history(*versions, floor=0, granted=True, **changes):
    named = {version: changes.get(f"v{version}", said(version)) for version in versions}
    return ModelHistory(bytes(20), floor, named, frozenset({GATEWAY} if granted else ()))


def ran(version):
    return Ran(version, digest(version))


def standing(running=None, memory=None, **failed):
    return Standing(running, memory or Memory(), failed)


RUNS_3 = standing(ran(3), Memory(3, ran(3), ran(2)))


def test_the_newest_version_is_loaded():
    assert decide(history(1, 2, 4), standing(), POLICY, NOW) == Decision(Act.LOAD, ran(4))


def test_what_runs_and_is_the_newest_is_kept():
    assert decide(history(2, 3), RUNS_3, POLICY, NOW) == Decision(Act.KEEP, ran(3))


def test_nothing_is_done_where_nothing_was_published():
    assert decide(history(), standing(), POLICY, NOW) == Decision(Act.KEEP)


def test_the_next_one_down_is_loaded_when_the_newest_may_not():
    found = decide(history(3, 4, 5, v5=said(5, revoked=True)), RUNS_3, POLICY, NOW)
    assert found == Decision(Act.LOAD, ran(4), Refusal(ran(5), Reason.REVOKED))


def test_a_long_history_is_not_tried_from_end_to_end():
    versions = range(1, 50)
    failed = {digest(version): Failure("manifest-signature", "", None) for version in versions}
    found = decide(history(*versions), Standing(None, Memory(), failed), POLICY, NOW)
    assert found == Decision(Act.KEEP, None, Refusal(ran(49), "manifest-signature"))
    spared = {key: value for key, value in failed.items() if key != digest(49 - NEWEST)}
    assert decide(history(*versions), Standing(None, Memory(), spared), POLICY, NOW) == found


def test_what_the_chain_does_not_mention_any_more_runs_on():
    assert decide(history(), RUNS_3, POLICY, NOW) == Decision(Act.KEEP, ran(3))


def test_a_failure_that_may_pass_is_tried_again_when_its_time_is_there():
    waits = Standing(None, Memory(), {digest(4): Failure("not-fetched", "away", 60.0)})
    assert decide(history(4), waits, POLICY, NOW).act is Act.KEEP
    assert decide(history(4), waits, POLICY, NOW._replace(monotonic_s=60.0)).act is Act.LOAD


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (history(4, v4=said(4, revoked=True)), Reason.REVOKED),
        (history(4, floor=5), Reason.BELOW_FLOOR),
        (history(4, granted=False), Reason.NOT_GRANTED),
        (history(4, v4=said(4, valid_until_s=1000)), Reason.EXPIRED),
        (history(2, v2=said(2, manifest_sha256=digest(2, 9))), Reason.ROLLBACK),
    ],
)
def test_a_version_is_refused_by_the_first_rule_that_it_breaks(found, reason):
    memory = Memory(3, ran(3), ran(2))
    assert decide(found, standing(None, memory), POLICY, NOW).refusal.reason is reason


def test_every_rule_has_its_own_reason():
    reasons = [reason for reason, _ in RULES]
    assert len(set(reasons)) == len(reasons)
    assert reasons[-1] is Reason.FROZEN


@given(st.integers(0, 10**10), st.integers(0, 10**10), st.integers(1, 10**7))
def test_a_head_is_frozen_exactly_when_it_is_older_than_allowed(now, final, limit):
    policy = POLICY._replace(freeze_after_s=limit)
    assert is_frozen(policy, Moment(now, 0, final)) == (final < now - limit)
    assert is_frozen(policy, Moment(now, 0, None))


def patience(reason):
    failure = None
    for _ in range(9):
        failure = failed_again(failure, reason, "", 0.0)
        yield failure.again_s


def test_patience_grows_to_an_hour_and_no_further():
    assert list(patience("smoke-test")) == [*BACK_OFF_S, 3600.0, 3600.0, 3600.0]
    assert failed_again(None, "manifest-digest", "", None).again_s is None


def test_what_is_only_away_is_asked_for_again_within_minutes():
    for reason in WAITS:
        assert list(patience(reason.value)) == [5.0, 15.0, 60.0, *[WAITED_FOR_S] * 6]


memories = st.lists(st.integers(1, 30), unique=True, min_size=2, max_size=10).map(
    lambda found: Memory(max(found), ran(sorted(found)[1]), ran(min(found)), tuple(map(ran, sorted(found)[2:])))
)


@given(memories)
def test_the_journal_gives_back_what_is_remembered(memory):
    assert memory_of(row_of("pump", memory)) == memory


@given(memories)
def test_a_good_version_that_is_put_aside_still_leaves_the_one_before_it(memory):
    bad = remember_aside(memory, memory.good)
    found = history(*(each.version for each in (memory.good, memory.before, *memory.aside)))
    for known in (bad, memory_of(row_of("pump", bad))):
        assert decide(found, standing(None, known), POLICY, NOW).ran == memory.before


class Gateways(RuleBasedStateMachine):
    """A publisher publishes, revokes, raises the floor; a gateway fails, restarts and forgets nothing."""

    @initialize()
    def begin(self):
        self.versions, self.floor, self.granted = {}, 0, True
        self.running, self.memory, self.failed = None, Memory(), {}
        self.now_s, self.final_s = 1000.0, 1000
        self.ever_ran, self.newest_ever = set(), 0

    @rule(step=st.integers(1, 3), lives_s=st.integers(1, 300))
    def publish(self, step, lives_s):
        version = max(self.versions, default=0) + step
        self.versions[version] = said(version, valid_until_s=int(self.now_s) + lives_s)

    @precondition(lambda self: self.versions)
    @rule(data=st.data())
    def revoke(self, data):
        version = data.draw(st.sampled_from(sorted(self.versions)))
        self.versions[version] = self.versions[version]._replace(revoked=True)

    @precondition(lambda self: self.versions)
    @rule(data=st.data())
    def raise_floor(self, data):
        self.floor = max(self.floor, data.draw(st.sampled_from(sorted(self.versions))))

    @precondition(lambda self: self.versions)
    @rule()
    def end_the_newest(self):
        newest = max(self.versions)
        self.versions[newest] = self.versions[newest]._replace(revoked=True)
        self.floor = newest

    @rule()
    def turn_grant(self):
        self.granted = not self.granted

    @rule(seconds=st.integers(1, 300), moves=st.booleans())
    def wait(self, seconds, moves):
        self.now_s += seconds
        if moves:
            self.final_s = int(self.now_s)

    @precondition(lambda self: self.running)
    @rule()
    def fail_at_work(self):
        self.memory = remember_aside(self.memory, self.running)

    @rule()
    def restart(self):
        self.running, self.failed = None, {}
        self.memory = memory_of(row_of("pump", self.memory))

    @rule(works=st.booleans(), for_ever=st.booleans())
    def settle(self, works, for_ever):
        for _ in range(8):
            moment = Moment(self.now_s, self.now_s, self.final_s)
            granted = frozenset({GATEWAY} if self.granted else ())
            known = ModelHistory(bytes(20), self.floor, dict(self.versions), granted)
            found = decide(known, Standing(self.running, self.memory, self.failed), POLICY, moment)
            if found.act is Act.KEEP:
                return
            if found.act is Act.DROP:
                self.hold_drop(found.ran)
                self.running = None
            elif works:
                self.hold_load(found.ran, moment)
                self.memory = remember_loaded(self.memory, found.ran)
                self.running = found.ran
                self.ever_ran.add(found.ran)
                self.newest_ever = max(self.newest_ever, found.ran.version)
            else:
                key = found.ran.manifest_sha256
                again = None if for_ever else self.now_s
                self.failed[key] = failed_again(self.failed.get(key), "not-fetched", "", again)
        raise AssertionError("it does not come to rest")

    def hold_drop(self, gone):
        assert self.versions[gone.version].revoked or gone.version < self.floor

    def hold_load(self, new, moment):
        on_chain = self.versions[new.version]
        assert not on_chain.revoked
        assert new.version >= self.floor
        assert self.granted
        assert moment.wall_s < on_chain.valid_until_s
        assert not self.memory.is_aside(new.manifest_sha256)
        if new not in self.ever_ran:
            assert new.version > self.newest_ever, "a rollback"
            assert not is_frozen(POLICY, moment)

    @invariant()
    def what_was_highest_stays_so(self):
        assert self.memory.highest == self.newest_ever

    @invariant()
    def the_memory_is_small(self):
        assert len(row_of("pump", self.memory).versions) <= 10


TestGateways = Gateways.TestCase
TestGateways.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
