"""Bodies in blocks: put together right, and never more of them than there is room for."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.transport.coap_blocks import (
    BODY_LIFETIME_S,
    BlockFault,
    BodyAssembler,
    BodyKey,
    BodyShelf,
    cut,
)
from gateway.transport.coap_wire import Block

KEY = BodyKey("endpoint", None, None)


def pieces(body, szx):
    size = 16 << szx
    count = max(1, -(-len(body) // size))
    return [(Block(n, n + 1 < count, szx), body[n * size : (n + 1) * size]) for n in range(count)]


def take(assembler, block, data, *, key=KEY, peer="p", now_s=0.0, verified=False, announced=0):
    return assembler.take(key, peer, block, data, now_s, verified=verified, announced=announced)


@given(st.binary(max_size=3000), st.integers(0, 6))
def test_a_body_cut_into_blocks_is_put_together_again(body, szx):
    assembler = BodyAssembler(65536)
    *first, last = pieces(body, szx)
    assert [take(assembler, *piece) for piece in first] == [None] * len(first)
    assert take(assembler, *last) == body
    assert (len(assembler), assembler.held_bytes) == (0, 0)


@given(st.binary(max_size=2000), st.integers(0, 6))
def test_a_response_cut_piece_by_piece_is_the_response(body, szx):
    got, num = b"", 0
    while True:
        payload, block = cut(body, Block(num, more=False, szx=szx))
        got += payload
        if not block.more:
            break
        num += 1
    assert got == body
    assert cut(body, Block(num + 1, more=False, szx=szx)) is None


def test_a_repeated_block_changes_nothing():
    assembler = BodyAssembler(1024)
    parts = pieces(b"a" * 16 + b"b" * 16 + b"c", 0)
    assert take(assembler, *parts[0]) is None
    assert take(assembler, *parts[1]) is None
    assert take(assembler, *parts[1]) is None
    assert take(assembler, parts[1][0], b"B" * 16) is BlockFault.INCOMPLETE
    assert take(assembler, *parts[2]) == b"a" * 16 + b"b" * 16 + b"c"


def test_block_zero_begins_again():
    assembler = BodyAssembler(1024)
    parts = pieces(b"x" * 40, 0)
    take(assembler, *parts[0])
    take(assembler, *parts[0])
    take(assembler, *parts[1])
    assert take(assembler, *parts[2]) == b"x" * 40


def test_a_gap_is_incomplete():
    assembler = BodyAssembler(1024)
    parts = pieces(b"x" * 60, 0)
    take(assembler, *parts[0])
    assert take(assembler, *parts[2]) is BlockFault.INCOMPLETE


def test_bodies_with_different_request_tags_do_not_mix():
    assembler = BodyAssembler(1024)
    one, two = BodyKey("e", None, b"1"), BodyKey("e", None, b"2")
    take(assembler, Block(0, more=True, szx=0), b"a" * 16, key=one)
    take(assembler, Block(0, more=True, szx=0), b"b" * 16, key=two)
    assert take(assembler, Block(1, more=False, szx=0), b"1", key=one) == b"a" * 16 + b"1"
    assert take(assembler, Block(1, more=False, szx=0), b"2", key=two) == b"b" * 16 + b"2"


def test_a_body_beyond_the_limit_is_refused_when_it_shows():
    assembler = BodyAssembler(32)
    assert take(assembler, Block(0, more=True, szx=0), b"x" * 16, announced=33) is BlockFault.TOO_LARGE
    assert take(assembler, Block(0, more=True, szx=0), b"x" * 16, announced=32) is None
    assert take(assembler, Block(1, more=True, szx=0), b"x" * 16) is BlockFault.TOO_LARGE
    assert len(assembler) == 0
    assert take(assembler, Block(0, more=False, szx=6), b"x" * 33) is BlockFault.TOO_LARGE
    assert take(assembler, Block(2**20 - 1, more=False, szx=6), b"x") is BlockFault.TOO_LARGE


def test_a_body_that_is_left_is_forgotten():
    assembler = BodyAssembler(1024)
    take(assembler, Block(0, more=True, szx=0), b"x" * 16, now_s=0.0)
    later = BODY_LIFETIME_S + 1
    assert take(assembler, Block(1, more=False, szx=0), b"x", now_s=later) is BlockFault.INCOMPLETE
    assert assembler.held_bytes == 0


def test_one_peer_cannot_take_the_room_of_the_others():
    assembler = BodyAssembler(1024, most_bodies=10, most_bodies_a_peer=3)
    honest = BodyKey("honest", None, None)
    take(assembler, Block(0, more=True, szx=0), b"h" * 16, key=honest, peer="honest")
    for i in range(50):
        take(assembler, Block(0, more=True, szx=0), b"x" * 16, key=BodyKey(i, None, None), peer="greedy")
    assert len(assembler) == 4
    assert not assembler.is_crowded
    assert take(assembler, Block(1, more=False, szx=0), b"", key=honest, peer="honest") == b"h" * 16


def test_many_peers_fill_the_room_and_then_the_oldest_goes():
    assembler = BodyAssembler(1024, most_bodies=10)
    for i in range(20):
        take(assembler, Block(0, more=True, szx=0), b"x" * 16, key=BodyKey(i, None, None), peer=str(i))
    assert len(assembler) == 10
    assert assembler.is_crowded
    last = Block(1, more=False, szx=0)
    assert take(assembler, last, b"", key=BodyKey(0, None, None), peer="0") is BlockFault.INCOMPLETE
    assert take(assembler, last, b"", key=BodyKey(19, None, None), peer="19") == b"x" * 16


def test_the_shelf_is_bounded_and_forgets():
    shelf = BodyShelf(most=2)
    for name in "abc":
        shelf.put(name, name.encode(), 0.0)
    assert len(shelf) == 2
    assert [shelf.get(name, 1.0) for name in "abc"] == [None, b"b", b"c"]
    assert shelf.get("c", BODY_LIFETIME_S + 1) is None


class Room(RuleBasedStateMachine):
    """Whatever blocks arrive, in whatever order: the books balance and the bounds hold."""

    def __init__(self):
        super().__init__()
        self.assembler = BodyAssembler(64, most_bodies=4, most_bodies_a_peer=2)
        self.now_s = 0.0

    @rule(
        endpoint=st.integers(0, 5),
        num=st.integers(0, 5),
        more=st.booleans(),
        szx=st.integers(0, 7),
        length=st.sampled_from([0, 1, 15, 16, 17, 32, 64]),
    )
    def block(self, endpoint, num, more, szx, length):
        key = BodyKey(endpoint, None, None)
        taken = take(
            self.assembler, Block(num, more, szx), b"x" * length, key=key, peer=str(endpoint % 3), now_s=self.now_s
        )
        if isinstance(taken, bytes):
            assert len(taken) <= 64

    @rule(seconds=st.sampled_from([1.0, 50.0, 100.0]))
    def time_passes(self, seconds):
        self.now_s += seconds

    @invariant()
    def balances(self):
        bodies = self.assembler._bodies
        assert len(bodies) <= 4
        assert self.assembler.held_bytes == sum(len(body.data) for body in bodies.values())
        assert all(len(body.data) <= 64 for body in bodies.values())
        counted = {peer: sum(body.peer == peer for body in bodies.values()) for peer in "012"}
        assert {peer: count for peer, count in counted.items() if count} == dict(self.assembler._of_peer)
        assert max(counted.values()) <= 2


TestRoom = Room.TestCase
TestRoom.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
