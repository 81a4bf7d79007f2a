"""Any life of a chain, and any life of its follower: what is in force is what the naive model says."""

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from registry_world import LittleChain, World, replay

from gateway.chain.contracts import ChainStatus
from gateway.chain.port import ChainError
from gateway.journal.rows import JournalError
from gateway.registry.port import Device, Status

SEVERITY = list(Status)
verbs = st.sampled_from(["device", "device", "miner", "renew", "suspend", "suspend", "reinstate", "revoke"])
names = st.sampled_from(["a", "b", "c", "d"])
calls = st.tuples(verbs, names, st.integers(0, 15))


class RegistryFollowed(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.world = World(deploy_block=0, logs_blocks=3, max_age_s=1000.0)
        self.said = []  # (id, status, block) that were seen above the final block
        self.final = []  # what happened up to the highest final block that was read …
        self.seen_final = -1  # … which is this one
        self.before = ([], -1)
        self.restarts_of_the_chain = 0
        self.loop = asyncio.Runner()

    def teardown(self):
        self.loop.close()

    @property
    def chain(self):
        return self.world.chain

    @initialize(final=st.integers(0, 3))
    def some_are_registered(self, final):
        self.grow([[("device", "a", 1)], [("miner", "b", 2), ("device", "c", 3)], [("suspend", "c", 0)]])
        self.chain.finalise(final)

    @rule(blocks=st.lists(st.lists(calls, min_size=1, max_size=3), min_size=1, max_size=4))
    def the_chain_grows(self, blocks):
        self.grow(blocks)

    def grow(self, blocks):
        for block in blocks:
            happened = []
            for call in block:
                self.chain.mine(*happened)  # the next call sees what the ones before did, …
                happened += self.chain.do(*call)
                self.chain.unmine()  # … and is in the same block
            self.chain.mine(*happened)

    @rule(blocks=st.integers(0, 4))
    def blocks_become_final(self, blocks):
        self.chain.finalise(blocks)

    @rule(depth=st.integers(1, 6))
    def blocks_that_are_not_final_are_replaced(self, depth):
        self.chain.reorg(depth)

    @rule(name=names)
    def somebody_is_shut_out_in_the_newest_block(self, name):
        self.grow([[("suspend", name, 0), ("device", name, 0)]])

    @precondition(lambda self: self.restarts_of_the_chain < 2)
    @rule(keep=st.integers(0, 12), blocks=st.lists(st.lists(calls, max_size=2), max_size=8), final=st.integers(0, 12))
    def final_blocks_are_replaced(self, keep, blocks, final):
        self.restarts_of_the_chain += 1
        self.world.chain = LittleChain(self.chain, keep)
        self.grow(blocks)
        self.chain.finalise(final)
        self.looks()

    @rule(most_blocks=st.sampled_from([1, 2, 100]), lag=st.integers(0, 4), final_lag=st.integers(0, 3))
    def a_look(self, most_blocks, lag, final_lag):
        self.looks(most_blocks=most_blocks, lag=lag, final_lag=final_lag)

    @rule()
    def a_look_at_the_newest_block(self):
        self.looks()

    @rule(fail_at=st.integers(0, 12), full=st.booleans())
    def a_look_that_ends_somewhere(self, fail_at, full):
        self.world.store.full = full
        try:
            self.looks(fail_at=fail_at)
        finally:
            self.world.store.full = False

    @rule()
    def the_gateway_starts_anew(self):
        if self.world.registry._forget_due:  # the journal could not forget, and has it all still
            self.final, self.seen_final = self.before
        self.loop.run(self.world.restart(away_s=1.0))
        self.said = []

    def looks(self, **how):
        self.world.wait(1.0)
        view, registry = self.chain.view(**how), self.world.registry
        rewrites = registry.status().rewrites
        fault = None
        try:
            self.loop.run(registry.look(view))
        except (ChainError, JournalError) as error:
            fault = error
        if registry.status().rewrites != rewrites:
            self.before = (self.final, self.seen_final)
            self.said, self.final, self.seen_final = [], [], -1
        self.saw_final(view.final.number if fault is None else registry._final.next_block - 1)
        if fault is None:
            self.saw_head(view.head.number)
            assert self.world.contents() == self.model()
            assert not registry.is_stale()
            assert registry.snapshot.as_of_ms == self.world.wall_ms

    def saw_final(self, block):
        if block > self.seen_final:
            self.seen_final = block
            self.final = self.chain.happened(0, block)

    def saw_head(self, head):
        self.said = [word for word in self.said if word[2] > max(head, self.seen_final)]
        for number in range(self.seen_final + 1, head + 1):
            for event in self.chain.events[number]:
                if event.what == "status" and event.values[1] != ChainStatus.ACTIVE:
                    self.said.append((event.id, SEVERITY[event.values[1] - 1], number))

    def model(self):
        """The final state, and on it whatever newer blocks say against anybody."""
        known = replay(self.final)
        for name, status, _ in self.said:
            if name in known and SEVERITY.index(status) > SEVERITY.index(known[name].status):
                known[name] = known[name]._replace(status=status)
        return known

    @invariant()
    def nobody_is_accepted_whom_the_final_state_does_not_accept(self):
        if self.world.registry.is_stale():
            return
        final = replay(self.final)
        for name, held in self.world.contents().items():
            assert name in final
            assert held.status is not Status.ACTIVE or final[name].status is Status.ACTIVE

    @invariant()
    def the_counts_are_right(self):
        held = [each for each in self.world.contents().values() if isinstance(each, Device)]
        counts = self.world.registry.snapshot.counts
        assert counts[:4] == (len(held), *(sum(each.status is status for each in held) for status in Status))


RegistryFollowed.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
test_whatever_happens_the_state_in_force_is_the_final_one_less_whom_newer_blocks_shut_out = RegistryFollowed.TestCase
