"""How the page reads the journal: in threads, two at a time, each for a few seconds at most."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from aiohttp import web

from gateway.journal import JournalError, Reader
from gateway.journal.queries import Queries, QueryTooLongError, open_queries
from gateway.ops.http.keys import VIEW, problem
from gateway.ops.page.params import BadParameterError

T = TypeVar("T")
Handler = Callable[[web.Request], Any]

AT_ONCE: Final = 2
WAITING_MAX: Final = 16
LIMIT_S: Final = 2.0
EXPORT_LIMIT_S: Final = 40.0


class TooManyError(Exception):
    """So many questions wait already that another would only wait for its end."""


class Desk:
    """Where questions to the journal queue up. Belongs to one application, and to its event loop."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def ask(self, request: web.Request, question: Callable[[Queries], T], limit_s: float = LIMIT_S) -> T:
        """Put a question with a connection of its own.

        Raises:
            TooManyError: the queue is full.
            QueryTooLongError: it took longer than ``limit_s``.
            FileNotFoundError, JournalError: the journal cannot be read.
        """
        directory = request.app[VIEW].config.gateway.data_dir

        def asked() -> T:
            with open_queries(directory, time.monotonic, limit_s) as queries:
                return question(queries)

        return await self.do(asked)

    async def read(self, request: web.Request, question: Callable[[Reader], T]) -> T:
        """Put a question that the journal's reader answers.

        Raises:
            TooManyError, FileNotFoundError, JournalError: as ``ask``.
        """
        view = request.app[VIEW]

        def asked() -> T:
            with view.open_log() as reader:
                return question(reader)

        return await self.do(asked)

    async def do(self, work: Callable[[], T]) -> T:
        """Do something in a thread, in turn.

        Raises:
            TooManyError: the queue is full.
        """
        if self._waiting >= WAITING_MAX:
            raise TooManyError
        self._waiting += 1
        try:
            async with self._room:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


DESK: Final = web.AppKey("desk", Desk)


def answered(handler: Handler) -> Handler:
    """Give the faults of a handler the one form of saying no."""

    async def wrapped(request: web.Request) -> web.StreamResponse:
        try:
            answer: web.StreamResponse = await handler(request)
        except BadParameterError as fault:
            return problem(400, str(fault), fault.hint)
        except QueryTooLongError:
            return problem(
                503, "the question took too long", "narrow it: a device, a shorter time, or a smaller page"
            )
        except TooManyError:
            return problem(503, "too many questions at once", "ask again in a moment")
        except FileNotFoundError:
            return problem(503, "there is no journal yet", "it is made when the gateway starts; ask again later")
        except JournalError as fault:
            return problem(503, f"the journal cannot be read: {fault}", "look at the gateway's log, and at the disk")
        return answer

    return wrapped
