"""A gateway's anchoring that ends itself: at a numbered point of a scenario, by SIGKILL.

One process imports everything once and forks for each run; a run is a line of JSON on standard input, and its end a
line on standard output. The points are before and after each write of the outbox and each broadcast. The product
knows nothing of this: the journal and the view are wrapped here.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import structlog
from anchor_world import GWEI, Node, World
from support.contracts_kit import Chain, artifact
from web3 import Web3

from gateway.journal import open_reader


class Attached(Node):
    """A node that somebody else started."""

    def __init__(self, url, registry, anchor_log):
        self.web3 = Web3(Web3.HTTPProvider(url))
        self.here = url
        self.chain = object.__new__(Chain)
        self.chain.web3 = self.web3
        accounts = self.web3.eth.accounts
        self.chain.admin, self.chain.registrar, self.chain.suspender = accounts[:3]
        self.chain.registry = self.web3.eth.contract(address=registry, abi=artifact("IdentityRegistry")["abi"])
        self.chain.log = self.web3.eth.contract(address=anchor_log, abi=artifact("AnchorLog")["abi"])
        self.chain.contracts = {each.address: each for each in (self.chain.registry, self.chain.log)}

    @property
    def url(self):
        return self.here


class Points:
    """Counts the points, writes their names down, and kills at the one that was asked for."""

    def __init__(self, path, fatal):
        self.path = path
        self.fatal = fatal
        self.count = 0

    def reach(self, name):
        with self.path.open("a") as out:
            out.write(f"{name}\n")
        if self.count == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


class Outbox:
    """The journal, with a point before and after each write."""

    def __init__(self, journal, points):
        self.journal = journal
        self.points = points

    def __getattr__(self, name):
        return getattr(self.journal, name)

    async def record_anchors(self, rows):
        name = "+".join(row.state for row in rows)
        self.points.reach(f"before {name}")
        await self.journal.record_anchors(rows)
        self.points.reach(f"after {name}")

    async def set_final_size(self, size):
        self.points.reach("before the final size")
        await self.journal.set_final_size(size)
        self.points.reach("after the final size")


class Wire:
    """A view, with a point before and after each broadcast."""

    def __init__(self, view, points):
        self.view = view
        self.points = points

    def __getattr__(self, name):
        return getattr(self.view, name)

    async def send(self, raw):
        self.points.reach("before a broadcast")
        result = await self.view.send(raw)
        self.points.reach("after a broadcast")
        return result


class DoomedWorld(World):
    """The world of tests/anchor, with points."""

    def __init__(self, points, *args, **settings):
        super().__init__(*args, **settings)
        self.points = points
        self.means_of = lambda means: means._replace(outbox=Outbox(means.outbox, points))

    async def look(self, times=1):
        for _ in range(times):
            async with self.evm.view() as view:
                await self.anchoring.look(Wire(view, self.points))


async def plain(world):
    """Two anchors, one after the other."""
    for _ in range(2):
        await world.anchor(5)
        await world.settle()


async def replaced(world):
    """The first transaction is passed over; another one bids more with a newer checkpoint, and is mined."""
    world.node.automine(False)
    await world.grow(5)
    await world.look()
    await world.grow(4)
    world.node.next_base_fee(50)
    world.node.mine()
    world.advance(6)
    await world.look()
    world.node.mine()
    await world.look()
    await world.settle()


async def reorged(world):
    """The block of the first anchor vanishes, and the transaction with it."""
    await world.anchor(5)
    world.node.automine(False)
    world.node.ask("anvil_reorg", 1, [])
    await world.look()
    await world.settle()


async def displaced(world):
    """Another program takes the nonce of a transaction that waits."""
    world.node.automine(False)
    await world.grow(5)
    await world.look()
    row = (await world.rows())[-1]
    world.node.ask("anvil_dropTransaction", "0x" + row.tx_hash.hex())
    fees = {"maxFeePerGas": 100 * GWEI, "maxPriorityFeePerGas": 50 * GWEI}
    fields = {"chainId": 31337, "nonce": row.nonce, "to": bytes(20), "value": 1, "data": b"", "gas": 21_000}
    world.node.ask("eth_sendRawTransaction", "0x" + world.key.sign_transaction(fields | fees).hex())
    world.directory.with_suffix(".foreign").touch()
    world.node.mine()
    world.advance(2)
    await world.look()
    world.node.mine()
    await world.settle()


async def reverted(world):
    """The miner is suspended while its transaction waits, and reinstated when it was refused."""
    world.node.automine(False)
    await world.grow(5)
    await world.look()
    row = (await world.rows())[-1]
    world.node.ask("anvil_dropTransaction", "0x" + row.tx_hash.hex())
    world.node.automine(True)
    world.node.chain.suspend(world.name)
    await world.look(2)
    world.node.chain.reinstate(world.name)
    world.advance(11)
    await world.settle()


async def adopted(world):
    """The chain has an anchor that the outbox knows nothing of."""
    await world.grow(5)
    with open_reader(world.directory) as reader:
        root = reader.latest_checkpoint().root
    account = Web3.to_checksum_address(world.key.address)
    world.node.ask("anvil_impersonateAccount", account)
    if not world.node.chain.latest(world.log_id)[0]:
        world.node.chain.anchor(world.log_id, 5, root, account)
        world.directory.with_suffix(".foreign").touch()
    await world.grow(4)
    await world.look()
    await world.settle()


async def recover(world):
    """The next process: whatever was going on, the chain works, the log grows, everything is anchored."""
    world.node.automine(True)
    if world.node.chain.status(world.name) != 1:
        world.node.chain.reinstate(world.name)
    world.node.mine()
    await world.look()
    await world.grow(3)
    for _ in range(3):
        world.advance(11)
        await world.settle()
        if world.anchoring.status().final_size == world.journal.size():
            return
    raise AssertionError(await world.rows())


SCENARIOS = {run.__name__: run for run in (plain, replaced, reorged, displaced, reverted, adopted, recover)}


async def live(order):
    node = Attached(order["url"], order["registry"], order["anchor_log"])
    points = Points(Path(order["points"]), order["fatal"])
    world = DoomedWorld(points, node, Path(order["directory"]), name=order["name"], number=order["number"])
    async with world:
        await SCENARIOS[order["scenario"]](world)


def run(order):
    """A process of its own; return how it ended: 0, a traceback's 1, or -9."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    code = 1
    with contextlib.suppress(BaseException):
        try:
            asyncio.run(live(order))
            code = 0
        except BaseException:
            structlog.get_logger().exception("run")
            raise
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    for line in sys.stdin:
        print(run(json.loads(line)), flush=True)
