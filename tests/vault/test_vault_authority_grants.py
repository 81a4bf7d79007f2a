"""Who holds a grant, asked of a real node: what is final lets in, what is newest shuts out."""

import time
from contextlib import asynccontextmanager

import pytest
from authority_kit import DIGEST, WORDS, authority, caller, enlist, house, made
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from support.anvil import CHAIN_ID, Anvil, Checkpoint
from support.contracts_kit import Chain, Gateway, Models, device

from gateway.chain.client import EvmChain
from gateway.chain.port import Block, EndpointFault, TooManyLogs
from gateway.config.model import ChainConfig
from gateway.vault.authority_grants import ChainGrants, Fold, Standing, Where, recipients_of
from gateway.vault.authority_words import Ask, AuthorityRefused, LeftOut, Refusal
from gateway.vault.wrap import Kem, hybrid_private_key, hybrid_recipient, parse_recipient, unwrap, wrap_info

KEYS = [X25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(1, 6)]
PUBLIC = [key.public_key().public_bytes_raw() for key in KEYS]
HYBRID_SEED = b"\x77" * 32


class Clock:
    monotonic_s = staticmethod(time.monotonic)
    wall_ms = staticmethod(lambda: time.time_ns() // 1_000_000)


class Town:
    """A node with three gateways: gw-1, gw-2 with X25519 keys, gw-pq with a hybrid one; and models."""

    def __init__(self, node):
        self.node = node
        self.chain = Chain(node.web3())
        self.models = Models(self.chain)
        self.chain.register("plant", device("dev-1", 1))
        accounts = self.chain.web3.eth.accounts
        hybrid = hybrid_recipient(HYBRID_SEED).data
        self.gateways = {
            name: Gateway(name, accounts[6 + at], number=910 + at, hpke_key=key)
            for at, (name, key) in enumerate((("gw-1", PUBLIC[0]), ("gw-2", PUBLIC[1]), ("gw-pq", hybrid)))
        }
        for each in self.gateways.values():
            self.chain.register_miner(each)
        self.mine()

    def mine(self, blocks=4):
        self.chain.web3.provider.make_request("anvil_mine", [hex(blocks)])

    def grant(self, model, *names):
        self.models.send(self.models.granter, "grant", model, list(names))

    def ungrant(self, model, *names):
        self.models.send(self.models.granter, "ungrant", model, list(names))

    def where(self, **changes):
        addresses = (self.chain.registry.address, self.models.contract.address)
        return Where(*(bytes.fromhex(each[2:]) for each in addresses), deploy_block=0)._replace(**changes)

    @asynccontextmanager
    async def grants(self, **changes):
        config = ChainConfig(rpc=(self.node.url,), chain_id=CHAIN_ID, requests_per_s=1000.0, max_head_age_s=86400)
        async with EvmChain(config, Clock()) as client:
            yield ChainGrants(client, self.where(**changes))


@pytest.fixture(scope="module")
def standing():
    with Anvil("--slots-in-an-epoch", "1") as node:
        yield Town(node)


@pytest.fixture
def town(standing):
    before = Checkpoint(standing.chain.web3)
    yield standing
    before.restore()


async def test_each_gateway_with_a_final_grant_is_named_with_its_key(town):
    town.grant("kdd", "gw-1", "gw-pq")
    town.grant("mnist", "gw-2")
    town.mine()
    async with town.grants() as grants:
        found = await grants.recipients("kdd")
        assert {name: key.kem for name, key in found.keys.items()} == {
            "gw-1": Kem.X25519,
            "gw-pq": Kem.MLKEM768_X25519,
        }
        assert found.keys["gw-1"].data == PUBLIC[0]
        assert found.from_chain
        assert found.left_out == ()
        assert found.source.startswith(f"eip155:{CHAIN_ID} block ")
        assert set((await grants.recipients("mnist")).keys) == {"gw-2"}
        assert not (await grants.recipients("nab")).keys


async def test_a_grant_counts_when_it_is_final_and_its_end_at_once(town):
    async with town.grants() as grants:
        town.grant("kdd", "gw-1", "gw-2")
        assert await reasons(grants) == {"gw-1": "grant-not-final", "gw-2": "grant-not-final"}
        town.mine()
        assert set((await grants.recipients("kdd")).keys) == {"gw-1", "gw-2"}
        town.ungrant("kdd", "gw-2")
        found = await grants.recipients("kdd")
        assert set(found.keys) == {"gw-1"}
        assert found.left_out == (LeftOut("gw-2", "ungranted"),)
        town.mine()
        assert await reasons(grants) == {}
        town.grant("kdd", "gw-2")
        assert await reasons(grants) == {"gw-2": "grant-not-final"}


async def reasons(grants, model="kdd"):
    return dict((await grants.recipients(model)).left_out)


async def test_a_gateway_that_is_shut_out_gets_no_key_at_once_and_comes_back_when_that_is_final(town):
    async with town.grants() as grants:
        town.grant("kdd", "gw-1", "gw-2")
        town.mine()
        town.chain.suspend("gw-1")
        town.chain.revoke("gw-2")
        assert await reasons(grants) == {"gw-1": "not-active", "gw-2": "not-active"}
        town.mine()
        town.chain.reinstate("gw-1")
        assert await reasons(grants) == {"gw-1": "not-active", "gw-2": "not-active"}
        town.mine()
        assert set((await grants.recipients("kdd")).keys) == {"gw-1"}


async def test_a_new_key_counts_when_it_is_final_and_the_old_one_no_more(town):
    async with town.grants() as grants:
        town.grant("kdd", "gw-1")
        town.mine()
        old = town.gateways["gw-1"]
        town.chain.renew_miner(Gateway("gw-1", old.account, number=old.number, hpke_key=PUBLIC[3]))
        assert await reasons(grants) == {"gw-1": "key-not-final"}
        town.mine()
        assert (await grants.recipients("kdd")).keys["gw-1"].data == PUBLIC[3]


async def test_what_is_known_is_not_read_again_and_another_history_is(town):
    town.grant("kdd", "gw-1")
    town.mine()
    async with town.grants() as grants:
        assert await grants.catch_up()
        before = grants._known
        assert set((await grants.recipients("kdd")).keys) == {"gw-1"}
        assert grants._known is before
        grants._known = before._replace(block_hash=b"\x01" * 32, fold=Fold())
        assert set((await grants.recipients("kdd")).keys) == {"gw-1"}
        grants._known = before._replace(block=before.block + 1000)
        with pytest.raises(AuthorityRefused, match="is behind"):
            await grants.recipients("kdd")


async def test_small_steps_read_the_same(town):
    town.grant("kdd", "gw-1", "gw-2")
    town.ungrant("kdd", "gw-2")
    town.mine()
    async with town.grants(blocks=2) as small, town.grants() as large:
        assert await small.recipients("kdd") == await large.recipients("kdd")


async def test_another_contract_and_a_node_that_is_gone_say_nothing(town):
    async with town.grants(model_registry=bytes.fromhex(town.chain.log.address[2:])) as grants:
        with pytest.raises(AuthorityRefused, match="not the contract") as refused:
            await grants.recipients("kdd")
        assert refused.value.reason is Refusal.NO_GRANTS
        assert not await grants.catch_up()
    config = ChainConfig(rpc=("http://127.0.0.1:1",), chain_id=CHAIN_ID)
    async with EvmChain(config, Clock()) as client:
        with pytest.raises(AuthorityRefused, match="does not say"):
            await ChainGrants(client, town.where()).recipients("kdd")


async def test_what_is_wrapped_opens_at_the_gateways_that_are_named_and_for_that_ciphertext_alone(town, tmp_path):
    town.grant("kdd", "gw-1", "gw-2", "gw-pq")
    town.mine()
    town.chain.suspend("gw-2")
    directory = made(tmp_path / "authority")
    enlist(directory, "acme", b"a certificate", "kdd")
    async with town.grants() as grants:
        with house(directory, WORDS) as found:
            centauth = authority(directory, found, grants)
            key = (await centauth.answer(caller(b"a certificate"), Ask("kdd", 4))).key
            answer = await centauth.answer(caller(b"a certificate"), Ask("kdd", 4, DIGEST))
    wrapped = {each.gateway_id: each.key for each in answer.wrapped}
    assert set(wrapped) == {"gw-1", "gw-pq"}
    assert answer.left_out == (LeftOut("gw-2", "not-active"),)
    assert unwrap(wrapped["gw-1"], KEYS[0], wrap_info("kdd", 4, DIGEST, "gw-1")) == key
    assert unwrap(wrapped["gw-pq"], hybrid_private_key(HYBRID_SEED), wrap_info("kdd", 4, DIGEST, "gw-pq")) == key
    with pytest.raises(ValueError, match="wrap-failed"):
        unwrap(wrapped["gw-1"], KEYS[0], wrap_info("kdd", 4, DIGEST[::-1], "gw-1"))


# --- the judgement alone ---


def folded(gateways, grants):
    fold = Fold()
    fold.gateways, fold.grants = gateways, {"kdd": grants}
    return fold


NAMES = st.sampled_from(["gw-1", "gw-2", "gw-3"])
FOLDS = st.builds(
    folded,
    st.dictionaries(NAMES, st.builds(Standing, st.sampled_from([*PUBLIC[:2], bytes(32)]), st.booleans())),
    st.sets(NAMES),
)


@given(FOLDS, FOLDS)
def test_a_gateway_gets_a_key_when_both_states_say_so_and_each_other_one_a_reason(final, head):
    found = recipients_of("kdd", final, head, "a test")
    sound = {
        name
        for name in final.grants["kdd"] & head.grants["kdd"]
        if (then := final.gateways.get(name))
        and (now := head.gateways.get(name))
        and then.active
        and now.active
        and then.hpke_key == now.hpke_key != bytes(32)
    }
    assert set(found.keys) == sound
    assert {each.gateway_id for each in found.left_out} == (final.grants["kdd"] | head.grants["kdd"]) - sound
    assert all(found.keys[name] == parse_recipient(final.gateways[name].hpke_key) for name in sound)


class Grudging:
    """A view of an endpoint that tells no events, or too many."""

    endpoint = "grudging"
    head = final = Block(8, b"\x08" * 32, b"\x07" * 32, 0, None)

    async def logs(self, wanted, start, end):
        raise TooManyLogs("too many")


async def test_an_endpoint_that_will_not_tell_a_single_block_is_a_fault():
    grants = ChainGrants(None, Where(bytes(20), bytes(20), 0))
    with pytest.raises(EndpointFault, match="events of block 0"):
        await grants._read(Grudging(), Fold(), 0, 8)
