"""Before anything is anchored the gateway checks its own past, against the chain and against its own hashes."""

from functools import partial
from hashlib import sha256

from anchor_world import World
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3

from gateway.anchor.past import Anchored, Belief, Examination, Head, Verdict, examine, judge
from gateway.chain.events import Equivocation
from gateway.journal import open_reader
from gateway.tlog.merkle import leaf_hash
from gateway.tlog.tiles import TileWriter


def root(number):
    return sha256(b"%d" % number).digest()


def anchor_as_the_account(world, size, value):
    """Somebody who has the gateway's key anchors something."""
    account = Web3.to_checksum_address(world.key.address)
    world.node.ask("anvil_impersonateAccount", account)
    return world.node.chain.anchor(world.log_id, size, value, account)


async def test_a_forged_second_root_freezes_the_log_and_holds_anchoring(world):
    await world.anchor(5)
    anchor_as_the_account(world, 5, root(99))
    assert isinstance((await world.events())[-1], Equivocation)
    await world.settle()
    await world.grow(5)
    world.advance(11)
    await world.look(2)
    assert world.hold == "log-frozen"
    assert await world.states() == ["final"]
    await world.grow(5)  # taking in goes on
    assert world.anchoring.status().unanchored == 10


async def test_a_forgery_is_seen_while_there_is_nothing_to_anchor(world):
    await world.anchor(5)
    await world.settle()
    assert world.hold is None
    anchor_as_the_account(world, 5, root(99))
    await world.look()
    assert world.hold is None, "an idle log is compared every ten minutes, not at each look"
    world.advance(601)
    await world.look()
    assert world.hold == "log-frozen"
    await world.look(2)
    assert world.hold == "log-frozen", "a hold stays while its reason does"


async def test_a_clock_that_was_set_back_does_not_put_off_the_comparison(world):
    await world.anchor(5)
    await world.settle()
    world.advance(601)
    await world.look()
    anchor_as_the_account(world, 5, root(99))
    world.advance(-600)
    await world.look()
    assert world.hold == "log-frozen"


async def test_an_idle_gateway_whose_journal_was_wiped_says_so_at_its_first_look(node, tmp_path):
    async with World(node, tmp_path / "one").register() as world:
        await world.anchor(5)
        await world.settle()
    async with World(node, tmp_path / "two") as world:  # the same log, without a single entry
        await world.look()
        assert world.hold == "history-mismatch"


async def test_a_chain_ahead_of_the_log_holds_anchoring(world):
    anchor_as_the_account(world, 50, root(1))
    await world.grow(5)
    await world.look()
    assert world.hold == "history-mismatch"
    assert "the chain has 50 entries of this log, the journal 5" in world.anchoring.status().state
    assert await world.rows() == []


async def test_another_root_on_chain_holds_anchoring(world):
    anchor_as_the_account(world, 5, root(1))
    await world.grow(9)
    await world.look()
    assert world.hold == "history-mismatch"
    assert "another root for size 5" in world.anchoring.status().state


async def test_an_outbox_that_was_lost_is_filled_from_the_chain(node, tmp_path):
    async with World(node, tmp_path / "one").register() as world:
        await world.anchor(5)
        await world.settle()
        sent = (await world.rows())[0]
    async with World(node, tmp_path / "two") as world:  # the same log, without its outbox
        await world.grow(5)
        await world.grow(3)
        await world.look(2)
        found, fresh = await world.rows()
        assert (found.state, found.size, found.tx_hash) == ("final", 5, sent.tx_hash)
        assert (fresh.size, fresh.nonce) == (8, 1)
        await world.settle()
        assert [event.size for event in await world.events()] == [5, 8]


async def test_a_foreign_anchor_that_fits_is_taken_over(world):
    await world.anchor(5)
    await world.grow(3)
    with open_reader(world.directory) as reader:
        newest = reader.latest_checkpoint()
    anchor_as_the_account(world, 8, newest.root)
    world.advance(11)
    await world.look()
    await world.grow(2)
    world.advance(11)
    await world.look()
    await world.settle()
    assert [row.size for row in await world.rows() if row.state == "final"] == [5, 8, 10]


class Log:
    """A log in memory, to be examined."""

    def __init__(self, leaves, signed):
        self.leaves = leaves
        self.head = Head(signed, Log.root_of(leaves[:signed]))

    @staticmethod
    def root_of(leaves):
        writer = TileWriter()
        writer.extend(leaves)
        return writer.root()

    def tile(self, level, index):
        hashes = self.leaves[index * 256 : (index + 1) * 256]
        return b"".join(hashes) if level == 0 and len(hashes) == 256 else None

    def leaf_hashes(self, start, end):
        return self.leaves[start:end]

    def size(self):
        return len(self.leaves)

    def latest_checkpoint(self):
        return self.head


@given(st.integers(1, 60), st.data())
def test_an_honest_log_agrees_and_one_that_was_changed_below_the_anchor_never_does(count, data):
    leaves = [leaf_hash(b"%d" % number) for number in range(count)]
    anchored_size = data.draw(st.integers(0, count))
    signed = data.draw(st.integers(max(1, anchored_size), count))
    anchored = Head(anchored_size, Log.root_of(leaves[:anchored_size]))
    honest = Log(leaves, signed)
    believed = Head(*anchored) if anchored_size else None
    judged = partial(judge, Anchored(anchored, frozen=False), belief=Belief(believed))
    assert judged(own=examine(honest, anchored)).verdict is Verdict.AGREES
    if anchored_size:
        at = data.draw(st.integers(0, anchored_size - 1))
        changed = Log([*leaves[:at], leaf_hash(b"another"), *leaves[at + 1 :]], signed)
        assert judged(own=examine(changed, anchored)).verdict is Verdict.MISMATCH


def test_what_the_three_say_and_what_follows():
    own = Examination(10, Head(10, root(10)), root(5), follows=True)
    at_five = Anchored(Head(5, root(5)), frozen=False)
    assert judge(at_five, own, Belief(Head(5, root(5)))).verdict is Verdict.AGREES
    assert judge(at_five, own, Belief(None)).verdict is Verdict.ADOPT
    assert judge(at_five, own, Belief(Head(3, root(3)))).verdict is Verdict.ADOPT
    assert judge(at_five, own, Belief(None, [Head(5, root(5))])).verdict is Verdict.LATER
    assert judge(at_five, own, Belief(Head(7, root(7)))).verdict is Verdict.MISMATCH
    assert judge(at_five, own, Belief(Head(7, root(7)), behind=True)).verdict is Verdict.LATER
    assert judge(at_five, own._replace(follows=False), Belief(Head(5, root(5)))).verdict is Verdict.MISMATCH
    assert judge(at_five._replace(frozen=True), own, Belief(Head(5, root(5)))).verdict is Verdict.FROZEN
    assert judge(Anchored(Head(11, root(1)), frozen=False), own, Belief(None)).verdict is Verdict.MISMATCH
