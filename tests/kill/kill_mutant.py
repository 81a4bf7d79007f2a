"""A gateway with the one fault that the kill tests are there for: it answers before the group is on the disk."""

from __future__ import annotations

import asyncio

from gateway.cli.main import main
from gateway.journal import Group, Journal

_TOO_EARLY_S = 0.5
_commit = Journal.commit
_late: set[asyncio.Task[None]] = set()


async def commit_later(journal: Journal, group: Group) -> None:
    """Say that the group is stored, and store it half a second later."""

    async def store() -> None:
        await asyncio.sleep(_TOO_EARLY_S)
        await _commit(journal, group)

    task = asyncio.create_task(store())
    _late.add(task)
    task.add_done_callback(_late.discard)


if __name__ == "__main__":
    Journal.commit = commit_later  # type: ignore[method-assign] # the mutation
    main()
