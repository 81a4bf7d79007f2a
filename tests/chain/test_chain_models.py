"""ModelRegistry's calls, views and events as bytes and values: what web3 makes of the ABI, what a real node says."""

from contextlib import asynccontextmanager

import pytest
from chain_client_kit import chain_of, raw_address
from hypothesis import given
from hypothesis import strategies as st
from support.anvil import Anvil
from support.contracts_kit import Alg, Chain, Gateway, Models, Result, artifact, ed25519_key, p256_key, publication
from web3 import Web3

from gateway.chain import model_events, models
from gateway.chain.contracts import has_role, id_hash, topic_of
from gateway.chain.model_events import (
    AccessReported,
    FloorRaised,
    GrantChanged,
    OwnerChanged,
    Published,
    PublisherRegistered,
    VersionRevoked,
    decode_model_event,
    fold_models,
    read_models,
)
from gateway.chain.models import ModelOnChain
from gateway.chain.port import ChainMisconfigured, EndpointFault, LogRecord
from gateway.crypto.keys import PublicKey
from gateway.message import Alg as KeyAlg

ABI = Web3().eth.contract(abi=artifact("ModelRegistry")["abi"])
IDS = st.text("abcXYZ019._:-", min_size=1, max_size=64)
WORDS = st.binary(min_size=32, max_size=32)
NUMBERS = st.integers(0, 2**64 - 1)
REASONS = st.text("abcz019-", min_size=1, max_size=32)
KEY = PublicKey(KeyAlg.ED25519, ed25519_key(800))
UNTIL = 4_000_000_000


@pytest.fixture(scope="module")
def world():
    """A life of two models, block by block, on a node whose newest block but one is final."""
    with Anvil("--slots-in-an-epoch", "1") as node:
        chain = Chain(node.web3())
        made = Models(chain)
        chain.register_miner(Gateway("gw-1", chain.miner))
        chain.register_miner(Gateway("gw-2", chain.other))
        made.register()
        made.send(made.granter, "grant", "anomaly", ["gw-1", "gw-2"])
        for version in (1, 2, 5):
            made.publish("anomaly", version)
        made.send(made.publisher, "setFloor", "anomaly", 2)
        made.send(made.publisher, "revoke", "anomaly", 1)
        made.report("anomaly", 2, Result.REFUSED, b"manifest-signature")
        made.report("anomaly", 5, Result.LOADED)
        made.send(made.granter, "ungrant", "anomaly", ["gw-2"])
        made.register(number=802, alg=Alg.ES256)
        made.publish("digits", 7)
        made.send(made.publisher, "revoke", "anomaly", 5)
        chain.web3.provider.make_request("anvil_mine", ["0x8"])
        yield node, made


@asynccontextmanager
async def view_of(world, **settings):
    async with chain_of(world[0].url, **settings) as chain, chain.view() as view:
        yield view


def address(world):
    return raw_address(world[1].contract.address)


def encoded(function, *args):
    return bytes.fromhex(ABI.encode_abi(function, args)[2:])


def facts(model, version):
    return publication(model, version)[1:]


# --- calls ---


@given(IDS, NUMBERS, IDS, WORDS, NUMBERS)
def test_a_publication_is_the_call_of_the_abi(model, version, cid, sha256, until):
    assert models.publish_call(model, version, cid, sha256, until) == encoded(
        "publish", model, version, cid, sha256, until
    )
    assert models.revoke_call(model, version) == encoded("revoke", model, version)
    assert models.set_floor_call(model, version) == encoded("setFloor", model, version)


@given(IDS, st.lists(IDS, max_size=4), st.binary(min_size=20, max_size=20))
def test_grants_and_owners_are_the_calls_of_the_abi(model, gateways, account):
    assert models.grant_call(model, gateways) == encoded("grant", model, gateways)
    assert models.ungrant_call(model, gateways) == encoded("ungrant", model, gateways)
    assert models.assign_call(model, account) == encoded("assign", model, Web3.to_checksum_address(account))


@given(IDS, NUMBERS, REASONS)
def test_a_report_is_the_call_of_the_abi(model, version, reason):
    word = reason.encode().ljust(32, b"\0")
    for result in (models.Result.REFUSED, models.Result.RETURNED):
        made = models.report_access_call(model, version, result, reason)
        assert made == encoded("reportAccess", model, version, (int(result), word))
    made = models.report_access_call(model, version, models.Result.LOADED)
    assert made == encoded("reportAccess", model, version, (1, bytes(32)))


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (models.Result.LOADED, "fine"),
        (models.Result.REFUSED, ""),
        (models.Result.REFUSED, "x" * 33),
        (models.Result.REFUSED, "Too Bad"),
        (models.Result.RETURNED, "é"),
    ],
)
def test_a_report_that_the_contract_would_refuse_is_not_made(result, reason):
    with pytest.raises(ValueError, match="reason"):
        models.report_access_call("m", 1, result, reason)


@pytest.mark.parametrize(
    ("key", "number"), [(KEY, 1), (PublicKey(KeyAlg.ES256, p256_key(7)), 2)], ids=["Ed25519", "ES256"]
)
def test_a_publisher_is_registered_by_the_call_of_the_abi(key, number):
    account = "0x" + 20 * "11"
    made = models.register_publisher_call(bytes.fromhex(account[2:]), key)
    assert made == encoded("registerPublisher", account, number, key.data)


# --- views ---


async def test_the_state_of_a_model_is_told_as_of_a_block(world):
    async with view_of(world) as view:
        where, final = address(world), view.final.number
        digits = await models.model_state(view, where, "digits", final)
        assert digits == ModelOnChain(*facts("digits", 7), False, 0, PublicKey(KeyAlg.ES256, p256_key(802)))
        anomaly = await models.model_state(view, where, "anomaly", final)
        assert anomaly == ModelOnChain(*facts("anomaly", 5), True, 2, KEY)
        assert await models.model_state(view, where, "nothing", final) is None
        known = {number: await models.model_state(view, where, "anomaly", number) for number in range(3, final)}
        assert {state.version for state in known.values() if state} == {1, 2, 5}
        assert {state.floor for state in known.values() if state} == {0, 2}


async def test_grants_owners_and_keys_are_told(world):
    made, chain = world[1], world[1].chain
    async with view_of(world) as view:
        where, final = address(world), view.final.number
        assert await models.is_granted(view, where, "anomaly", "gw-1", final)
        assert not await models.is_granted(view, where, "anomaly", "gw-2", final)
        assert not await models.is_granted(view, where, "digits", "gw-1", final)
        assert await models.model_owner(view, where, "anomaly") == raw_address(made.publisher)
        assert await models.model_owner(view, where, "nothing") is None
        key = await models.publisher_key_of(view, where, raw_address(made.publisher))
        assert key == PublicKey(KeyAlg.ES256, p256_key(802))
        assert await models.publisher_key_of(view, where, raw_address(chain.stranger)) is None
        assert await has_role(view, where, models.PUBLISHER_ROLE, raw_address(made.publisher))
        assert await has_role(view, where, models.GRANTER_ROLE, raw_address(made.granter))


async def test_our_contract_is_known_from_every_other(world):
    made = world[1]
    registry, log = raw_address(made.chain.registry.address), raw_address(made.chain.log.address)
    async with view_of(world) as view:
        await models.verify_model_contract(view, address(world))
        await models.verify_model_contract(view, address(world), registry)
        for where, asked, words in [
            (b"\x01" * 20, None, "no code"),
            (registry, None, "identity-registry"),
            (log, None, "anchor-log"),
            (address(world), log, "REGISTRY is"),
        ]:
            with pytest.raises(ChainMisconfigured, match=words):
                await models.verify_model_contract(view, where, asked)


class Mouth:
    """A view that says what it is told to say."""

    endpoint = "http://mouth"

    def __init__(self, said):
        self.said = said

    async def call(self, to, data, block=None):
        return self.said


@given(st.binary(max_size=400))
def test_an_answer_of_any_bytes_is_a_value_or_ends_the_view(said):
    async def ask(question):
        try:
            await question
        except EndpointFault:
            return

    def run(coroutine):
        with pytest.raises(StopIteration):
            coroutine.send(None)

    run(ask(models.model_state(Mouth(said), bytes(20), "m", 1)))
    run(ask(models.is_granted(Mouth(said), bytes(20), "m", "g", 1)))
    run(ask(models.model_owner(Mouth(said), bytes(20), "m")))
    run(ask(models.publisher_key_of(Mouth(said), bytes(20), bytes(20))))


async def test_a_key_that_no_verifier_takes_ends_the_view():
    types = ["(uint64,string,bytes32,uint64,bool,uint64,uint8,bytes)"]
    for alg, key in [(1, bytes(32)), (0, b""), (3, ed25519_key(1)), (2, ed25519_key(1))]:
        said = Web3().codec.encode(types, [(1, "b", bytes(32), 1, False, 0, alg, key)])
        with pytest.raises(EndpointFault):
            await models.model_state(Mouth(said), bytes(20), "m", 1)


# --- events ---


def record(entry, **changes):
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


def records(world):
    web3, where = world[1].chain.web3, world[1].contract.address
    roles = {topic_of("RoleGranted(bytes32,address,address)")}
    found = [record(entry) for entry in web3.eth.get_logs({"address": where, "fromBlock": 0})]
    return [each for each in found if each.topics[0] not in roles]


def _without_place(event):
    return event._replace(block_number=0, tx_hash=b"") if isinstance(event, Published) else event


def test_every_event_comes_back_as_the_value_that_was_given(world):
    account = raw_address(world[1].publisher)
    second = PublicKey(KeyAlg.ES256, p256_key(802))
    found = records(world)
    events = [decode_model_event(each) for each in found]
    places = [(each.block_number, each.tx_hash) for each in events if isinstance(each, Published)]
    assert set(places) <= {(each.block_number, each.tx_hash) for each in found}
    assert len(set(places)) == 4
    assert [_without_place(each) for each in events] == [
        PublisherRegistered(account, KEY),
        GrantChanged("anomaly", "gw-1", True),
        GrantChanged("anomaly", "gw-2", True),
        OwnerChanged("anomaly", account),
        *[Published("anomaly", account, *facts("anomaly", version), KEY) for version in (1, 2, 5)],
        FloorRaised("anomaly", 2),
        VersionRevoked("anomaly", 1),
        AccessReported("anomaly", id_hash("gw-1"), 2, models.Result.REFUSED, "manifest-signature"),
        AccessReported("anomaly", id_hash("gw-1"), 5, models.Result.LOADED, ""),
        GrantChanged("anomaly", "gw-2", False),
        PublisherRegistered(account, second),
        OwnerChanged("digits", account),
        Published("digits", account, *facts("digits", 7), second),
        VersionRevoked("anomaly", 5),
    ]


async def test_the_events_alone_say_what_the_views_say_at_every_block(world):
    async with view_of(world) as view:
        where, known = address(world), None
        for number in range(view.final.number + 1):
            known = fold_models(await read_models(view, where, number, number), known)
            for model in ("anomaly", "digits"):
                if number < 3:
                    continue  # nothing of the contract is there yet
                history = known.get(model)
                state = await models.model_state(view, where, model, number)
                assert (history.current() if history else None) == state
                for gateway in ("gw-1", "gw-2"):
                    granted = history is not None and gateway in history.granted
                    assert await models.is_granted(view, where, model, gateway, number) == granted


@pytest.mark.parametrize("blocks", [1, 3, 5000])
async def test_what_is_read_does_not_depend_on_how_many_blocks_are_asked_at_once(world, blocks):
    async with view_of(world) as view:
        where, end = address(world), view.final.number
        found = await read_models(view, where, 0, end, blocks=blocks)
        told = [decode_model_event(each) for each in records(world)]
        assert found == [each for each in told if not isinstance(each, PublisherRegistered | AccessReported)]
        some = await read_models(view, where, 0, end, ["digits", "nothing"], blocks=blocks)
        assert some == [each for each in found if each.model_id == "digits"]
        assert fold_models(some).keys() == {"digits"}


async def test_the_access_log_and_the_publishers_are_read_by_filters_of_their_own(world):
    async with view_of(world) as view:
        where, end = address(world), view.final.number

        async def read(wanted):
            return [decode_model_event(each) for each in await view.logs(wanted, 0, end)]

        reports = await read(model_events.access_filter(where))
        assert [(each.version, each.reason) for each in reports] == [(2, "manifest-signature"), (5, "")]
        assert await read(model_events.access_filter(where, "anomaly", "gw-1")) == reports
        assert await read(model_events.access_filter(where, gateway_id="gw-1")) == reports
        assert await read(model_events.access_filter(where, "digits")) == []
        assert await read(model_events.access_filter(where, "anomaly", "gw-2")) == []
        assert len(await read(model_events.publishers_filter(where))) == 2


def test_an_event_whose_topics_and_data_disagree_ends_the_view(world):
    for each in records(world):
        for at in range(1, len(each.topics)):
            topics = [*each.topics]
            topics[at] = bytes([1]) * 32
            if decode_is_of_hash_alone(each, at):
                continue
            with pytest.raises(EndpointFault):
                decode_model_event(each._replace(topics=tuple(topics)))
        with pytest.raises(EndpointFault):
            decode_model_event(each._replace(data=each.data[:-33]))
        with pytest.raises(EndpointFault):
            decode_model_event(each._replace(topics=each.topics[:1]))


def decode_is_of_hash_alone(each, at):
    """The gateway of a report is told by its hash alone."""
    return each.topics[0] == model_events.access_filter(b"").topics[0][0] and at == 2


@given(st.binary(max_size=400), st.lists(WORDS, max_size=3), st.integers(0, 8))
def test_an_event_of_any_bytes_is_no_event(data, topics, which):
    known = [
        *model_events.models_filter(b"").topics[0],
        *model_events.access_filter(b"").topics[0],
        *model_events.publishers_filter(b"").topics[0],
    ]
    given_topics = topics if which == 8 else [known[which], *topics]
    with pytest.raises(EndpointFault):
        decode_model_event(LogRecord(bytes(20), tuple(given_topics), data, 1, bytes(32), bytes(32), 0))


def test_the_topics_are_those_of_the_committed_abi():
    wanted = {
        topic_of(f"{entry['name']}({','.join(value['type'] for value in entry['inputs'])})")
        for entry in ABI.abi
        if entry["type"] == "event" and not entry["name"].startswith("Role")
    }
    mine = {
        *model_events.models_filter(b"").topics[0],
        *model_events.access_filter(b"").topics[0],
        *model_events.publishers_filter(b"").topics[0],
    }
    assert mine == wanted
