"""From a transaction to a verdict: a real chain, a real block store, a real model in its real process."""

import asyncio
import contextlib
import hashlib
import json
import time
from typing import NamedTuple

import pytest
from detection.make_models import dense_model, hanging
from support.anvil import Anvil
from support.contracts_kit import Chain, Gateway, Models
from vault_kit import DATA_KEY, PLAIN, PRIVATE_KEYS, PUBLISHER, RECIPIENTS, manifest_of, secret, signed

from gateway.chain.client import EvmChain
from gateway.chain.watch import ChainWatch
from gateway.config.model import ChainConfig, JournalConfig, ModelsConfig
from gateway.detection.link import Limits
from gateway.detection.scorer import FAULTS, ModelSet
from gateway.detection.spec import Column, InputSpec, ModelSpec, OutputKind, OutputSpec, SmokeTest
from gateway.journal import open_journal
from gateway.message import Alg, Encoding, Envelope, RawMessage, Verdict, VerifiedMessage
from gateway.vault.blocks import BlockStore
from gateway.vault.cid import Codec, block_of
from gateway.vault.ipfs import FetchTimes, Sources
from gateway.vault.ipfs_sources import StoreSource
from gateway.vault.manifest import Plaintext
from gateway.vault.receiver import Contract, ModelReceiver
from gateway.vault.receiver_open import Means
from gateway.vault.wrap import wrap_for

MODEL = "mean"
MESSAGE_S = 10.0
"""The mark: from the finality of the publication to the first scored message."""


class Clock(NamedTuple):
    """The clocks of this machine."""

    monotonic_s: object = time.monotonic
    wall_ms: object = staticmethod(lambda: int(time.time() * 1000))


def message(**values):
    payload = json.dumps([{"n": name, "v": value} for name, value in values.items()]).encode()
    envelope = Envelope(
        Encoding.COSE, "pump-1", "plant", Alg.ED25519, 110, time.time(), b"s" * 8, 1, payload, b"", b"", b""
    )
    return VerifiedMessage(RawMessage(payload, "mqtt", "pump-1", 1, lambda outcome: None), envelope)


def spec(smoke):
    inputs = InputSpec((Column("a"), Column("b")), None, 1, (2,))
    return ModelSpec(inputs, OutputSpec(OutputKind.PROBABILITY, 0.5, ()), smoke)


MEAN = dense_model([([[0.5, 0.5]], [0.0])])
MEAN_SMOKE = SmokeTest((0.0, 0.5), (0.25,), 1e-5)


class World:
    """A publisher with its chain and block store, and a gateway beside it."""

    def __init__(self, node, directory):
        self.chain = Chain(node.web3())
        self.models = Models(self.chain)
        self.chain.register_miner(Gateway(PLAIN, self.chain.miner))
        self.models.send(self.models.admin, "registerPublisher", self.models.publisher, 1, PUBLISHER.data)
        self.models.send(self.models.granter, "grant", MODEL, [PLAIN])
        self.store = BlockStore(directory / "blocks", 1 << 24)
        self.journal = open_journal(directory, JournalConfig(), origin="securenet/plant/gw-1").journal
        self.told = []
        self.running = ModelSet(time.monotonic, Limits(model_s=0.5), self.put_aside)
        sources = Sources(
            [StoreSource(self.store)], store=None, times=FetchTimes(5.0, 5.0), monotonic_s=time.monotonic
        )
        addresses = (bytes.fromhex(each.address[2:]) for each in (self.models.contract, self.chain.registry))
        config = ModelsConfig(enabled=(MODEL,))
        self.receiver = ModelReceiver(
            config,
            Contract(*addresses, 0, 5000),
            Means(sources, PRIVATE_KEYS[PLAIN], PLAIN, config.max_bytes),
            running=self.running,
            store=self.journal,
            tell=lambda _, version, __, event, reason: self.told.append((version, event, reason)),
            clock=Clock(),
        )
        self.evm = EvmChain(ChainConfig(rpc=(node.url,), chain_id=31337, requests_per_s=1000.0), Clock())
        self.watch = ChainWatch(self.evm, [self.receiver], poll_s=0.2, wall_ms=Clock().wall_ms)

    def put_aside(self, model, why):
        self.receiver.put_aside(model, why)

    def publish(self, version, data, smoke):
        """Make a bundle, put it into the store and its name onto the chain; final when this returns."""
        ciphertext = secret(data, model_id=MODEL, version=version)
        now_ms = int(time.time() * 1000)
        manifest = manifest_of(data, ciphertext)._replace(
            model_id=MODEL,
            version=version,
            plaintext=Plaintext(len(data), hashlib.sha256(data).digest()),
            spec=spec(smoke),
            created_ms=now_ms - 1000,
            expires_ms=now_ms + 3_600_000,
            wrapped=wrap_for(RECIPIENTS, DATA_KEY, MODEL, version, hashlib.sha256(ciphertext).digest()),
        )
        envelope, named = signed(manifest)
        blocks = [block_of(Codec.RAW, part) for part in (ciphertext, envelope)]
        for block in blocks:
            self.store.put(block)
        self.models.publish(MODEL, version, cid=str(blocks[1].cid), sha256=named.manifest_sha256)
        self.finalise()
        return named.manifest_sha256

    def finalise(self):
        self.chain.web3.provider.make_request("anvil_mine", ["0x4"])

    async def score(self, **values):
        (found,) = await self.running.score([message(**values)])
        return found

    async def until_scored_by(self, digest):
        begun = time.monotonic()
        while (await self.score(a=1.0, b=0.5)).model != digest:
            assert time.monotonic() - begun < MESSAGE_S, self.receiver.status()
            await asyncio.sleep(0.02)

    async def until_works_again(self):
        begun = time.monotonic()
        while (await self.score(a=1.0, b=0.5)).verdict is Verdict.UNSCORED:
            assert time.monotonic() - begun < MESSAGE_S, self.running.status()
            await asyncio.sleep(0.02)

    async def until_told(self, entry):
        begun = time.monotonic()
        while entry not in self.told:
            assert time.monotonic() - begun < MESSAGE_S, (self.told, self.receiver.status())
            await asyncio.sleep(0.02)


@pytest.fixture
async def world(tmp_path):
    """All of it, running."""
    with Anvil("--slots-in-an-epoch", "1") as node:
        found = World(node, tmp_path)
        tasks = [asyncio.create_task(part.run()) for part in (found.running, found.receiver, found.watch)]
        try:
            yield found
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            await found.evm.close()
            await found.journal.close()


async def test_a_publication_becomes_a_verdict_within_the_mark_and_a_bad_one_changes_nothing(world):
    first = world.publish(1, MEAN, MEAN_SMOKE)
    await world.until_scored_by(first)
    assert (await world.score(a=1.0, b=0.5)).verdict is Verdict.ANOMALOUS
    world.publish(2, MEAN, MEAN_SMOKE._replace(expected=(0.9,)))
    await world.until_told((2, "refused", "smoke-test"))
    assert (await world.score(a=1.0, b=0.5)).model == first
    world.models.send(world.models.granter, "ungrant", MODEL, [PLAIN])
    world.publish(3, MEAN, MEAN_SMOKE)
    await world.until_told((3, "refused", "not-granted"))
    assert (await world.score(a=1.0, b=0.5)).model == first
    assert world.told == [(1, "loaded", None), (2, "refused", "smoke-test"), (3, "refused", "not-granted")]


@pytest.mark.slow
async def test_a_model_that_fails_at_work_gives_way_to_the_one_before_by_itself(world):
    first = world.publish(1, MEAN, MEAN_SMOKE)
    await world.until_scored_by(first)
    second = world.publish(2, hanging(2), SmokeTest((0.0, 3.0), (3.0,), 1e-5))
    await world.until_scored_by(second)
    for _ in range(FAULTS):
        assert (await world.score(a=0.0, b=5000.0)).verdict is Verdict.UNSCORED
        await world.until_works_again()
    await world.until_told((1, "returned", "put-aside"))
    await world.until_scored_by(first)
    assert world.told == [
        (1, "loaded", None),
        (2, "loaded", None),
        (2, "refused", "put-aside"),
        (1, "returned", "put-aside"),
    ]
