"""ModelRegistry against a model of it in plain Python, whatever is asked and in whatever order.

A follower that sees the events alone (``gateway.chain.model_events``) has to know the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from support.anvil import Anvil, Checkpoint
from support.contracts_kit import ZERO, Chain, Gateway, Models, Refused, ed25519_key, id_hash, publication

from gateway.chain.model_events import decode_model_event, fold_models, models_filter
from gateway.chain.port import LogRecord

MODELS = ["anomaly", "digits"]
GATEWAYS = ["gw-1", "gw-2", "pump-1"]
MINERS = {"gw-1", "gw-2"}

models = st.sampled_from(MODELS)
versions = st.integers(0, 5)
publishers = st.integers(0, 1)
batches = st.lists(st.sampled_from(GATEWAYS[:2]), min_size=1, max_size=3) | st.lists(
    st.sampled_from(GATEWAYS), min_size=1, max_size=3
)


@dataclass
class Known:
    """One model, as plain data. ``versions`` has for each whether it is revoked, and the key's number."""

    owner: str | None = None
    floor: int = 0
    versions: dict[int, tuple[bool, int]] = field(default_factory=dict)
    grants: dict[str, bool] = field(default_factory=dict)

    @property
    def newest(self) -> int:
        return max(self.versions, default=0)


class Registry(RuleBasedStateMachine):
    """The contract, the plain model, and a follower."""

    real: Models

    @initialize()
    def begin(self):
        self.web3 = self.real.chain.web3
        self.before = Checkpoint(self.web3)
        self.known = {name: Known() for name in MODELS}
        self.accounts = [self.real.publisher, self.real.chain.other]
        self.keys = {self.real.publisher: 800, self.real.chain.other: 801}
        self.agreed = True

    def teardown(self):
        if self.agreed:
            self.look()
        self.before.restore()

    def agree(self, wanted: str, sender, function, *args):
        """The contract says the names of the events, or of the error, that the model wants."""
        self.agreed = False
        try:
            said = " ".join(event.name for event in self.real.send(sender, function, *args).events)
        except Refused as refusal:
            said = refusal.name
        assert said == wanted
        self.agreed = True

    @rule(name=models, version=versions, who=publishers)
    def publish_anything(self, name, version, who):
        self.publish(name, version, self.accounts[who])

    @rule(name=models, step=st.integers(1, 3))
    def publish_the_next(self, name, step):
        known = self.known[name]
        self.publish(name, known.newest + step, known.owner or self.accounts[0])

    def publish(self, name, version, sender):
        known = self.known[name]
        if known.owner not in {None, sender}:
            wanted = "NotOwner"
        elif version <= known.newest:
            wanted = "StaleVersion"
        else:
            wanted = "Published" if known.owner else "OwnerChanged Published"
            known.owner = sender
            known.versions[version] = (False, self.keys[sender])
        self.agree(wanted, sender, "publish", *publication(name, version))

    @rule(name=models, version=versions, who=publishers)
    def revoke(self, name, version, who):
        known, wanted = self.known[name], "NotOwner"
        if known.owner == self.accounts[who]:
            wanted = "UnknownVersion"
            if version in known.versions:
                revoked, key = known.versions[version]
                wanted = "" if revoked else "VersionRevoked"
                known.versions[version] = (True, key)
        self.agree(wanted, self.accounts[who], "revoke", name, version)

    @rule(name=models, floor=versions, who=publishers)
    def set_floor(self, name, floor, who):
        known, wanted = self.known[name], "NotOwner"
        if known.owner == self.accounts[who]:
            if floor < known.floor:
                wanted = "FloorFalls"
            elif floor > known.newest:
                wanted = "FloorAboveNewest"
            else:
                wanted = "" if floor == known.floor else "FloorRaised"
                known.floor = floor
        self.agree(wanted, self.accounts[who], "setFloor", name, floor)

    @rule(name=models, who=publishers)
    def assign(self, name, who):
        known, account = self.known[name], self.accounts[who]
        wanted = "" if known.owner == account else "OwnerChanged"
        known.owner = account
        self.agree(wanted, self.real.admin, "assign", name, account)

    @rule(who=publishers, number=st.integers(800, 803))
    def change_key(self, who, number):
        account = self.accounts[who]
        wanted = "" if self.keys[account] == number else "PublisherRegistered"
        self.keys[account] = number
        self.agree(wanted, self.real.admin, "registerPublisher", account, 1, ed25519_key(number))

    @rule(name=models, gateways=batches, who=st.integers(0, 2))
    def grant(self, name, gateways, who):
        sender = [*self.accounts, self.real.granter][who]
        known, wanted = self.known[name], "NotGranter"
        if sender in {known.owner, self.real.granter}:
            wanted = "NotAGateway"
            if MINERS.issuperset(gateways):
                wanted = " ".join("Granted" for each in dict.fromkeys(gateways) if not known.grants.get(each))
                known.grants |= dict.fromkeys(gateways, True)
        self.agree(wanted, sender, "grant", name, gateways)

    @rule(name=models, gateways=batches, who=st.integers(0, 2))
    def ungrant(self, name, gateways, who):
        sender = [*self.accounts, self.real.granter][who]
        known, wanted = self.known[name], "NotGranter"
        if sender in {known.owner, self.real.granter}:
            wanted = "NeverGranted"
            if known.grants.keys() >= set(gateways):
                wanted = " ".join("Ungranted" for each in dict.fromkeys(gateways) if known.grants[each])
                known.grants |= dict.fromkeys(gateways, False)
        self.agree(wanted, sender, "ungrant", name, gateways)

    @rule(name=models, version=versions, result=st.integers(0, 3), reason=st.sampled_from([b"", b"why", b"NO"]))
    def report(self, name, version, result, reason):
        if {0: True, 1: bool(reason), 2: reason in {b"", b"NO"}, 3: reason == b"NO"}[result]:
            wanted = "InvalidOutcome"
        else:
            wanted = "AccessReported" if version in self.known[name].versions else "UnknownVersion"
        outcome = (result, reason.ljust(32, b"\0"))
        self.agree(wanted, self.real.chain.miner, "reportAccess", name, version, outcome)

    @rule()
    def look_now(self):
        self.look()

    def look(self):
        """The views and the follower know what the plain model knows."""
        followed = fold_models(self.events())
        for name, known in self.known.items():
            state = self.real.ask("stateOf", name)
            revoked, key = known.versions.get(known.newest, (False, 0))
            facts = list(publication(name, known.newest)[1:]) if known.newest else [0, "", bytes(32), 0]
            signed = [1, ed25519_key(key)] if key else [0, b""]
            assert list(state) == [*facts, revoked, known.floor, *signed]
            assert self.real.ask("current", name) == [*facts, revoked]
            assert self.real.ask("floorOf", name) == known.floor
            assert self.real.ask("ownerOf", name) == (known.owner or ZERO)
            for version in range(1, known.newest + 1):
                ended = known.versions.get(version, (None,))[0]
                assert self.real.ask("versionOf", name, version)[2] == bool(ended)
            for gateway in GATEWAYS:
                granted = known.grants.get(gateway, False)
                assert self.real.ask("isGranted", name, id_hash(gateway)) == granted
            self.compare(followed.get(name), known)

    def events(self):
        changes = ["0x" + topic.hex() for topic in models_filter(b"").topics[0]]
        wanted = {"address": self.real.contract.address, "fromBlock": 0, "topics": [changes]}
        for entry in self.web3.eth.get_logs(wanted):
            topics = tuple(bytes(topic) for topic in entry["topics"])
            yield decode_model_event(
                LogRecord(b"", topics, bytes(entry["data"]), entry["blockNumber"], b"", b"", entry["logIndex"])
            )

    def compare(self, followed, known):
        if followed is None:
            assert known == Known()
            return
        owner = None if followed.owner is None else f"0x{followed.owner.hex()}"
        assert owner == (known.owner.lower() if known.owner else None)
        assert (followed.floor, followed.newest) == (known.floor, known.newest)
        assert followed.granted == {gateway for gateway, granted in known.grants.items() if granted}
        assert {number: each.revoked for number, each in followed.versions.items()} == {
            number: revoked for number, (revoked, _) in known.versions.items()
        }
        for number, (_, key) in known.versions.items():
            assert followed.versions[number].publisher_key.data == ed25519_key(key)


@pytest.mark.slow
def test_the_contract_does_what_the_plain_model_does():
    with Anvil() as node:
        chain = Chain(node.web3())
        made = Models(chain)
        chain.register_miner(Gateway("gw-1", chain.miner))
        chain.register_miner(Gateway("gw-2", chain.stranger))
        made.register()
        made.register(chain.other, 801)

        class Deployed(Registry):
            real = made

        checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
        shape = settings(max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=checks)
        run_state_machine_as_test(Deployed, settings=shape)
