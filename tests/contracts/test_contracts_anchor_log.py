"""AnchorLog, deployed on a real node: a log grows, stands still, or is caught telling two stories."""

import hashlib

import pytest
from support.contracts_kit import Chain, Event, Gateway, Refused
from web3 import Web3

EMPTY_ROOT = hashlib.sha256(b"").digest()
ROOT, OTHER_ROOT = bytes([1]) * 32, bytes([2]) * 32
LARGEST = 2**64 - 1


@pytest.fixture
def log(chain: Chain) -> bytes:
    """The log of gw-1, whose account is the miner's."""
    gateway = Gateway("gw-1", chain.miner)
    chain.register_miner(gateway)
    return gateway.log_id


def anchored(chain, log, size, root):
    return Event("Anchored", {"logId": log, "size": size, "root": root, "miner": chain.miner})


def refused(call, *args):
    with pytest.raises(Refused) as caught:
        call(*args)
    return (caught.value.name, *caught.value.values)


def test_a_larger_size_becomes_the_head(chain: Chain, log):
    assert chain.anchor(log, 1, ROOT).events == [anchored(chain, log, 1, ROOT)]
    assert chain.latest(log) == (1, ROOT, False)
    assert chain.anchor(log, LARGEST, OTHER_ROOT).events == [anchored(chain, log, LARGEST, OTHER_ROOT)]
    assert chain.latest(log) == (LARGEST, OTHER_ROOT, False)


def test_the_head_once_more_succeeds_and_says_nothing(chain: Chain, log):
    chain.anchor(log, 7, ROOT)
    assert chain.anchor(log, 7, ROOT).events == []
    assert chain.latest(log) == (7, ROOT, False)


def test_a_second_root_for_one_size_succeeds_is_told_and_freezes_the_log(chain: Chain, log):
    chain.anchor(log, 7, ROOT)
    told = {"logId": log, "size": 7, "anchoredRoot": ROOT, "otherRoot": OTHER_ROOT, "miner": chain.miner}
    assert chain.anchor(log, 7, OTHER_ROOT).events == [Event("Equivocation", told)]
    assert chain.latest(log) == (7, ROOT, True)
    for size, root in [(7, ROOT), (7, OTHER_ROOT), (8, ROOT), (6, ROOT)]:
        assert refused(chain.anchor, log, size, root) == ("LogFrozen", log, 7)


def test_a_frozen_log_stays_frozen_for_the_next_account_and_key(chain: Chain, log):
    chain.anchor(log, 7, ROOT)
    chain.anchor(log, 7, OTHER_ROOT)
    chain.renew_miner(Gateway("gw-1", chain.other, number=901))
    assert refused(chain.anchor, log, 8, ROOT, chain.other) == ("LogFrozen", log, 7)


def test_one_frozen_log_leaves_the_others_alone(chain: Chain, log):
    second = Gateway("gw-2", chain.other)
    chain.register_miner(second)
    chain.anchor(log, 7, ROOT)
    chain.anchor(log, 7, OTHER_ROOT)
    assert [event.name for event in chain.anchor(second.log_id, 7, ROOT, chain.other).events] == ["Anchored"]


def test_a_smaller_size_and_an_empty_log_are_refused(chain: Chain, log):
    assert refused(chain.anchor, log, 0, EMPTY_ROOT) == ("StaleSize", log, 0, 0)
    chain.anchor(log, 7, ROOT)
    assert refused(chain.anchor, log, 6, ROOT) == ("StaleSize", log, 6, 7)
    assert refused(chain.anchor, log, 0, ROOT) == ("StaleSize", log, 0, 7)


def test_only_the_active_miner_of_the_log_anchors(chain: Chain, log):
    second = Gateway("gw-2", chain.other)
    chain.register_miner(second)
    unknown = bytes(Web3.keccak(text="securenet/plant/gw-9"))
    for sender, wanted in [
        (chain.stranger, log),
        (chain.other, log),
        (chain.miner, second.log_id),
        (chain.miner, unknown),
    ]:
        assert refused(chain.anchor, wanted, 1, ROOT, sender) == ("NotActiveMiner", wanted, sender.lower())
    chain.suspend("gw-1")
    assert refused(chain.anchor, log, 1, ROOT) == ("NotActiveMiner", log, chain.miner.lower())
    chain.reinstate("gw-1")
    chain.anchor(log, 1, ROOT)
    chain.revoke("gw-1")
    assert refused(chain.anchor, log, 2, ROOT) == ("NotActiveMiner", log, chain.miner.lower())
    assert chain.latest(log) == (1, ROOT, False)


def test_a_renewed_account_anchors_where_the_old_one_stopped(chain: Chain, log):
    chain.anchor(log, 1, ROOT)
    chain.renew_miner(Gateway("gw-1", chain.other, number=901))
    assert refused(chain.anchor, log, 2, ROOT) == ("NotActiveMiner", log, chain.miner.lower())
    chain.anchor(log, 2, OTHER_ROOT, chain.other)
    assert chain.latest(log) == (2, OTHER_ROOT, False)


def test_a_log_that_was_never_anchored_is_empty(chain: Chain, log):
    assert chain.log.functions.EMPTY_ROOT().call() == EMPTY_ROOT
    assert chain.latest(log) == chain.latest(bytes(32)) == (0, EMPTY_ROOT, False)


def test_opening_a_log_changes_no_answer_and_is_for_anyone(chain: Chain, log):
    assert chain.send(chain.stranger, chain.log, "open", log).events == []
    assert chain.latest(log) == (0, EMPTY_ROOT, False)
    assert refused(chain.anchor, log, 0, OTHER_ROOT) == ("StaleSize", log, 0, 0)
    chain.anchor(log, 1, ROOT)
    chain.send(chain.stranger, chain.log, "open", log)
    assert chain.latest(log) == (1, ROOT, False)


def test_opening_a_log_that_was_anchored_changes_nothing(chain: Chain, log):
    chain.anchor(log, 1, ROOT)
    chain.anchor(log, 1, OTHER_ROOT)
    chain.send(chain.stranger, chain.log, "open", log)
    assert chain.latest(log) == (1, ROOT, True)


def test_a_log_without_a_miner_is_not_opened(chain: Chain):
    assert refused(chain.send, chain.stranger, chain.log, "open", bytes(32)) == ("UnknownLog", bytes(32))


def test_the_contracts_say_what_they_are(chain: Chain):
    assert chain.ask("VERSION") == "securenet.identity-registry/1"
    assert chain.log.functions.VERSION().call() == "securenet.anchor-log/1"
    assert chain.log.functions.REGISTRY().call() == chain.registry.address
