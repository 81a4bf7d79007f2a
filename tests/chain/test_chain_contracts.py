"""Calls and events as bytes: what web3 makes of the committed ABI, and what the real contracts say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.anvil import Anvil
from support.contracts_kit import Alg, Chain, Gateway, artifact, device, ed25519_key, p256_key
from web3 import Web3
from web3.exceptions import ContractCustomError

from gateway.chain import contracts, events
from gateway.chain.contracts import ChainAlg, ChainStatus, DeviceFacts, Kind, MinerFacts
from gateway.chain.events import Anchored, DeviceRegistered, Equivocation, MinerRegistered, StatusChanged
from gateway.chain.port import EndpointFault, LogRecord

REGISTRY = Web3().eth.contract(abi=artifact("IdentityRegistry")["abi"])
LOG = Web3().eth.contract(abi=artifact("AnchorLog")["abi"])
IDS = st.text("abcXYZ019._:-", min_size=1, max_size=64)
BYTES32 = st.binary(min_size=32, max_size=32)
ACCOUNT = st.binary(min_size=20, max_size=20)


@pytest.fixture(scope="module")
def chain():
    with Anvil() as anvil:
        yield Chain(anvil.web3())


def record(entry, **changes) -> LogRecord:
    made = LogRecord(
        bytes.fromhex(entry["address"][2:]),
        tuple(bytes(topic) for topic in entry["topics"]),
        bytes(entry["data"]),
        entry["blockNumber"],
        bytes(entry["blockHash"]),
        bytes(entry["transactionHash"]),
        entry["logIndex"],
    )
    return made._replace(**changes)


def records(chain, contract) -> list[LogRecord]:
    return [record(entry) for entry in chain.web3.eth.get_logs({"address": contract.address, "fromBlock": 0})]


def encoded(contract, function, *args) -> bytes:
    return bytes.fromhex(contract.encode_abi(function, args)[2:])


@given(BYTES32, st.integers(0, 2**64 - 1), BYTES32)
def test_an_anchor_call_is_the_one_of_the_abi(log, size, root):
    assert contracts.anchor_call(log, size, root) == encoded(LOG, "anchor", log, size, root)
    assert contracts.open_call(log) == encoded(LOG, "open", log)


@given(IDS, st.lists(st.tuples(IDS, st.sampled_from(ChainAlg), st.binary(max_size=65)), max_size=5))
def test_a_registration_call_is_the_one_of_the_abi(fleet, devices):
    made = contracts.register_devices_call(fleet, [DeviceFacts(*each) for each in devices])
    assert made == encoded(REGISTRY, "registerDevices", fleet, [tuple(each) for each in devices])


@given(IDS, IDS, BYTES32, st.binary(max_size=99), ACCOUNT, st.lists(IDS, max_size=4))
def test_calls_about_miners_and_statuses_are_those_of_the_abi(name, fleet, log_key, hpke_key, account, ids):
    miner = MinerFacts(name, fleet, log_key, hpke_key, account)
    struct = (name, fleet, log_key, hpke_key, Web3.to_checksum_address(account))
    assert contracts.register_miner_call(miner) == encoded(REGISTRY, "registerMiner", struct)
    assert contracts.renew_miner_call(miner) == encoded(REGISTRY, "renewMiner", struct)
    for verb in ("suspend", "reinstate", "revoke"):
        assert contracts.status_call(verb, ids) == encoded(REGISTRY, verb, ids)


def test_creation_code_is_bytecode_and_arguments():
    made = artifact("AnchorLog")
    factory = Web3().eth.contract(abi=made["abi"], bytecode=made["bytecode"])
    wanted = factory.constructor("0x" + 20 * "11").data_in_transaction
    assert contracts.creation_code("AnchorLog", "0x" + 20 * "11").hex() == wanted.removeprefix("0x")


def test_every_event_of_the_registry_comes_back_as_the_value_that_was_registered(chain):
    gateway = Gateway("gw-events", chain.miner)
    chain.register("plant", device("dev-a", 1), device("dev-b", 2, Alg.ES256))
    chain.register_miner(gateway)
    chain.suspend("dev-a")
    chain.reinstate("dev-a")
    chain.revoke("dev-a", "gw-events")
    told = [events.decode_registry(each) for each in records(chain, chain.registry) if known(each)]
    account = bytes.fromhex(chain.miner[2:])
    assert told == [
        DeviceRegistered("dev-a", "plant", ChainAlg.ED25519, ed25519_key(1)),
        DeviceRegistered("dev-b", "plant", ChainAlg.ES256, p256_key(2)),
        MinerRegistered("gw-events", "plant", gateway.log_id, gateway.log_key, gateway.hpke_key, account, False),
        StatusChanged("dev-a", Kind.DEVICE, ChainStatus.SUSPENDED),
        StatusChanged("dev-a", Kind.DEVICE, ChainStatus.ACTIVE),
        StatusChanged("dev-a", Kind.DEVICE, ChainStatus.REVOKED),
        StatusChanged("gw-events", Kind.MINER, ChainStatus.REVOKED),
    ]


def known(each: LogRecord) -> bool:
    (first,) = events.registry_filter(each.address).topics
    return each.topics[0] in first


def test_a_renewal_is_told_as_one_and_a_filter_by_name_finds_one_id_alone(chain):
    gateway = Gateway("gw-renewed", chain.other, number=901)
    chain.register_miner(gateway)
    chain.renew_miner(Gateway("gw-renewed", chain.stranger, number=902))
    told = map(events.decode_registry, filter(known, records(chain, chain.registry)))
    renewals = [each for each in told if isinstance(each, MinerRegistered) and each.id == "gw-renewed"]
    assert [(each.renewed, each.log_key) for each in renewals] == [
        (False, ed25519_key(901)),
        (True, ed25519_key(902)),
    ]
    wanted = events.registry_filter(bytes.fromhex(chain.registry.address[2:]), "gw-renewed")
    assert wanted.topics[1] == (contracts.id_hash("gw-renewed"),)


def test_anchors_and_equivocations_come_back_as_values(chain):
    gateway = Gateway("gw-anchors", chain.suspender, number=903)
    chain.register_miner(gateway)
    chain.anchor(gateway.log_id, 3, b"\x01" * 32, chain.suspender)
    chain.anchor(gateway.log_id, 3, b"\x02" * 32, chain.suspender)
    account = bytes.fromhex(chain.suspender[2:])
    told = [events.decode_log(each) for each in records(chain, chain.log) if each.topics[1] == gateway.log_id]
    assert told == [
        Anchored(gateway.log_id, 3, b"\x01" * 32, account),
        Equivocation(gateway.log_id, 3, b"\x01" * 32, b"\x02" * 32, account),
    ]
    with pytest.raises(ContractCustomError) as refused:
        chain.log.functions.anchor(gateway.log_id, 4, bytes(32)).call({"from": chain.suspender})
    assert contracts.error_of(bytes.fromhex(str(refused.value.data)[2:])) == ("LogFrozen", (gateway.log_id, 3))


@given(st.binary(max_size=300), st.lists(BYTES32, max_size=4), st.integers(0, 3))
def test_an_event_that_no_contract_of_ours_made_ends_the_view(data, topics, which):
    first = events.registry_filter(b"").topics[0]
    for given_topics in (topics, [first[which], *topics]):
        made = LogRecord(bytes(20), tuple(given_topics), data, 1, bytes(32), bytes(32), 0)
        for decode in (events.decode_registry, events.decode_log):
            with pytest.raises(EndpointFault):
                decode(made)


@given(st.binary(max_size=200))
def test_what_is_none_of_our_errors_has_no_name(data):
    abi = [*REGISTRY.abi, *artifact("ModelRegistry")["abi"]]
    assert contracts.error_of(data)[0] in {"", *[entry["name"] for entry in abi if entry["type"] == "error"]}


def test_the_topics_are_those_of_the_committed_abi():
    abi = artifact("IdentityRegistry")["abi"] + artifact("AnchorLog")["abi"]
    wanted = {
        contracts.topic_of(f"{entry['name']}({','.join(value['type'] for value in entry['inputs'])})")
        for entry in abi
        if entry["type"] == "event"
    }
    mine = set(events.registry_filter(b"").topics[0]) | set(events.anchor_filter(b"", bytes(32)).topics[0])
    assert len(mine) == 6
    assert mine <= wanted
