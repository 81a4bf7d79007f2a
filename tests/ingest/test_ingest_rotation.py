"""A log whose key was replaced says so before it signs anything with the new one."""

from ingest_world import LOG_KEY, Sender, World
from nacl.bindings import crypto_sign_seed_keypair

from gateway.crypto.keys import PublicKey
from gateway.journal import open_reader
from gateway.message import Accepted, Alg, Duplicate
from gateway.receipt import parse, verify_receipt
from gateway.tlog.checkpoint import VerifierKey, signed_by
from gateway.tlog.checkpoint import parse as parse_checkpoint
from gateway.tlog.entry import KeyEntry, parse_entry

NEW_SEED = bytes(range(1, 33))
NEW_KEY = crypto_sign_seed_keypair(NEW_SEED)[0]


def key_entries(folder):
    with open_reader(folder) as reader:
        parsed = [(row.index, parse_entry(row.entry)) for row in reader.entries(0, reader.size())]
    return [(index, entry) for index, entry in parsed if isinstance(entry, KeyEntry)]


async def test_the_first_key_of_a_log_needs_no_telling(tmp_path):
    async with World(tmp_path, []).running():
        pass
    assert key_entries(tmp_path) == []
    with open_reader(tmp_path) as reader:
        assert reader.log_key() == LOG_KEY


async def test_a_new_key_is_told_in_the_log_once_and_before_its_first_receipt(tmp_path):
    device = Sender("dev-1")
    world = World(tmp_path, [device])
    async with world.running():
        first = await world.send(device.message(1))
    world.seed = NEW_SEED
    for seq in (2, 3):  # two starts with the new key
        async with world.running():
            answer = await world.send(device.message(seq))
            assert isinstance(answer, Accepted)
    ((index, entry),) = key_entries(tmp_path)
    assert (entry.old_key, entry.new_key) == (LOG_KEY, NEW_KEY)
    before, after = parse(first.receipt), parse(answer.receipt)
    assert before.log_index < index < after.log_index
    assert verify_receipt(before, PublicKey(Alg.ED25519, LOG_KEY), world.config.origin)
    assert verify_receipt(after, PublicKey(Alg.ED25519, NEW_KEY), world.config.origin)


async def test_the_checkpoint_that_covers_the_change_is_signed_by_the_new_key(tmp_path):
    world = World(tmp_path, [])
    async with world.running():
        pass
    world.seed = NEW_SEED
    async with world.running():
        pass
    with open_reader(tmp_path) as reader:
        row = reader.latest_checkpoint()
        assert (reader.size(), row.size) == (1, 1)
    checkpoint = parse_checkpoint(row.text.encode())
    assert signed_by(checkpoint, VerifierKey(world.config.origin, NEW_KEY))


async def test_a_receipt_of_before_the_change_is_answered_byte_for_byte_after_it(tmp_path):
    device = Sender("dev-1")
    world = World(tmp_path, [device])
    message = device.message(1)
    async with world.running():
        first = await world.send(message)
    world.seed = NEW_SEED
    async with world.running():
        again = await world.send(message)
    assert isinstance(again, Duplicate)
    assert again.receipt == first.receipt
