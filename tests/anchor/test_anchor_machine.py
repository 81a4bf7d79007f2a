"""Thousands of short lives: crashes, reorgs, faults, other programs, in any order, and in the end all is anchored."""

import asyncio
from dataclasses import replace

from anchor_sim import CONTRACT, LOG_ID, Crash, Signer, SimChain, SimLog, SimOutbox, parsed
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.anchor.lifecycle import BIRTHS, ENDS, State
from gateway.anchor.sender import Anchoring, Means
from gateway.anchor.transaction import Target
from gateway.chain.port import EndpointFault
from gateway.config.model import AnchorConfig

CONFIG = AnchorConfig(interval_s=10.0, min_interval_s=1.0, replace_after_s=5.0, max_fee_gwei=100.0)


class Anchors(RuleBasedStateMachine):
    """One gateway and one chain; what holds is checked at each write, after each step, and at the end."""

    @initialize(legacy=st.booleans())
    def begin(self, legacy):
        self.config = replace(CONFIG, legacy_gas="always" if legacy else "auto")
        self.runner = asyncio.Runner()
        self.chain = SimChain()
        self.log = SimLog()
        self.outbox = SimOutbox(self.log)
        self.outbox.seen = self.see_write
        self.chain.before_send = self.see_send
        self.now_ms = 1_000_000
        self.restart()

    def see_send(self, raw):
        """Nothing is on a wire that is not in the journal."""
        assert any(row.raw == raw and row.is_open for row in self.outbox.rows.values())

    def see_write(self, before, after):
        """Rows are born and end as the table says; final is what is final."""
        state = State(after.state)
        assert after.is_open == (state not in ENDS)
        assert (after.raw is not None) == (after.is_open and state is not State.SEALED and after.nonce is not None)
        if before is None:
            assert state in BIRTHS
        else:
            assert before.is_open
        if state is State.FINAL:
            block = self.chain.blocks[after.block_number]
            assert after.block_number <= self.chain.final_number()
            assert (block.block.hash, block.latest.size >= after.size) == (after.block_hash, True)

    @rule()
    def restart(self):
        means = Means(self.outbox, lambda: self.log, Signer(), lambda: self.now_ms)
        self.anchoring = Anchoring(self.config, Target(31337, CONTRACT, LOG_ID), means)

    @rule(count=st.integers(1, 300))
    def grow(self, count):
        self.log.grow(count)

    @rule(seconds=st.sampled_from((0.5, 1, 3, 6, 11, 3600, -20)))
    def wait(self, seconds):
        self.now_ms += round(seconds * 1000)

    @rule()
    def look(self):
        try:
            self.runner.run(self.anchoring.look(self.chain.view()))
        except EndpointFault:
            pass
        except Crash:
            self.restart()
        assert self.anchoring.status().state

    @rule()
    def look_after_a_while(self):
        self.now_ms += 11_000
        self.look()

    @rule(blocks=st.integers(1, 3))
    def mine(self, blocks):
        for _ in range(blocks):
            self.chain.mine()

    @rule(count=st.integers(1, 300))
    def anchor(self, count):
        """What mostly happens."""
        self.log.grow(count)
        self.look_after_a_while()
        self.chain.mine()
        self.look()

    @rule(depth=st.integers(1, 8), forget=st.booleans())
    def reorg(self, depth, forget):
        self.chain.reorg(depth, forget=forget)
        self.look()

    @rule(depth=st.integers(1, 8), gwei=st.sampled_from((20, 60, 99)))
    def reorg_into_a_dear_time(self, depth, gwei):
        """What lost its block is passed over, and replaced."""
        self.chain.base_fee = gwei * 10**9
        self.chain.reorg(depth, forget=False)
        self.look_after_a_while()
        self.chain.mine()
        self.look_after_a_while()

    @rule(trouble=st.sampled_from(("pool", "older", "program", "funds", "suspended", "well", "dear", "cheap")))
    def trouble(self, trouble):
        """Something changes for the worse, or back."""
        chain = self.chain
        if trouble == "pool":
            chain.pool.clear()
        elif trouble == "older":  # another pool has an attempt that was replaced in ours
            older = [row for row in self.outbox.rows.values() if row.is_open and row.state == State.REPLACED]
            chain.pool.update({row.nonce: parsed(row.raw) for row in older if row.nonce >= chain.tip.nonce})
        elif trouble == "program":
            chain.foreign()
        elif trouble == "funds":
            chain.balance = 10**9
        elif trouble == "suspended":
            chain.active = False
        elif trouble == "dear":
            chain.base_fee = 10 * chain.base_fee
        elif trouble == "cheap":
            chain.base_fee = 10**9
        else:
            chain.balance, chain.active = 10**20, True

    @rule(calls=st.integers(0, 8))
    def an_endpoint_that_fails(self, calls):
        self.chain.fail_in = calls
        self.look_after_a_while()

    @rule(writes=st.integers(0, 7))
    def a_crash(self, writes):
        self.outbox.crash_in = writes
        self.log.grow(1)
        self.look_after_a_while()

    @rule()
    def anchor_now(self):
        self.anchoring.wake()
        self.look()

    @rule()
    def lose_the_outbox(self):
        if not self.chain.pool:  # a transaction that nobody remembers and a pool still has is another program's
            self.outbox.rows.clear()
            self.restart()

    @invariant()
    def sizes_rise(self):
        if hasattr(self, "chain"):
            sizes = self.chain.events()
            assert sizes == sorted(set(sizes))
            assert self.outbox.final <= max([0, *sizes])

    def teardown(self):
        """Everything is well again: all of the log is anchored soon, once, and nothing is left over."""
        if not hasattr(self, "chain"):
            return
        chain = self.chain
        chain.base_fee, chain.active, chain.balance, chain.fail_in = 10**9, True, 10**20, None
        self.outbox.crash_in = None
        self.log.grow(1)
        for _ in range(80):
            self.look_after_a_while()
            chain.mine()
        self.runner.close()
        rows = list(self.outbox.rows.values())
        assert not [row for row in rows if row.is_open], (rows, self.anchoring.status())
        assert self.anchoring.status().hold is None
        assert chain.events()[-1] == self.log.size() == self.outbox.final
        assert not chain.pool
        final = [row for row in rows if row.state == State.FINAL]
        assert {row.size for row in final} <= set(chain.events())
        assert len({row.size for row in final}) == len(final)


TestAnchors = Anchors.TestCase
TestAnchors.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
