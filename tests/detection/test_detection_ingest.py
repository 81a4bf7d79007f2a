"""Detection in the real pipeline: the verdict is in the log entry, refusals reach the statistics."""

import sys
import time
from pathlib import Path

import pytest
from detection_kit import mean_model, running_set

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ingest"))

from ingest_world import Sender, World

from gateway.detection.port import NoModel
from gateway.journal import open_reader
from gateway.message import Accepted, Duplicate, Refused, RejectReason, Verdict
from gateway.tlog.entry import MessageEntry, parse_entry


@pytest.fixture
def pump():
    return Sender("pump-1")


@pytest.fixture
def world(tmp_path, pump):
    return World(tmp_path / "data", [pump])


class Listening(NoModel):
    """Writes down of whom a refusal was told."""

    def __init__(self):
        self.told = []

    def refused(self, device_id):
        self.told.append(device_id)


async def test_only_refusals_of_what_the_device_signed_are_told_and_no_duplicates(world, pump):
    scorer = Listening()
    async with world.running():
        world.ingest._scorer = scorer
        first = pump.message(1)
        assert isinstance(await world.send(first), Accepted)
        assert isinstance(await world.send(first), Duplicate)
        forged = await world.send(first[:-1] + bytes((first[-1] ^ 1,)))
        assert forged.reason is RejectReason.BAD_SIGNATURE
        assert isinstance(await world.send(b"\xd2"), Refused)
        assert scorer.told == []
        late = await world.send(pump.message(2, issued_at=time.time() - 10**6))
        assert late.reason is RejectReason.TOO_OLD
        assert scorer.told == ["pump-1"]


async def test_the_choice_is_in_the_log_entry(world, pump):
    model = mean_model()
    async with world.running(), running_set() as models:
        await models.swap([model])
        world.ingest._scorer = models
        payloads = (b'[{"bn":"pump-1:","n":"a","v":1},{"n":"b","v":1}]', b'[{"n":"a","v":0},{"n":"b","v":0.5}]', b"[")
        for seq, payload in enumerate(payloads):
            assert isinstance(await world.send(pump.message(seq, payload)), Accepted)
    with open_reader(world.directory) as reader:
        entries = [parse_entry(row.entry) for row in reader.entries(0, reader.size())]
    said = [(entry.verdict, entry.model, entry.score) for entry in entries if isinstance(entry, MessageEntry)]
    assert said == [
        (Verdict.ANOMALOUS, model.manifest_sha256, 1.0),
        (Verdict.NORMAL, model.manifest_sha256, 0.25),
        (Verdict.UNSCORED, None, None),
    ]
