"""The chain goes away, for a while and for too long; the source of models is not there when one is published."""

from __future__ import annotations

import random

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from custody.test_custody_models import MODEL, Publisher
from field_faults import FAULTS
from field_kit import event_after, status_of, told, until
from kill.kill_check import assert_every_promise_is_kept
from support.anvil import Anvil
from support.custody import CustodyWorld, LastingAnvil
from support.door import Door, Way
from support.gateway import Gateway
from support.ipfs_gateway import IpfsGateway
from support.mosquitto import free_port

from gateway.vault.blocks import BlockStore
from gateway.vault.cid import Cid, Codec

RATE = 40.0
MAX_AGE_S = 10

pytestmark = [pytest.mark.broker, pytest.mark.slow]


async def test_a_chain_that_is_away_for_a_while_and_for_too_long(tmp_path, gateway_of, mqtt, fleet, records):
    with LastingAnvil(tmp_path / "chain.json") as anvil:
        world = CustodyWorld(anvil, tmp_path / "keys")
        gateway = gateway_of(mqtt=mqtt, registry={"max_age_s": MAX_AGE_S}, **world.sections())
        world.fund()
        world.register_devices(records)
        world.register_miner(gateway)
        world.mine(2)
        gateway.start()
        await gateway.ready()
        async with fleet.publishing(RATE):
            await until(lambda: fleet.receipts > 20)
            ups, holds = len(gateway.events("chain.up")), len(gateway.events("gateway.holds_back"))
            goings_on = len(gateway.events("gateway.takes_in"))
            anvil.stop()
            await told(gateway, "chain")
            before = fleet.receipts
            await until(lambda: fleet.receipts > before + 20)
            await told(gateway, "chain-for-long", holds)
            assert len(gateway.events("chain.down")) == 1, "it is told once"
            anvil.start()
            await event_after(gateway, FAULTS["chain"].back, ups, 30)
            await event_after(gateway, FAULTS["chain-for-long"].back, goings_on, 30)
            await gateway.ready()
        assert await fleet.drain(30) == 0
        assert not [each for each in (await status_of(gateway))["warnings"] if "chain is" in each]
        assert await gateway.stop() == 0
        await assert_every_promise_is_kept(gateway, fleet.messages, random.Random(3))


async def test_a_source_of_models_that_is_away(tmp_path, gateway_of):
    private = X25519PrivateKey.generate()
    key_file = tmp_path / "hpke.pem"
    key_file.touch(mode=0o600)
    key_file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = private.public_key().public_bytes_raw()
    with Anvil() as anvil:
        world = CustodyWorld(anvil, tmp_path / "keys")
        publisher = Publisher(world, tmp_path / "blocks", Gateway.id, public)
        async with IpfsGateway() as ipfs, Door(int(ipfs.url.rpartition(":")[2])) as door:
            sections = world.sections()
            sections["chain"]["model_registry"] = publisher.address
            gateway = gateway_of(
                **sections,
                gateway={"hpke_key_file": str(key_file)},
                coap={"host": "127.0.0.1", "port": free_port()},
                models={"enabled": [MODEL]},
                ipfs={"sources": [f"gateway:http://127.0.0.1:{door.port}"]},
            )
            world.fund()
            world.register_miner(gateway, hpke_key=public)
            world.mine()
            gateway.start()
            await gateway.ready()
            await door.close(Way.SHUT)
            await publisher.publish(1)
            publisher.models.send(publisher.models.granter, "grant", MODEL, [gateway.id])
            world.mine(2)
            ipfs.blocks |= blocks_of(tmp_path / "blocks")
            await told(gateway, "ipfs")
            assert (await gateway.status())["ready"], "messages are taken, and stored unscored"
            await door.open()
            await event_after(gateway, FAULTS["ipfs"].back, 0, 30)
            await event_after(gateway, "model.loaded", 0, 30)
            assert not [each for each in (await status_of(gateway))["warnings"] if FAULTS["ipfs"].status in each]
            assert len(gateway.events(FAULTS["ipfs"].event)) == 1, "it is told once"
            assert await gateway.stop() == 0


def blocks_of(folder):
    """What a publisher has, for whatever codec is asked."""
    store = BlockStore(folder, 1 << 30)
    cids = [Cid(codec, digest) for digest in store.digests() for codec in (Codec.RAW, Codec.DAG_PB)]
    return {cid: store.get(cid).data for cid in cids}
