"""What the events of ModelRegistry come to, and how they are read: the rules, without a node."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.contracts_kit import ed25519_key

from gateway.chain import model_events
from gateway.chain.contracts import id_hash, topic_of
from gateway.chain.model_events import (
    AccessReported,
    FloorRaised,
    GrantChanged,
    ModelHistory,
    OwnerChanged,
    Published,
    PublisherRegistered,
    VersionRevoked,
    fold_models,
    read_models,
)
from gateway.chain.models import ModelOnChain, Result
from gateway.chain.port import EndpointFault, LogRecord, TooManyLogs
from gateway.crypto.keys import PublicKey
from gateway.message import Alg

OWNER, OTHER = b"\x01" * 20, b"\x02" * 20
KEY = PublicKey(Alg.ED25519, ed25519_key(800))
OWNED = OwnerChanged("m", OWNER)


def published(version, model="m", publisher=OWNER):
    return Published(model, publisher, version, f"bafy{version}", bytes([version]) * 32, 100 + version, KEY)


def test_nothing_is_known_of_a_model_before_its_first_version():
    assert fold_models([]) == {}
    known = fold_models([OWNED, GrantChanged("m", "gw-1", True)])["m"]
    assert (known.current(), known.newest, known.owner, known.granted) == (None, 0, OWNER, {"gw-1"})


def test_the_newest_version_is_current_though_an_older_one_was_revoked_last():
    events = [OWNED, published(2), published(7), FloorRaised("m", 2), VersionRevoked("m", 2)]
    known = fold_models(events)["m"]
    assert known.current() == ModelOnChain(7, "bafy7", bytes([7]) * 32, 107, False, 2, KEY)
    assert known.versions[2].revoked
    assert fold_models([VersionRevoked("m", 7)], {"m": known})["m"].current().revoked


def test_publishers_and_reports_change_no_model():
    events = [PublisherRegistered(OWNER, KEY), AccessReported("m", bytes(32), 1, Result.LOADED, "")]
    assert fold_models(events) == {}


@pytest.mark.parametrize(
    "event",
    [
        published(3),
        published(2),
        published(4, publisher=OTHER),
        published(4, model="nobody's"),
        VersionRevoked("m", 2),
        VersionRevoked("other", 1),
        FloorRaised("m", 4),
        FloorRaised("m", 1),
        FloorRaised("other", 1),
    ],
    ids=lambda event: f"{type(event).__name__} {event.model_id} {event[1:3]}"[:40],
)
def test_an_event_that_the_contract_cannot_have_made_ends_the_view_and_changes_nothing(event):
    before = fold_models([OWNED, published(1), published(3), FloorRaised("m", 1)])
    kept = dict(before)
    with pytest.raises(EndpointFault, match="do not follow"):
        fold_models([event], before)
    assert before == kept


@st.composite
def lives(draw):
    """Events as the contract could make them, of two models."""
    events, newest, floors = [OwnerChanged(name, OWNER) for name in ("m", "n")], {"m": 0, "n": 0}, {"m": 0, "n": 0}
    for _ in range(draw(st.integers(0, 25))):
        name, what = draw(st.sampled_from(["m", "n"])), draw(st.integers(0, 3))
        if what == 0:
            newest[name] += draw(st.integers(1, 2))
            events.append(published(newest[name], name))
        elif what == 1 and newest[name] > floors[name]:
            floors[name] = draw(st.integers(floors[name] + 1, newest[name]))
            events.append(FloorRaised(name, floors[name]))
        elif what == 2:
            events.append(GrantChanged(name, draw(st.sampled_from(["gw-1", "gw-2"])), draw(st.booleans())))
        elif newest[name]:
            events.append(VersionRevoked(name, newest[name]))
    return events, newest, floors


@given(lives(), st.integers(0, 30))
def test_folding_in_two_steps_is_folding_at_once(life, at):
    events, newest, floors = life
    whole = fold_models(events)
    assert fold_models(events[at:], fold_models(events[:at])) == whole
    assert {name: (each.newest, each.floor) for name, each in whole.items()} == {
        name: (newest[name], floors[name]) for name in ("m", "n")
    }


@given(lives(), st.integers(0, 30))
def test_what_was_known_before_stays_as_it_was(life, at):
    events, *_ = life
    before = fold_models(events[:at])
    copy = {name: ModelHistory(*each)._replace(versions=dict(each.versions)) for name, each in before.items()}
    fold_models(events[at:], before)
    assert before == copy


class Node:
    """An endpoint that has one event a block, and tells those of ``most`` blocks at once."""

    endpoint = "http://node"

    def __init__(self, most):
        self.most, self.asked = most, []

    async def logs(self, wanted, start, end):
        self.asked.append((start, end))
        if end - start + 1 > self.most:
            raise TooManyLogs("too many")
        topics = (topic_of("OwnerChanged(bytes32,address,string)"), id_hash("m"), bytes(12) + OWNER)
        data = (32).to_bytes(32, "big") + (1).to_bytes(32, "big") + b"m".ljust(32, b"\0")
        return [LogRecord(b"", topics, data, at, bytes(32), bytes(32), 0) for at in range(start, end + 1)]


@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 60), st.integers(0, 60))
async def test_every_block_is_read_once_however_few_are_told_at_once(most, blocks, start, length):
    node = Node(most)
    found = await read_models(node, bytes(20), start, start + length, blocks=blocks)
    assert found == [OWNED] * (length + 1)
    told = [(first, last) for first, last in node.asked if last - first + 1 <= most]
    assert [number for first, last in told for number in range(first, last + 1)] == [
        *range(start, start + length + 1)
    ]


async def test_an_endpoint_that_will_not_tell_one_block_is_left():
    with pytest.raises(EndpointFault, match="block 7"):
        await read_models(Node(0), bytes(20), 7, 9)


async def test_more_events_than_there_can_be_are_not_kept(monkeypatch):
    monkeypatch.setattr(model_events, "EVENTS_MAX", 5)
    with pytest.raises(EndpointFault, match="more than 5 events"):
        await read_models(Node(3), bytes(20), 0, 50)


async def test_nothing_is_asked_of_no_blocks():
    node = Node(3)
    assert await read_models(node, bytes(20), 8, 7) == []
    assert node.asked == []
