"""What is collected for a proof, from a view that is small and true, and then refuses, lies or floods."""

import pytest
from eth_abi.abi import encode

from gateway.chain import contracts, evidence
from gateway.chain.contracts import Contracts, id_hash, log_id, topic_of
from gateway.chain.evidence import Source, collect, collect_log
from gateway.chain.port import Block, ChainMisconfigured, EndpointFault, LogRecord, TooManyLogs, TxReceipt
from gateway.registry.port import Status
from gateway.tlog.evidence import Subject
from gateway.tlog.proof import Anchor

REGISTRY, ANCHOR_LOG, ACCOUNT = b"\x4e" * 20, b"\xa1" * 20, b"\xac" * 20
ORIGIN, DEVICE = "securenet/plant/gw-1", "d1"
LOG = log_id(ORIGIN)
ANCHORED = topic_of("Anchored(bytes32,uint64,bytes32,address)")
SUBJECT = Subject(ORIGIN, "gw-1", DEVICE, "plant", 0)
SOURCE = Source(31337, Contracts(REGISTRY, ANCHOR_LOG), 10, 100)
HEAD = 1000


def word(data):
    return data.rjust(32, b"\0")


def hash_of(number):
    return b"\xb1" + number.to_bytes(31, "big")


def tx_of(number):
    return b"\x71" + number.to_bytes(31, "big")


def record(address, block, signature, topics, types, values, index=0):
    data = encode(types, values)
    return LogRecord(address, (topic_of(signature), *topics), data, block, hash_of(block), tx_of(block), index)


def device_registered(block=20, key=bytes(range(1, 33))):
    values = (DEVICE, "plant", 1, key)
    signature = "DeviceRegistered(bytes32,string,string,uint8,bytes)"
    return record(REGISTRY, block, signature, (id_hash(DEVICE),), ("string", "string", "uint8", "bytes"), values)


def miner_registered(block=21, name="MinerRegistered", key=b"k" * 32):
    signature = f"{name}(bytes32,bytes32,address,string,string,bytes32,bytes)"
    topics = (id_hash("gw-1"), LOG, word(ACCOUNT))
    values = ("gw-1", "plant", key, b"h" * 32)
    return record(REGISTRY, block, signature, topics, ("string", "string", "bytes32", "bytes"), values)


def status_changed(block, status, name=DEVICE, kind=1):
    signature = "StatusChanged(bytes32,string,uint8,uint8)"
    types, values = ("string", "uint8", "uint8"), (name, kind, status)
    return record(REGISTRY, block, signature, (id_hash(name),), types, values)


def anchored(block, size, root=b"r" * 32):
    signature = "Anchored(bytes32,uint64,bytes32,address)"
    return record(ANCHOR_LOG, block, signature, (LOG, word(ACCOUNT)), ("uint64", "bytes32"), (size, root))


def equivocation(block, size):
    signature = "Equivocation(bytes32,uint64,bytes32,bytes32,address)"
    types, values = ("uint64", "bytes32", "bytes32"), (size, b"r" * 32, b"s" * 32)
    return record(ANCHOR_LOG, block, signature, (LOG, word(ACCOUNT)), types, values)


class Endpoint:
    """A view of a chain that is a list of events; the rest is what the contracts would say of them."""

    endpoint = "http://one"

    def __init__(self, *records, most_blocks=1 << 30):
        self.records = list(records)
        self.most_blocks = most_blocks
        self.head = self._block(HEAD)
        self.final = self._block(HEAD - 2)
        self.asked = []
        self.says = {}
        self.receipts = {}

    def _block(self, number):
        return Block(number, hash_of(number), hash_of(number - 1), 1_700_000_000 + number, 7)

    async def block(self, number):
        return self._block(number)

    async def logs(self, wanted, start, end):
        if end - start + 1 > self.most_blocks:
            raise TooManyLogs("too many")
        self.asked.append((start, end))
        return [
            each
            for each in self.records
            if start <= each.block_number <= end
            and each.address in wanted.addresses
            and all(not any_of or topic in any_of for any_of, topic in zip(wanted.topics, each.topics, strict=False))
        ]

    async def code(self, address):
        return b"code"

    async def receipt(self, tx_hash):
        if tx_hash in self.receipts:
            return self.receipts[tx_hash]
        logs = tuple(each for each in self.records if each.tx_hash == tx_hash)
        return TxReceipt(tx_hash, logs[0].block_number, logs[0].block_hash, True, 1, 1, logs) if logs else None

    async def call(self, to, data, block=None):
        return self.says.get(data[:4]) or self._truth(to, data)

    def _truth(self, to, data):
        selector = data[:4]
        if selector == topic_of("VERSION()")[:4]:
            return encode(("string",), (contracts.VERSIONS[to == ANCHOR_LOG],))
        if selector == topic_of("MAX_BATCH()")[:4]:
            return encode(("uint256",), (256,))
        if selector == topic_of("REGISTRY()")[:4]:
            return encode(("address",), (REGISTRY,))
        if selector == topic_of("recordOf(bytes32)")[:4]:
            return self._record_of(data[4:])
        anchors = [each for each in self.records if each.topics[0] == ANCHORED]
        frozen = any(each.address == ANCHOR_LOG and each not in anchors for each in self.records)
        last = anchors[-1].data if anchors else encode(("uint64", "bytes32"), (0, bytes(32)))
        return last + encode(("bool",), (frozen,))

    def _record_of(self, name):
        history = [each for each in self.records if each.address == REGISTRY and each.topics[1] == name]
        if not history:
            return encode(("bytes30", "uint8", "uint8"), (bytes(30), 0, 0))
        moves = [each for each in history if each.topics[0] == topic_of("StatusChanged(bytes32,string,uint8,uint8)")]
        status = moves[-1].data[95] if moves else 1
        return encode(("bytes30", "uint8", "uint8"), (b"c" * 30, 1, status))


def anchor_of(event, size, root=b"r" * 32):
    return Anchor(31337, ANCHOR_LOG, LOG, size, root, event.tx_hash, event.block_number, event.block_hash)


TRUE = (device_registered(), miner_registered(), anchored(30, 5), anchored(40, 9))


async def test_what_the_chain_has_of_a_proof_is_collected():
    view = Endpoint(*TRUE, status_changed(35, 2), status_changed(36, 1))
    said = await collect(view, SOURCE, SUBJECT, anchor_of(TRUE[3], 9))
    assert (said.enrolled.fleet, said.enrolled.at.block, said.enrolled.at.time_s) == ("plant", 20, 1_700_000_020)
    assert [(move.at.block, move.status) for move in said.device_moves] == [
        (35, Status.SUSPENDED),
        (36, Status.ACTIVE),
    ]
    assert [(keyed.log_key, keyed.account) for keyed in said.keyed] == [(b"k" * 32, ACCOUNT)]
    assert [(each.size, each.at.tx_hash) for each in said.anchors] == [(9, tx_of(40))]
    assert (said.canonical, said.has_receipt, said.two_roots, said.final) == (hash_of(40), True, (), HEAD - 2)


async def test_an_id_that_nobody_registered_is_absent_and_no_fault():
    said = await collect(Endpoint(), SOURCE, SUBJECT, None)
    assert (said.enrolled, said.keyed, said.device_moves) == (None, (), ())


async def test_a_gateways_id_is_no_device():
    said = await collect(Endpoint(miner_registered()), SOURCE, SUBJECT._replace(device_id="gw-1"), None)
    assert said.enrolled is None
    assert len(said.keyed) == 1


async def test_a_renewed_gateway_has_both_keys():
    view = Endpoint(miner_registered(), miner_registered(50, "MinerRenewed", b"n" * 32))
    said = await collect(view, SOURCE, SUBJECT, None)
    assert [(keyed.log_key, keyed.renewed) for keyed in said.keyed] == [(b"k" * 32, False), (b"n" * 32, True)]


async def test_ranges_grow_while_the_endpoint_takes_them_and_shrink_when_it_refuses():
    free = Endpoint(*TRUE)
    await collect_log(free, SOURCE, ORIGIN)
    assert len(free.asked) < 12
    for most in (1, 3, 50):
        bound = Endpoint(*TRUE, most_blocks=most)
        said = await collect_log(bound, SOURCE, ORIGIN)
        assert [each.size for each in said.anchors] == [5, 9]
        assert max(end - start + 1 for start, end in bound.asked) <= most
        assert (min(bound.asked)[0], max(end for _, end in bound.asked)) == (10, HEAD)


async def test_an_endpoint_that_answers_for_no_block_at_all_is_given_up():
    with pytest.raises(EndpointFault, match="not answer for one block"):
        await collect_log(Endpoint(*TRUE, most_blocks=0), SOURCE, ORIGIN)


async def test_a_flood_of_events_is_no_history(monkeypatch):
    monkeypatch.setattr(evidence, "HISTORY_MAX", 5)
    view = Endpoint(device_registered(), *(status_changed(100 + at, 1 + at % 2) for at in range(6)))
    with pytest.raises(EndpointFault, match="more than 5 events"):
        await collect(view, SOURCE, SUBJECT, None)


async def test_a_deployment_above_the_head_is_for_a_person():
    with pytest.raises(ChainMisconfigured, match="deploy block"):
        await collect(Endpoint(*TRUE), SOURCE._replace(deploy_block=HEAD + 1), SUBJECT, None)


@pytest.mark.parametrize(
    ("selector", "types", "values"),
    [
        ("recordOf(bytes32)", ("bytes30", "uint8", "uint8"), (b"c" * 30, 1, 3)),
        ("latest(bytes32)", ("uint64", "bytes32", "bool"), (9, b"r" * 32, True)),
    ],
)
async def test_a_state_that_its_events_do_not_explain_is_a_contradiction(selector, types, values):
    view = Endpoint(*TRUE)
    view.says[topic_of(selector)[:4]] = encode(types, values)
    with pytest.raises(EndpointFault, match="contradicts itself"):
        await collect(view, SOURCE, SUBJECT, None)


@pytest.mark.parametrize("size", [5, 8, 10])
async def test_a_head_that_is_not_the_last_anchor_is_a_contradiction(size):
    view = Endpoint(*TRUE)
    view.says[topic_of("latest(bytes32)")[:4]] = encode(("uint64", "bytes32", "bool"), (size, b"r" * 32, False))
    with pytest.raises(EndpointFault, match="contradicts itself"):
        await collect_log(view, SOURCE, ORIGIN)


async def test_anchors_that_do_not_rise_are_made_up():
    view = Endpoint(miner_registered(), anchored(30, 5), anchored(31, 5))
    with pytest.raises(EndpointFault, match="do not rise"):
        await collect_log(view, SOURCE, ORIGIN)


async def test_an_event_of_a_block_that_is_not_the_chains_is_a_contradiction():
    view = Endpoint(device_registered()._replace(block_hash=bytes(32)))
    with pytest.raises(EndpointFault, match="contradicts itself about block 20"):
        await collect(view, SOURCE, SUBJECT, None)


async def test_a_receipt_that_is_gone_is_told_and_one_that_differs_is_a_contradiction():
    anchor = anchor_of(TRUE[3], 9)
    view = Endpoint(*TRUE)
    view.receipts[anchor.tx_hash] = None
    said = await collect(view, SOURCE, SUBJECT, anchor)
    assert (len(said.anchors), said.has_receipt) == (1, False)
    for wrong in ({"succeeded": False}, {"logs": ()}):
        view.receipts[anchor.tx_hash] = (await Endpoint(*TRUE).receipt(anchor.tx_hash))._replace(**wrong)
        with pytest.raises(EndpointFault, match="receipt"):
            await collect(view, SOURCE, SUBJECT, anchor)


async def test_an_anchor_above_the_head_is_not_there_yet():
    said = await collect(Endpoint(*TRUE), SOURCE, SUBJECT, anchor_of(TRUE[3], 9)._replace(block_number=HEAD + 1))
    assert (said.canonical, said.anchors) == (None, ())


async def test_a_freeze_is_found_with_both_roots():
    view = Endpoint(*TRUE, equivocation(50, 9))
    said = await collect(view, SOURCE, SUBJECT, None)
    assert [(each.size, each.anchored_root, each.claimed_root) for each in said.two_roots] == [
        (9, b"r" * 32, b"s" * 32)
    ]
    assert (await collect_log(view, SOURCE, ORIGIN)).two_roots == said.two_roots


async def test_other_contracts_are_for_a_person():
    with pytest.raises(ChainMisconfigured):
        await collect(Endpoint(), SOURCE._replace(contracts=Contracts(ANCHOR_LOG, REGISTRY)), SUBJECT, None)
