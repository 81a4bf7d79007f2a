"""A gateway's journal and a real chain that know of each other: device, miner and anchors of ``cli_world.World``."""

import asyncio
import threading
import time
from functools import partial
from unittest import mock

import cli_world
from cli_world import DEVICE, DEVICE_SIGNING_KEY, LOG_KEY, NOW_MS
from support.anvil import CHAIN_ID
from support.contracts_kit import X25519_KEY, Chain, log_id
from web3 import Web3
from web3.middleware import SignAndSendRawMiddlewareBuilder, Web3Middleware

from gateway.chain.devchain import DevChain
from gateway.config.model import JournalConfig
from gateway.journal import AnchorRow, open_journal, open_reader
from gateway.journal.identities import IdentityCursor, IdentityRow
from gateway.tlog.tiles import root_at

LOG_ID = log_id("plant", "gw-1")


def filled(world, messages, covered=None, ahead_s=0):
    """Fill a World with messages of now, by the clock that the node has too."""
    with mock.patch.object(cli_world, "NOW_MS", int((time.time() + ahead_s) * 1000)):
        return world.fill(messages=messages, covered=covered)


class OnChain:
    """Both contracts on a node, with the device and the gateway of the World registered."""

    def __init__(self, node, *, device=True, miner=True):
        self.node = node
        self.chain = Chain(node.web3())
        self.web3 = self.chain.web3
        if device:
            self.chain.register("plant", (DEVICE, 1, bytes(DEVICE_SIGNING_KEY.verify_key)))
        if miner:
            self.register_miner()

    @property
    def options(self):
        """What a verifier gives beside --rpc."""
        return (
            *("--registry-address", self.chain.registry.address),
            *("--anchor-log", self.chain.log.address),
        )

    def miner_struct(self, log_key=LOG_KEY.public_key, account=None):
        return ("gw-1", "plant", log_key, X25519_KEY, account or self.chain.miner)

    def register_miner(self):
        self.chain.send(self.chain.registrar, self.chain.registry, "registerMiner", self.miner_struct())

    def renew_miner(self, **changes):
        self.chain.send(self.chain.registrar, self.chain.registry, "renewMiner", self.miner_struct(**changes))

    def bury(self, blocks=8):
        """Let the newest block become final."""
        self.web3.provider.make_request("anvil_mine", [hex(blocks)])

    def anchor(self, size, root):
        """Anchor, and return (tx hash, block number, block hash)."""
        call = self.chain.log.functions.anchor(LOG_ID, size, root)
        sent = call.transact({"from": self.chain.miner, "gas": 200_000})
        receipt = self.web3.eth.wait_for_transaction_receipt(sent, timeout=30, poll_latency=0.005)
        assert receipt["status"] == 1
        return bytes(receipt["transactionHash"]), receipt["blockNumber"], bytes(receipt["blockHash"])


def chain_config(world, on_chain, rpc=None, extra=""):
    """Add the chain to a World's configuration."""
    contracts = on_chain.chain
    world.config.write_text(
        world.config.read_text(encoding="utf-8")
        + f'[chain]\nrpc = ["{rpc or on_chain.node.url}"]\nchain_id = {CHAIN_ID}\n'
        + f'registry = "{contracts.registry.address}"\nanchor_log = "{contracts.log.address}"\n{extra}',
        encoding="utf-8",
    )


def root_of(world, size):
    with open_reader(world.data_dir) as reader:
        return root_at(reader, size)


def anchor_row(on_chain, size, root, state="final", where=(None, None, None), **changes):
    tx_hash, block_number, block_hash = where
    row = AnchorRow(
        id=size,
        chain_id=CHAIN_ID,
        contract=bytes.fromhex(on_chain.chain.log.address[2:]),
        size=size,
        root=root,
        state=state,
        is_open=state not in {"final", "superseded", "failed", "abandoned"},
        sealed_ms=NOW_MS,
        changed_ms=NOW_MS,
        account=bytes.fromhex(on_chain.chain.miner[2:]),
        tx_hash=tx_hash,
        block_number=block_number,
        block_hash=block_hash,
    )
    return row._replace(**changes)


def record(world, *rows, identities=()):
    """Write outbox rows and identities into a World's journal."""

    async def write():
        journal = open_journal(world.data_dir, JournalConfig(), origin=LOG_KEY.name).journal
        await journal.record_anchors(rows)
        if identities:
            await journal.apply_identities(identities, IdentityCursor("31337:test", 1, bytes(32), NOW_MS))
        await journal.close()

    asyncio.run(write())


def identities_of(on_chain):
    account = bytes.fromhex(on_chain.chain.miner[2:])
    return (
        IdentityRow(DEVICE, 1, "plant", 1, bytes(DEVICE_SIGNING_KEY.verify_key), 1),
        IdentityRow("gw-1", 2, "plant", 1, LOG_KEY.public_key, 1, account, X25519_KEY),
    )


def anchored(world, on_chain, size):
    """Anchor the World's log at a size: on the chain, final, and in the outbox."""
    root = root_of(world, size)
    where = on_chain.anchor(size, root)
    on_chain.bury()
    record(world, anchor_row(on_chain, size, root, where=where), identities=identities_of(on_chain))
    return where


class Accounts(Web3Middleware):
    """Knows the accounts that the chain leaves to its clients."""

    def __init__(self, addresses, web3):
        super().__init__(web3)
        self._addresses = addresses

    def wrap_make_request(self, make_request):
        def answer(method, params):
            if method == "eth_accounts":
                return {"jsonrpc": "2.0", "id": 1, "result": self._addresses}
            return make_request(method, params)

        return answer


class DevNode:
    """The embedded development chain, on a loop of its own, as ``OnChain`` wants a node."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._chain = DevChain()

    def __enter__(self):
        self._thread.start()
        self._run(self._chain.__aenter__())
        self.url = self._chain.url
        return self

    def __exit__(self, *_):
        self._run(self._chain.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def mine(self, blocks):
        self._run(self._chain.mine(blocks))

    def web3(self):
        web3 = Web3(Web3.HTTPProvider(self.url))
        keys = [account.private_key for account in self._chain.accounts]
        web3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(keys), "signing", layer=0)
        addresses = [account.address for account in self._chain.accounts]
        web3.middleware_onion.inject(partial(Accounts, addresses), "accounts", layer=0)
        return web3
