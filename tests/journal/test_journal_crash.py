import random
import subprocess
import sys
import threading
from pathlib import Path

from journal_kit import ORIGIN, SMALL, entry

from gateway.journal import open_journal, open_reader
from gateway.tlog.merkle import leaf_hash, root_hash
from gateway.tlog.tiles import root_at

CHILD = Path(__file__).with_name("journal_writer_child.py")
ROOT = Path(__file__).parents[2]
KILLS = 20


def run_and_kill(directory, seed, after_s):
    """Run the child, kill it at a random moment of its work; return what it opened and the last size it promised."""
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(directory), str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": f"{ROOT}:{CHILD.parent}"},
    )
    first = child.stdout.readline().split()
    assert first[0] == "opened", first
    timer = threading.Timer(after_s, child.kill)
    timer.start()
    promised = int(first[1])
    for line in child.stdout:
        if line.endswith("\n"):  # a torn line was never read by anybody
            promised = int(line.split()[1])
    child.stdout.close()
    timer.join()
    child.wait()
    return int(first[1]), first[2:], promised


async def test_after_each_of_twenty_kills_everything_promised_is_there_once(tmp_path):
    rng = random.Random(20)
    promised = 0
    for number in range(KILLS):
        opened, report, newest = run_and_kill(tmp_path, number, rng.uniform(0.01, 0.15))
        assert opened >= promised
        assert report == ["None", "0"]  # a kill is no damage: nothing is set aside, nothing lost
        promised = newest
        with open_reader(tmp_path) as reader:
            rows = list(reader.entries(0, 1 << 40))
            assert [row.index for row in rows] == list(range(len(rows)))
            assert len(rows) >= promised
            assert all(row.entry == entry(row.index) for row in rows)
    journal = open_journal(tmp_path, SMALL, origin=ORIGIN).journal
    size = journal.size()
    assert size >= promised > 0
    assert root_at(journal, size) == root_hash(leaf_hash(entry(index)) for index in range(size))
    await journal.close()
