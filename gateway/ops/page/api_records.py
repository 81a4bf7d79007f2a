"""The records: entries of the log, refused messages, anchors; as pages, and as files to take away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from aiohttp import web

from gateway.journal import JournalError
from gateway.journal.queries import LogHit, Queries, QueryTooLongError, RefusedHit
from gateway.ops.http.keys import VIEW, problem
from gateway.ops.page import params
from gateway.ops.page.desk import DESK, EXPORT_LIMIT_S, TooManyError
from gateway.ops.page.export import COLUMNS, FORMATS, Writer
from gateway.ops.page.params import Params
from gateway.ops.page.shapes import anchor_row, log_row, refused_record, refused_row

_SLICE_ROWS: Final = 500
_PATIENCE_S: Final = 0.5
_POUR_S: Final = EXPORT_LIMIT_S + 10
"""Below the server's own limit for a request."""


class Slice(NamedTuple):
    """Rows as JSON, and where to go on; None at the end."""

    rows: list[dict[str, Any]]
    before: int | None


Take = Callable[[Queries, int, int | None], Slice]
"""Takes up to so many rows below a cursor."""


def _log(asked: Params) -> Take:
    question = params.log_question(asked)

    def take(queries: Queries, limit: int, before: int | None) -> Slice:
        page = queries.log(question, limit, before, patience_s=_PATIENCE_S)
        return Slice([log_row(LogHit(*hit)) for hit in page.hits], page.before)

    return take


def _refused(asked: Params) -> Take:
    question = params.refused_question(asked)

    def take(queries: Queries, limit: int, before: int | None) -> Slice:
        hits = queries.refused(question, limit, before)
        return Slice([refused_row(RefusedHit(*hit)) for hit in hits], hits[-1].id if len(hits) == limit else None)

    return take


def _anchors(asked: Params) -> Take:
    params.only(asked, params.ANCHOR_NAMES)
    state = params.anchor_state_of(asked)

    def take(queries: Queries, limit: int, before: int | None) -> Slice:
        rows = queries.anchors(limit, before, state)
        return Slice([anchor_row(row) for row in rows], rows[-1].id if len(rows) == limit else None)

    return take


SOURCES: Final[dict[str, Callable[[Params], Take]]] = {"log": _log, "quarantine": _refused, "anchors": _anchors}


async def page(request: web.Request) -> web.Response:
    """``GET /api/log``, ``/api/quarantine``, ``/api/anchors``: a page of rows, the newest first."""
    take = SOURCES[request.match_info["source"]](request.query)
    limit, before = params.limit_of(request.query), params.whole(request.query, "before")
    found = await request.app[DESK].ask(request, lambda queries: take(queries, limit, before))
    return web.json_response({"rows": found.rows, "before": found.before})


async def export(request: web.Request) -> web.StreamResponse:
    """``GET /api/<source>.csv`` and ``.json``: all rows up to a limit; the end says whether it is cut."""
    source, form = request.match_info["source"], request.match_info["form"]
    take = SOURCES[source](request.query)
    limit = params.limit_of(request.query, params.EXPORT_MAX, params.EXPORT_MAX)
    before = params.whole(request.query, "before")
    desk = request.app[DESK]
    first = await desk.ask(request, lambda queries: take(queries, min(limit, _SLICE_ROWS), before))
    name = f"{request.app[VIEW].config.gateway.id}-{source}.{form}"
    response = web.StreamResponse(
        headers={"Content-Type": FORMATS[form], "Content-Disposition": f'attachment; filename="{name}"'}
    )
    await response.prepare(request)
    writer = Writer(form, COLUMNS[source])
    await response.write(writer.start())
    try:
        async with asyncio.timeout(_POUR_S):
            await _pour(request, response, writer, take=take, found=first, limit=limit)
            await response.write_eof()
    except TimeoutError:  # a reader that does not read: half a file must not look like a whole one
        if request.transport is not None:
            request.transport.abort()
    return response


async def _pour(  # noqa: PLR0913 -- the two ends of a pipe
    request: web.Request, response: web.StreamResponse, writer: Writer, *, take: Take, found: Slice, limit: int
) -> None:
    """Write slice after slice until there are no more, or enough, or the time is up."""
    desk, loop_time = request.app[DESK], asyncio.get_running_loop().time
    end_s = loop_time() + EXPORT_LIMIT_S
    while True:
        await response.write(writer.rows(found.rows))
        if found.before is None or writer.written >= limit or loop_time() > end_s:
            await response.write(writer.end(found.before))
            return
        most, cursor = min(limit - writer.written, _SLICE_ROWS), found.before
        try:
            found = await desk.ask(request, partial(_take_below, take, most, cursor))
        except (QueryTooLongError, TooManyError, JournalError):  # the head is sent: all that is left is to say so
            found = Slice([], cursor)
            end_s = 0.0


def _take_below(take: Take, most: int, cursor: int, queries: Queries) -> Slice:
    return take(queries, most, cursor)


async def refused(request: web.Request) -> web.Response:
    """``GET /api/quarantine/record?id=``: one refused message with its first bytes."""
    params.only(request.query, {"id"})
    number = params.required(request.query, "id")
    entry = await request.app[DESK].read(request, lambda reader: reader.quarantined(number))
    if entry is None:
        return problem(404, "the quarantine has no such message", "the oldest go when its budget is used up")
    return web.json_response(refused_record(entry))


async def held(request: web.Request) -> web.Response:
    """``GET /api/quarantine/counts``: how many refused messages are held, by reason."""
    params.only(request.query, ())
    counts = await request.app[DESK].read(request, lambda reader: reader.quarantine_counts())
    return web.json_response({"counts": counts})
