"""Both contracts against the model, whatever is asked of them and in whatever order."""

import pytest
from contracts_model import EMPTY_ROOT, Follower, Head, Model
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from support.anvil import Checkpoint
from support.contracts_kit import Alg, Chain, Gateway, Refused, Status, device, id_hash, log_id

NAMES = ["pump-1", "pump-2", "gw-1", "gw-2"]
FLEETS = ["plant", "mill"]
ROOTS = [bytes([1]) * 32, bytes([2]) * 32, EMPTY_ROOT]

names = st.sampled_from(NAMES)
fleets = st.sampled_from(FLEETS)
accounts = st.integers(0, 1)
devices = st.builds(device, names, st.integers(1, 3), st.sampled_from([Alg.ED25519, Alg.ES256]))
logs = st.sampled_from([log_id(fleet, name) for fleet in FLEETS[:1] for name in NAMES])


class Contracts(RuleBasedStateMachine):
    """The contracts, the model, and a follower who sees nothing but events."""

    chain: Chain

    @initialize()
    def deploy(self):
        self.before = Checkpoint(self.chain.web3)
        self.model = Model()
        self.follower = Follower()
        self.accounts = [self.chain.miner, self.chain.other]
        self.agreed = True

    def teardown(self):
        if self.agreed:
            self.look()
        self.before.restore()

    def agree(self, told, call, *args):
        self.agreed = False
        try:
            said = call(*args).events
        except Refused as refusal:
            said = (refusal.name, *refusal.values)
        assert said == told
        for event in told if isinstance(told, list) else ():
            self.follower.follow(event)
        self.agreed = True

    def gateway(self, name, fleet, account, number):
        return Gateway(name, self.accounts[account], fleet, number)

    @rule(fleet=fleets, batch=st.lists(devices, min_size=1, max_size=3))
    def register(self, fleet, batch):
        self.agree(self.model.register(fleet, batch), self.chain.register, fleet, *batch)

    @rule(name=names, fleet=fleets, account=accounts, number=st.integers(900, 902))
    def register_miner(self, name, fleet, account, number):
        gateway = self.gateway(name, fleet, account, number)
        self.agree(self.model.register_miner(gateway), self.chain.register_miner, gateway)

    @rule(name=names, fleet=fleets, account=accounts, number=st.integers(900, 902))
    def renew_miner(self, name, fleet, account, number):
        gateway = self.gateway(name, fleet, account, number)
        self.agree(self.model.renew_miner(gateway), self.chain.renew_miner, gateway)

    @rule(ids=st.lists(names, min_size=1, max_size=3), what=st.sampled_from(["suspend", "reinstate", "revoke"]))
    def change_status(self, ids, what):
        status = {"suspend": Status.SUSPENDED, "reinstate": Status.ACTIVE, "revoke": Status.REVOKED}[what]
        self.agree(self.model.set_status(ids, status), getattr(self.chain, what), *ids)

    @rule(log=logs, size=st.integers(0, 4), root=st.sampled_from(ROOTS), account=accounts)
    def anchor_anywhere(self, log, size, root, account):
        sender = self.accounts[account]
        self.agree(self.model.anchor(log, size, root, sender), self.chain.anchor, log, size, root, sender)

    @rule(account=accounts, growth=st.integers(-1, 2), root=st.sampled_from(ROOTS))
    def anchor_its_own_log(self, account, growth, root):
        sender = self.accounts[account]
        miner = self.model.miner_of(sender)
        log = self.model.miners[miner].log_id if miner else bytes(32)
        size = max(0, self.model.heads.get(log, Head()).size + growth)
        self.agree(self.model.anchor(log, size, root, sender), self.chain.anchor, log, size, root, sender)

    @rule()
    def look_now(self):
        self.look()

    @rule(log=logs)
    def open_log(self, log):
        self.agree(self.model.open(log), self.chain.send, self.chain.stranger, self.chain.log, "open", log)

    def look(self):
        """The views say what the model knows, and a follower of events knows it too."""
        for name in NAMES:
            kind = self.model.kinds.get(name, 0)
            status = self.model.statuses.get(name, Status.NONE)
            assert tuple(self.chain.ask("recordOf", id_hash(name))[1:]) == (kind, status)
        for account in self.accounts:
            miner = self.model.miner_of(account)
            known = [id_hash(miner), self.model.statuses[miner]] if miner else [bytes(32), Status.NONE]
            assert self.chain.ask("minerOf", account) == known
        for gateway in self.model.miners.values():
            head = self.model.heads.get(gateway.log_id, Head())
            assert self.chain.latest(gateway.log_id) == (head.size, head.root, head.frozen)
            assert self.chain.ask("minerStatus", gateway.struct()) == self.model.statuses[gateway.id]
        assert self.follower.statuses == self.model.statuses
        assert self.follower.heads == self.model.heads
        assert self.follower.miners == {name: gateway.facts() for name, gateway in self.model.miners.items()}
        for name, (fleet, alg, key) in self.follower.devices.items():
            assert self.chain.ask("deviceStatus", name, fleet, alg, key) == self.model.statuses[name]


@pytest.mark.slow
def test_the_contracts_do_what_the_model_does(deployed: Chain):
    class Deployed(Contracts):
        chain = deployed

    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    shape = settings(max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=checks)
    run_state_machine_as_test(Deployed, settings=shape)
