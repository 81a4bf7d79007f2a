"""The check itself, tried on records that were doctored: every kind of broken promise is seen, and named."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import pytest
from kill_check import Broken, broken_promises
from nacl.bindings import crypto_sign, crypto_sign_seed_keypair
from support.fleet import Author, Sent, devices

from gateway.crypto.keys import parse_public_key
from gateway.journal import EntryRow
from gateway.message import Alg, Verdict
from gateway.receipt import ReceiptWriter, receipt_payload
from gateway.tlog.entry import MessageEntry, message_entry
from gateway.tlog.merkle import leaf_hash

ORIGIN = "securenet/plant-7/gw-1"
PUBLIC, SECRET = crypto_sign_seed_keypair(bytes(32))
WRITER = ReceiptWriter(ORIGIN)


class World(NamedTuple):
    """A log and a fleet's memory of it."""

    messages: list[Sent]
    entries: list[EntryRow]


def receipt(
    digest: bytes, index: int | None, leaf: bytes | None, reason: str | None = None, time_ms: int = 5
) -> bytes:
    payload = receipt_payload(digest, index, time_ms, reason, leaf)
    return WRITER.assemble(payload, crypto_sign(WRITER.signing_input(payload), SECRET)[:64])


def entry_of(message: Sent) -> bytes:
    identity = (message.device_id, message.session, message.seq)
    return message_entry(MessageEntry(5, message.digest, *identity, Verdict.UNSCORED, None, None, None))


def honest() -> World:
    author = Author(devices(4), random.Random(1))
    world = World(author.messages, [])
    for index in range(12):
        message = author.write()
        entry = entry_of(message)
        world.entries.append(EntryRow(index, entry))
        message.receipts[receipt(message.digest, index, leaf_hash(entry))] = 1
    return world


def kinds(world: World) -> set[Broken]:
    return {
        found.kind
        for found in broken_promises(world.messages, world.entries, parse_public_key(Alg.ED25519, PUBLIC), ORIGIN)
    }


def truncate(world: World) -> None:
    world.entries.pop()


def skip_one(world: World) -> None:
    del world.entries[3]


def double(world: World) -> None:
    world.entries.append(EntryRow(12, world.entries[5].entry))


def garble(world: World) -> None:
    world.entries[4] = EntryRow(4, b"\x80")


def invent(world: World) -> None:
    stranger = world.messages.pop()
    assert stranger.receipts


def never_answer(world: World) -> None:
    world.messages[2].receipts.clear()


def forge(world: World) -> None:
    (first,) = world.messages[2].receipts
    world.messages[2].receipts = {first[:-1] + bytes([first[-1] ^ 1]): 1}


def refuse(world: World) -> None:
    message = world.messages[2]
    message.receipts = {receipt(message.digest, None, None, "too-old"): 1}


def answer_twice_otherwise(world: World) -> None:
    message = world.messages[2]
    message.receipts[receipt(message.digest, 2, leaf_hash(world.entries[2].entry), time_ms=6)] = 1


def swap(world: World) -> None:
    world.entries[1], world.entries[2] = EntryRow(1, world.entries[2].entry), EntryRow(2, world.entries[1].entry)


def another_leaf(world: World) -> None:
    message = world.messages[2]
    message.receipts = {receipt(message.digest, 2, bytes(32)): 1}


def test_an_honest_record_has_no_findings():
    assert kinds(honest()) == set()


@pytest.mark.parametrize(
    ("doctor", "expected"),
    [
        (truncate, {Broken.LOST, Broken.ELSEWHERE, Broken.OTHER_LEAF}),
        (skip_one, {Broken.GAP, Broken.LOST, Broken.ELSEWHERE, Broken.OTHER_LEAF}),
        (double, {Broken.TWICE}),
        (garble, {Broken.NO_ENTRY, Broken.LOST, Broken.ELSEWHERE, Broken.OTHER_LEAF}),
        (invent, {Broken.UNSENT}),
        (never_answer, {Broken.UNANSWERED}),
        (forge, {Broken.FORGED}),
        (refuse, {Broken.REFUSED}),
        (answer_twice_otherwise, {Broken.UNEQUAL}),
        (swap, {Broken.ELSEWHERE, Broken.OTHER_LEAF}),
        (another_leaf, {Broken.OTHER_LEAF}),
    ],
)
def test_a_doctored_record_is_found_out(doctor: Callable[[World], None], expected: set[Broken]):
    world = honest()
    doctor(world)
    assert kinds(world) == expected


def test_every_kind_of_broken_promise_has_its_doctor():
    table = next(mark for mark in test_a_doctored_record_is_found_out.pytestmark if mark.name == "parametrize")
    assert set().union(*(expected for _, expected in table.args[1])) == set(Broken)
