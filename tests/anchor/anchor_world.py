"""A gateway's log and its anchoring against a real node: a real journal, a real client, a clock that tests move."""

import time
from contextlib import AsyncExitStack
from functools import partial

from support.anvil import CHAIN_ID, Anvil
from support.contracts_kit import Chain, Gateway
from web3 import Web3

from gateway.anchor.lifecycle import State
from gateway.anchor.sender import Anchoring, Means
from gateway.anchor.transaction import Target
from gateway.chain.client import EvmChain
from gateway.chain.contracts import log_id
from gateway.chain.events import Anchored, anchor_filter, decode_log
from gateway.config.model import AnchorConfig, ChainConfig, JournalConfig
from gateway.crypto.anchoring_key import AnchoringKey
from gateway.journal import CheckpointRow, EntryRow, Group, TileRow, open_journal, open_reader
from gateway.tlog.merkle import leaf_hash
from gateway.tlog.tiles import TileWriter

ETHER = 10**18
GWEI = 10**9
SOON = AnchorConfig(interval_s=10.0, min_interval_s=1.0, replace_after_s=5.0)
OPTIONS = ("--slots-in-an-epoch", "1")


class Clock:
    """The chain client's: the machine's, set ahead by so much."""

    ahead_s = 0.0

    def monotonic_s(self):
        return time.monotonic() + self.ahead_s

    @staticmethod
    def wall_ms():
        return time.time_ns() // 1_000_000


class Node:
    """Anvil with both contracts, and the calls that make a chain misbehave."""

    def __init__(self, *options):
        self.anvil = Anvil(*OPTIONS, *options)

    def __enter__(self):
        self.anvil.__enter__()
        self.web3 = self.anvil.web3()
        self.chain = Chain(self.web3)
        return self

    def __exit__(self, *_):
        self.anvil.__exit__()

    @property
    def url(self):
        return self.anvil.url

    def ask(self, method, *params):
        answer = self.web3.provider.make_request(method, list(params))
        assert "error" not in answer, answer
        return answer["result"]

    def mine(self, blocks=1):
        self.ask("anvil_mine", hex(blocks))

    def automine(self, on):
        self.ask("evm_setAutomine", on)

    def drop(self, row):
        """Forget the transaction of a row that waits for a block."""
        self.ask("anvil_dropTransaction", "0x" + row.tx_hash.hex())

    def fund(self, account, wei):
        self.ask("anvil_setBalance", Web3.to_hex(account), hex(wei))

    def next_base_fee(self, gwei):
        self.ask("anvil_setNextBlockBaseFeePerGas", hex(round(gwei * GWEI)))

    def nonce(self, account):
        return self.web3.eth.get_transaction_count(Web3.to_checksum_address(account))

    @property
    def height(self):
        return self.web3.eth.block_number


class World:
    """One gateway: its journal, its account, its anchoring."""

    def __init__(self, node, directory, *, name="gw-1", config=SOON, number=1, url=None, **chain_settings):
        self.node = node
        self.directory = directory
        self.name = name
        self.config = config
        self.key = AnchoringKey((1000 + number).to_bytes(32, "big"))
        self.origin = f"securenet/plant/{name}"
        self.log_id = log_id(self.origin)
        self.contract = bytes.fromhex(node.chain.log.address[2:])
        settings = {
            "rpc": (url or node.url,),
            "chain_id": CHAIN_ID,
            "requests_per_s": 100_000.0,
            "max_head_age_s": 86400,
        }
        self.clock = Clock()
        self.evm = EvmChain(ChainConfig(**(settings | chain_settings)), self.clock)
        self.now_ms = Clock.wall_ms()
        self.means_of = lambda means: means

    def register(self):
        account = Web3.to_checksum_address(self.key.address)
        gateway = Gateway(self.name, account, number=900)
        self.node.chain.register_miner(gateway)
        self.node.fund(self.key.address, 10 * ETHER)
        return self

    def advance(self, seconds):
        self.now_ms += round(seconds * 1000)

    async def __aenter__(self):
        self._stack = AsyncExitStack()
        self._stack.push_async_callback(self.evm.close)
        await self.open()
        return self

    async def __aexit__(self, *_):
        await self.journal.close()
        await self._stack.aclose()

    async def open(self):
        self.journal = open_journal(self.directory, JournalConfig(), origin=self.origin).journal
        self.tree = TileWriter.restore(self.journal, self.journal.size())
        target = Target(CHAIN_ID, self.contract, self.log_id)
        means = Means(self.journal, partial(open_reader, self.directory), self.key, lambda: self.now_ms)
        self.anchoring = Anchoring(self.config, target, self.means_of(means))

    async def reopen(self):
        """The process ended, and another one begins."""
        await self.journal.close()
        await self.open()

    async def grow(self, count=5, *, salt=b""):
        """Entries, tiles and a checkpoint, as the ingest would commit them."""
        first = self.journal.size()
        entries = [EntryRow(index, b"%d" % index + salt) for index in range(first, first + count)]
        tiles = self.tree.extend([leaf_hash(row.entry) for row in entries])
        checkpoint = CheckpointRow(first + count, self.tree.root(), "note", self.now_ms)
        rows = [TileRow(tile.level, tile.index, tile.data) for tile in tiles]
        await self.journal.commit(Group(entries, tiles=rows, checkpoint=checkpoint))

    async def look(self, times=1):
        for _ in range(times):
            async with self.evm.view() as view:
                await self.anchoring.look(view)

    async def send_without_a_block(self, count=5):
        """Grow and anchor on a chain that makes no blocks by itself any more; return the row that waits."""
        self.node.automine(False)
        await self.grow(count)
        await self.look()
        return (await self.rows())[-1]

    def let_another_program_use(self, nonce):
        """Another holder of the account's key sends a transaction of its own, which pays well."""
        fees = {"maxFeePerGas": 100 * GWEI, "maxPriorityFeePerGas": 50 * GWEI}
        fields = {"chainId": CHAIN_ID, "nonce": nonce, "to": bytes(20), "value": 1, "data": b"", "gas": 21_000}
        self.node.ask("eth_sendRawTransaction", "0x" + self.key.sign_transaction(fields | fees).hex())

    async def anchor(self, count=5):
        """Grow, seal and see it mined."""
        await self.grow(count)
        self.advance(11)
        await self.look(2)

    async def rows(self):
        return list(reversed(await self.journal.newest_anchors(1000)))

    async def states(self):
        return [row.state for row in await self.rows()]

    async def settle(self):
        """Let the chain go on until every anchor has come to its end."""
        for _ in range(30):
            await self.look()
            self.node.mine(3)
            if not await self.journal.open_anchors():
                return
            self.advance(6)
        raise AssertionError(await self.rows())

    async def events(self):
        """What the chain has of our log."""
        async with self.evm.view() as view:
            return [
                decode_log(record)
                for record in await view.logs(anchor_filter(self.contract, self.log_id), 0, view.head.number)
            ]

    async def assert_custody(self, *, foreign=0):
        """Exactly one anchor a size, sizes rise, roots are the log's, no nonce is stuck, nothing is left over.

        ``foreign``: so many transactions of the account are not from this outbox.
        """
        events = await self.events()
        assert all(isinstance(event, Anchored) for event in events)
        sizes = [event.size for event in events]
        assert sizes == sorted(set(sizes))
        with open_reader(self.directory) as reader:
            own = {reader.latest_checkpoint().size: reader.latest_checkpoint().root}
            assert reader.final_size() == sizes[-1]
        assert all(own.get(event.size, event.root) == event.root for event in events)
        assert sizes[-1] == self.journal.size()
        rows = await self.rows()
        assert not any(row.is_open for row in rows)
        assert [row.size for row in rows if row.state == State.FINAL] == sizes
        used = [row.nonce for row in rows if row.state in {State.FINAL, State.FAILED} and row.nonce is not None]
        assert len(set(used)) == len(used)
        assert self.node.nonce(self.key.address) == len(used) + foreign

    @property
    def hold(self):
        held = self.anchoring.status().hold
        return None if held is None else held.reason.value
