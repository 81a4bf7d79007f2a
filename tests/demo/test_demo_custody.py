"""The demo's word on its anchors: what chain and journal do not say alike must be found."""

import pytest

from gateway.cli.demo_custody import Due, InJournal, OnChain, judge_anchors, logged_of, read_the_journal
from gateway.cli.demo_parts import DemoError
from gateway.cli.demo_verdict import prove_to_the_chain
from gateway.config.model import ChainConfig
from gateway.journal import AnchorRow, EntryRow
from gateway.message import Score
from gateway.tlog.entry import MessageEntry, message_entry
from gateway.tlog.evidence import AnchoredRoot, Spot
from gateway.tlog.merkle import leaf_hash, root_hash

NOW_MS = 1_732_165_200_123
ACCOUNT = b"\xaa" * 20
CONTRACT = b"\xbb" * 20
SIZES = (100, 250)
GAS = 60_000


def tx_of(size):
    return size.to_bytes(32, "big")


def root_of(size):
    return (size + 1_000_000).to_bytes(32, "big")


def block_hash_of(block):
    return (block + 2_000_000).to_bytes(32, "big")


def anchored(size):
    at = Spot(size, block_hash_of(size), tx_of(size), 0)
    return AnchoredRoot(at, size, root_of(size), ACCOUNT)


def row(size, **changes):
    made = AnchorRow(
        id=size,
        chain_id=1,
        contract=CONTRACT,
        size=size,
        root=root_of(size),
        state="final",
        is_open=False,
        sealed_ms=NOW_MS,
        changed_ms=NOW_MS,
        tx_hash=tx_of(size),
        block_number=size,
        block_hash=block_hash_of(size),
        gas_used=GAS,
    )
    return made._replace(**changes)


def on_chain(*anchors, final_block=1000, **changes):
    found = anchors or tuple(anchored(size) for size in SIZES)
    gas = {anchor.at.tx_hash: GAS for anchor in found}
    return OnChain(found, gas, final_block, is_frozen=False, block_s=None)._replace(**changes)


def in_journal(*rows, **changes):
    found = rows or tuple(row(size) for size in SIZES)
    sizes = {each.size for each in found} | set(SIZES)
    roots = {size: root_of(size) for size in sizes}
    return InJournal(found, roots, {size: size - 10 for size in sizes})._replace(**changes)


def judged(chain=None, journal=None, due=None):
    return judge_anchors(chain or on_chain(), journal or in_journal(), due or Due(2, 250))


def test_anchors_that_both_sides_call_final_are_counted_and_priced():
    found = judged()
    assert found.problems == ()
    assert found.facts() == {"anchors_final": 2, "gas_per_message": 500.0}  # 120,000 gas, 240 messages


def test_an_anchor_that_the_chain_does_not_have_is_a_problem_and_does_not_count():
    found = judged(chain=on_chain(anchored(100)), due=Due(1, 0))
    assert (found.final, len(found.problems)) == (1, 1)
    assert "250 entries for final that the chain has not so" in found.problems[0]


@pytest.mark.parametrize(
    "doctored",
    [
        {"root": b"\x00" * 32},
        {"size": 249},
        {"at": Spot(250, b"\x00" * 32, tx_of(250), 0)},
        {"at": Spot(251, block_hash_of(250), tx_of(250), 0)},
    ],
)
def test_an_anchor_that_the_chain_has_otherwise_is_a_problem(doctored):
    found = judged(chain=on_chain(anchored(100), anchored(250)._replace(**doctored)))
    assert found.final == 1
    assert any("that the chain has not so" in problem for problem in found.problems)


def test_an_anchor_above_the_final_block_is_not_final_whatever_the_journal_says():
    found = judged(chain=on_chain(final_block=249))
    assert found.final == 1
    assert any("250 entries for final" in problem for problem in found.problems)


def test_an_anchor_that_the_journal_does_not_call_final_yet_does_not_count():
    found = judged(journal=in_journal(row(100), row(250, state="mined", is_open=True)))
    assert found.final == 1
    assert found.problems == (
        "1 anchors are final, and 2 should be",
        "the final anchors cover 100 entries, and should cover 250",
    )


def test_an_anchor_by_somebody_else_is_a_problem():
    stranger = anchored(300)
    journal = in_journal(roots={size: root_of(size) for size in (*SIZES, 300)})
    found = judged(chain=on_chain(*on_chain().anchors, stranger), journal=journal)
    assert found.problems == ("the chain has an anchor of 300 entries that the gateway does not know of",)


def test_a_root_on_the_chain_that_the_log_does_not_have_is_a_problem():
    found = judged(journal=in_journal(roots={100: root_of(100), 250: b"\x00" * 32}))
    assert found.problems == ("the chain has another root of 250 entries than the log",)


def test_an_anchor_of_more_than_the_log_has_is_a_problem():
    found = judged(journal=in_journal(roots={100: root_of(100)}))
    assert found.problems == ("the chain has another root of 250 entries than the log",)


def test_gas_that_the_journal_has_otherwise_is_a_problem():
    found = judged(journal=in_journal(row(100), row(250, gas_used=1)))
    assert found.problems == ("the anchor of 250 entries took other gas by the chain than by the journal",)
    assert found.gas_per_message == 500.0  # by the chain


def test_a_frozen_log_is_a_problem():
    assert any("frozen" in problem for problem in judged(chain=on_chain(is_frozen=True)).problems)


def test_entries_that_no_final_anchor_covers_are_a_problem():
    assert judged(due=Due(2, 251)).problems == ("the final anchors cover 250 entries, and should cover 251",)


def test_nothing_anchored_is_told_as_such():
    found = judged(chain=on_chain(anchors=()), journal=in_journal(rows=()), due=Due(1, 0))
    assert (found.final, found.gas_per_message) == (0, None)
    assert found.problems == ("0 anchors are final, and 1 should be",)


# --- what is read from a journal ---


class FakeReader:
    """A journal whose log holds a message of each of these devices, in this order."""

    def __init__(self, devices, rows=()):
        self._rows = list(rows)
        self._entries = [
            message_entry(MessageEntry(NOW_MS + index, bytes([index]) * 32, device, b"session!", index, *Score()))
            for index, device in enumerate(devices)
        ]

    def size(self):
        return len(self._entries)

    def entries(self, start, end):
        return iter([EntryRow(index, self._entries[index]) for index in range(start, min(end, self.size()))])

    def tile(self, level, index):
        return None

    def leaf_hashes(self, start, end):
        return [leaf_hash(entry) for entry in self._entries[start:end]]

    def newest_anchors(self, limit):
        return self._rows[:limit]


def test_roots_and_messages_are_counted_from_the_entries_themselves():
    reader = FakeReader(["a", "b", "a"], [row(2)])
    read = read_the_journal(reader, on_chain(anchored(3), anchored(4)))
    assert read.rows == (row(2),)
    assert read.messages == {2: 2, 3: 3}
    assert read.roots == {size: root_hash(reader.leaf_hashes(0, size)) for size in (2, 3)}


def test_a_log_that_lost_what_was_anchored_ends_the_demo_in_words():
    reader = FakeReader(["a", "b", "a"])
    reader.leaf_hashes = lambda start, end: []
    with pytest.raises(DemoError, match="cannot be read at the end"):
        read_the_journal(reader, on_chain(anchored(3)))


def test_the_messages_of_one_device_are_found_with_their_times():
    assert logged_of(FakeReader(["a", "b", "a"]), "a") == {b"\x00" * 32: NOW_MS, b"\x02" * 32: NOW_MS + 2}


# --- the proof ---


class FakeOffice:
    """An auditor's command that says what it is told to say."""

    typed = ()

    def __init__(self, **said):
        self._said = said

    def begin(self, account, *words):
        self.typed = tuple(map(str, words))
        return "the command"

    def wait(self, command, codes):
        assert set(codes) == {0, 1, 3}
        return self._said


CHAIN = ChainConfig(rpc=("http://127.0.0.1:1",), chain_id=7, registry="0xaa", anchor_log="0xbb", deploy_block=5)


def test_a_proof_that_holds_to_the_chain_is_no_problem(tmp_path):
    office = FakeOffice(result="valid", failed=[], open=[])
    assert prove_to_the_chain(office, CHAIN, tmp_path / "proof.json") == (True, "")
    given = dict(zip(office.typed[3::2], office.typed[4::2], strict=True))
    assert given["--rpc"] == CHAIN.rpc[0]
    assert (given["--registry-address"], given["--anchor-log"]) == ("0xaa", "0xbb")
    assert not any("key" in word for word in office.typed)  # the keys are the registry's on the chain


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"result": "invalid", "failed": ["anchor-event"], "open": []}, "invalid (anchor-event)"),
        ({"result": "not-established", "failed": [], "open": ["final"]}, "not-established (final)"),
        ({"error": "no endpoint"}, "no endpoint"),
    ],
)
def test_a_proof_that_does_not_hold_to_the_chain_is_a_problem(tmp_path, said, words):
    verified, problem = prove_to_the_chain(FakeOffice(**said), CHAIN, tmp_path / "proof.json")
    assert not verified
    assert words in problem
