"""A version is published once, by whom the chain lets: on a real node, killed around the broadcast, begun again."""

import time

import pytest
from eth_account import Account
from support.anvil import CHAIN_ID, Anvil, Checkpoint
from support.contracts_kit import Chain, Gateway, Models, ed25519_key
from support.publisher_kit import MODEL_ID, PUBLISHER_KEY, TRAINER_KEY, VERSION

from gateway.chain.client import EvmChain
from gateway.chain.models import model_state
from gateway.chain.operator import NotSettled, Terms
from gateway.config.model import ChainConfig
from gateway.crypto.anchoring_key import AnchoringKey
from gateway.crypto.keys import parse_public_key
from gateway.message import Alg
from gateway.vault.manifest import manifest_sha256
from gateway.vault.publisher_chain import Registry, estimated, look, publish
from gateway.vault.publisher_record import Record
from gateway.vault.publisher_state import State
from gateway.vault.publisher_words import PublishRefusal, PublishRefused

MNEMONIC = "test test test test test test test test test test test junk"
TERMS = Terms(timeout_s=20, poll_s=0.05)
UNTIL_MS = 4_000_000_000_000
CID = "bafybeicv4pupa3andt5s6kganyycderkbgtr5rhfwdokpvfdfbnbobkcee"


class Killed(BaseException):
    """The process ended here."""


class Clocks:
    monotonic_s = staticmethod(time.monotonic)
    wall_ms = staticmethod(lambda: time.time_ns() // 1_000_000)


def account(number):
    Account.enable_unaudited_hdwallet_features()
    return AnchoringKey(bytes(Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{number}").key))


@pytest.fixture(scope="module")
def node():
    with Anvil("--slots-in-an-epoch", "1") as started:
        web3 = started.web3()
        models = Models(Chain(web3))
        models.chain.register_miner(Gateway("gw-1", models.chain.miner))
        models.register()
        yield started.url, web3, models


@pytest.fixture
async def world(node):
    """The node as it was made, whatever a test did to it."""
    url, web3, models = node
    before = Checkpoint(web3)
    config = ChainConfig(rpc=(url,), chain_id=CHAIN_ID, timeout_s=5.0, requests_per_s=1000.0)
    async with EvmChain(config, Clocks()) as chain:
        yield World(chain, web3, models)
    before.restore()


class World:
    def __init__(self, chain, web3, models):
        self.chain, self.web3, self.models = chain, web3, models
        self.saved = []

    def registry(self, number=1, terms=TERMS):
        return Registry(self.chain, bytes.fromhex(self.models.contract.address[2:]), account(number), terms)

    def sent(self):
        return self.web3.eth.get_transaction_count(self.models.publisher)

    async def look(self, record=None, key=PUBLISHER_KEY, mine=None, number=1):
        registry = self.registry(number)
        async with self.chain.view() as view:
            return await look(registry, view, record or RECORD, key, mine)

    async def publish(self, state, save=None, **terms):
        registry = self.registry(terms=TERMS._replace(**terms))
        keep = save or self.saved.append
        return await publish(registry, RECORD, PUBLISHER_KEY, state, keep, monotonic_s=time.monotonic)


RECORD = Record(MODEL_ID, VERSION, 100, b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, {}, b"\x04" * 32)
STATE = State(b"\x05" * 32, b"\x06" * 24, 1, UNTIL_MS, None, b"an envelope", CID)
DIGEST = manifest_sha256(STATE.envelope)


async def refusal_of(looking):
    with pytest.raises(PublishRefused) as refused:
        await looking
    assert refused.value.hint
    return refused.value.reason


async def test_a_version_is_published_and_the_chain_says_so(world):
    assert await world.look() is False
    receipt = await world.publish(STATE)
    async with world.chain.view() as view:
        address = bytes.fromhex(world.models.contract.address[2:])
        found = await model_state(view, address, MODEL_ID, receipt.block_number)
    assert found == (VERSION, CID, DIGEST, UNTIL_MS // 1000, False, 0, PUBLISHER_KEY)
    assert await world.look(mine=DIGEST) is True
    assert [state.tx_hash for state in world.saved] == [receipt.tx_hash]


async def test_a_version_is_published_once_however_often_it_is_asked(world):
    before = world.sent()
    first = await world.publish(STATE)
    assert await world.publish(world.saved[-1]) == first
    assert await world.publish(STATE) is None
    assert world.sent() == before + 1


async def test_killed_before_the_broadcast_it_is_sent_by_the_next_run(world):
    before = world.sent()

    def killed(state):
        world.saved.append(state)
        raise Killed

    with pytest.raises(Killed):
        await world.publish(STATE, killed)
    assert world.sent() == before
    receipt = await world.publish(world.saved[-1])
    assert receipt.succeeded
    assert world.sent() == before + 1


async def test_killed_while_it_waits_the_next_run_finds_its_transaction(world):
    before = world.sent()
    world.web3.provider.make_request("evm_setAutomine", [False])
    try:
        with pytest.raises(NotSettled) as waiting:
            await world.publish(STATE, timeout_s=0.2)
        with pytest.raises(NotSettled) as again:
            await world.publish(world.saved[-1], timeout_s=0.2)
    finally:
        world.web3.provider.make_request("evm_setAutomine", [True])
    world.web3.provider.make_request("evm_mine", [])
    receipt = await world.publish(world.saved[-1])
    assert waiting.value.tx_hash == again.value.tx_hash == receipt.tx_hash
    assert world.sent() == before + 1


async def test_a_run_that_is_to_wait_for_finality_waits_also_for_the_transaction_before(world):
    await world.publish(STATE)
    with pytest.raises(NotSettled, match="final"):
        await world.publish(world.saved[-1], wait_final=True, timeout_s=0.2)
    world.web3.provider.make_request("anvil_mine", ["0x4"])
    assert (await world.publish(world.saved[-1], wait_final=True)).succeeded


async def test_gas_is_estimated_and_nothing_is_sent(world):
    before = world.sent()
    async with world.chain.view() as view:
        needed = await estimated(world.registry(), view, RECORD, UNTIL_MS // 1000)
    receipt = await world.publish(STATE)
    assert abs(needed.gas - receipt.gas_used) < 3000
    assert world.sent() == before + 1


async def test_an_account_that_is_no_publisher_is_refused(world):
    assert await refusal_of(world.look(number=4)) is PublishRefusal.NOT_A_PUBLISHER


async def test_another_signing_key_than_the_chains_is_refused(world):
    assert await refusal_of(world.look(key=TRAINER_KEY)) is PublishRefusal.PUBLISHER_KEY


async def test_a_model_of_somebody_else_is_refused(world):
    world.models.register(world.models.chain.other, 801)
    world.models.publish(MODEL_ID, 1, sender=world.models.chain.other)
    assert await refusal_of(world.look()) is PublishRefusal.NOT_THE_OWNER


async def test_a_version_that_is_taken_or_does_not_rise_is_refused(world):
    world.models.publish(MODEL_ID, VERSION)
    assert await refusal_of(world.look(mine=DIGEST)) is PublishRefusal.VERSION_TAKEN
    world.models.publish(MODEL_ID, VERSION + 1)
    assert await refusal_of(world.look()) is PublishRefusal.VERSION_NOT_RISING


def test_the_publishers_key_is_the_one_that_the_node_was_told():
    assert parse_public_key(Alg.ED25519, ed25519_key(800)) == PUBLISHER_KEY
