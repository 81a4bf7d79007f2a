"""The parent's side of the signature worker: batches in, answers out, in order, across restarts of the child."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from gateway.crypto import frames
from gateway.crypto.frames import Claim, Operation

_SIGNATURE_BYTES = 64
_RESTARTS_WITHOUT_ANSWER = 3
_START_AGAIN_S = 1.0
"""When the machine has no descriptor, memory or process to spare, it may have one a little later."""


class CryptoWorkerLost(Exception):
    """The worker died several times without answering anything: a fault of this machine, not of a message."""


class _Asked(NamedTuple):
    frame: bytes
    answer: asyncio.Future[bytes]


class CryptoPool:
    """Verifies and signs in a child process.

    ``run`` owns the child: start it in the gateway's task group. Requests made before or between children wait. The
    callers bound what is in flight: each stage of ingest has at most a few batches out.
    """

    def __init__(self, log_key_seed: bytes) -> None:
        self._load_key = frames.request(Operation.LOAD_KEY, log_key_seed)
        self._asked: deque[_Asked] = deque()
        self._stdin: asyncio.StreamWriter | None = None
        self.restarts = 0
        self.pid: int | None = None

    async def verify(self, claims: Sequence[Claim]) -> list[bool]:
        """Verify a batch; the answers stand in the order of the claims."""
        if not claims:
            return []
        return [byte == 1 for byte in await self._ask(Operation.VERIFY, frames.pack_claims(claims))]

    async def sign(self, inputs: Sequence[bytes]) -> list[bytes]:
        """Sign a batch with the log key; 64 bytes each, in the order of the inputs."""
        if not inputs:
            return []
        joined = await self._ask(Operation.SIGN, frames.pack_inputs(inputs))
        return [joined[at : at + _SIGNATURE_BYTES] for at in range(0, len(joined), _SIGNATURE_BYTES)]

    async def run(self) -> None:
        """Keep a worker alive until cancelled.

        Raises:
            CryptoWorkerLost: three children in a row could not be started, or ended without an answer.
        """
        fruitless = 0
        while True:
            why = "ends as soon as it starts; run it by hand to see why"
            try:
                answered = await self._serve_one_child()
            except OSError as fault:
                answered, why = False, f"cannot be started: {fault.strerror}"
                await asyncio.sleep(_START_AGAIN_S)
            fruitless = 0 if answered else fruitless + 1
            self.restarts += 1
            if fruitless >= _RESTARTS_WITHOUT_ANSWER:
                raise CryptoWorkerLost(f"the signature worker {why}")

    async def _ask(self, operation: Operation, body: bytes) -> bytes:
        asked = _Asked(frames.request(operation, body), asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        if self._stdin is not None:
            self._stdin.write(asked.frame)
        return await asked.answer

    async def _serve_one_child(self) -> bool:
        """Start a child, send it what is unanswered, read answers until it ends; say whether it gave any.

        Raises:
            OSError: it could not be started.
        """
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "gateway.crypto.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        if child.stdin is None or child.stdout is None:
            raise CryptoWorkerLost("the signature worker has no pipes")
        answered = False
        try:
            self.pid = child.pid
            child.stdin.write(self._load_key + b"".join(asked.frame for asked in self._asked))
            self._stdin = child.stdin
            await self._read_answer(child.stdout)
            while True:
                body = await self._read_answer(child.stdout)
                answered = True
                asked = self._asked.popleft()
                if not asked.answer.done():
                    asked.answer.set_result(body)
        except (asyncio.IncompleteReadError, ConnectionError):
            return answered
        finally:
            self._stdin = None
            self.pid = None
            child.stdin.close()
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    @staticmethod
    async def _read_answer(stream: asyncio.StreamReader) -> bytes:
        return await stream.readexactly(frames.frame_length(await stream.readexactly(4)))
