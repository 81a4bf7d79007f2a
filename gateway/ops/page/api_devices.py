"""Devices: a search among all that are registered, and one of them with its history."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from aiohttp import web

from gateway.journal.queries import LogQuestion, Queries, RefusedQuestion, Seen
from gateway.ops.http.keys import VIEW
from gateway.ops.page import params
from gateway.ops.page.desk import DESK
from gateway.ops.page.shapes import log_row, refused_row, seen_row
from gateway.registry.port import Device, RegistrySnapshot, Status
from gateway.tlog.entry import MessageEntry

COUNTED_IN_LIST: Final = 1_000
COUNTED_IN_FULL: Final = 100_000
HISTORY: Final = 200
_REFUSED: Final = 20
_SUMMARIES: Final = 10
_PATIENCE_S: Final = 0.3
_LAST: Final = chr(0x10FFFF)


class Found(NamedTuple):
    """A page of ids, and how many there are in all."""

    ids: Sequence[str]
    total: int


class DeviceIndex:
    """The ids of one state of the registry in order: made when somebody searches, kept until the registry changes."""

    def __init__(self) -> None:
        self._snapshot: RegistrySnapshot | None = None
        self._ids: tuple[str, ...] = ()

    def search(self, snapshot: RegistrySnapshot, text: str, status: Status | None, start: int, limit: int) -> Found:
        """Ids that begin with ``text``, then those that hold it elsewhere; each part in order. Runs in a thread."""
        ids = self._ids_of(snapshot)
        if text:
            low, high = bisect_left(ids, text), bisect_left(ids, text + _LAST)
            inside = [name for name in ids if text in name and not name.startswith(text)]
            ids = (*ids[low:high], *inside)
        if status is not None:
            ids = tuple(name for name in ids if _status(snapshot, name) is status)
        return Found(tuple(islice(ids, start, start + limit)), len(ids))

    def _ids_of(self, snapshot: RegistrySnapshot) -> tuple[str, ...]:
        if snapshot is not self._snapshot:
            self._ids = tuple(sorted(device.id for device in snapshot.devices()))
            self._snapshot = snapshot
        return self._ids


INDEX: Final = web.AppKey("device_index", DeviceIndex)


async def devices(request: web.Request) -> web.Response:
    """``GET /api/devices?q=&status=&page=&limit=``."""
    asked = request.query
    params.only(asked, params.DEVICE_NAMES)
    text, status, limit = params.search_of(asked), params.status_of(asked), params.limit_of(asked)
    page = params.whole(asked, "page", high=1_000_000) or 0
    snapshot, desk = request.app[VIEW].registry, request.app[DESK]
    found = await desk.do(lambda: request.app[INDEX].search(snapshot, text, status, page * limit, limit))

    def look(queries: Queries) -> list[Seen]:
        return [queries.seen(name, COUNTED_IN_LIST) for name in found.ids]

    seen = await desk.ask(request, look)
    rows = [_row(snapshot.device(name), name, each) for name, each in zip(found.ids, seen, strict=True)]
    return web.json_response(
        {"total": found.total, "page": page, "limit": limit, "counted_to": COUNTED_IN_LIST, "devices": rows}
    )


async def device(request: web.Request) -> web.Response:
    """``GET /api/device?id=``: registration, newest messages, scores, and why it was refused."""
    params.only(request.query, {"id"})
    name = params.device_of(request.query, "id")
    if name is None:
        raise params.BadParameterError("id", "the id of a device, and has to be given")
    registered = request.app[VIEW].registry.device(name)

    def look(queries: Queries) -> dict[str, Any]:
        seen = queries.seen(name, COUNTED_IN_FULL)
        newest = queries.log(LogQuestion(device_id=name), HISTORY)
        refused = queries.refused(RefusedQuestion(device_id=name), _REFUSED)
        summaries = queries.log(LogQuestion(device_id=name, kind="rejections"), _SUMMARIES, patience_s=_PATIENCE_S)
        scores = [
            {"index": hit.index, "time_ms": hit.entry.time_ms, "score": hit.entry.score, "verdict": hit.entry.verdict}
            for hit in newest.hits
            if isinstance(hit.entry, MessageEntry)
        ]
        return {
            **_row(registered, name, seen),
            "counted_to": COUNTED_IN_FULL,
            "alg": None if registered is None else registered.key.alg.value,
            "public_key": None if registered is None else registered.key.data.hex(),
            "newest": [log_row(hit) for hit in newest.hits[:_REFUSED]],
            "scores": scores[::-1],
            "refused": [refused_row(hit) for hit in refused],
            "summaries": [log_row(hit) for hit in summaries.hits],
            "looked_back_to": summaries.before,
        }

    return web.json_response(await request.app[DESK].ask(request, look))


def _row(registered: Device | None, name: str, seen: Seen) -> dict[str, Any]:
    return {
        "id": name,
        "status": "unregistered" if registered is None else registered.status.value,
        "fleet": None if registered is None else registered.fleet,
        "messages": seen.messages,
        "last": seen_row(seen.newest),
    }


def _status(snapshot: RegistrySnapshot, name: str) -> Status | None:
    found = snapshot.device(name)
    return None if found is None else found.status
