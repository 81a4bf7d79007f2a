"""The child of the kill test: commits groups and prints each index only after its commit returned."""

import asyncio
import random
import sys
from pathlib import Path

from journal_kit import ORIGIN, SMALL, entry, group

from gateway.journal import CheckpointRow, TileRow, open_journal
from gateway.tlog.merkle import leaf_hash
from gateway.tlog.tiles import TileWriter


async def main(directory, seed):
    rng = random.Random(seed)
    opened = open_journal(directory, SMALL, origin=ORIGIN)
    journal = opened.journal
    print(f"opened {journal.size()} {opened.set_aside} {len(opened.lost)}", flush=True)
    tree = TileWriter.restore(journal, journal.size())
    while True:
        first, count = journal.size(), rng.randint(1, 40)
        tiles = tree.extend([leaf_hash(entry(index)) for index in range(first, first + count)])
        rows = [TileRow(tile.level, tile.index, tile.data) for tile in tiles]
        note = CheckpointRow(first + count, tree.root(), "note", 1) if rng.random() < 0.1 else None
        await journal.commit(group(first, count, replay=[("dev", b"%d" % first)], tiles=rows, checkpoint=note))
        print(f"promised {first + count}", flush=True)
        if rng.random() < 0.1:
            await journal.maintain(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
