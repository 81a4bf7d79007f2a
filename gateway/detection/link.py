"""The parent's side of one scoring process: started, asked one thing at a time, found dead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from typing import Final, Self

from gateway.detection import frames
from gateway.detection.frames import Operation
from gateway.detection.port import LoadedModel, UnscoredReason

_NOBODY: Final = 0xFF
_GRACE_S: Final = 10.0
"""Beyond the child's own alarm: it is ended from here if even that did not end it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a scoring process may take."""

    model_s: float = 2.0
    """One model about one batch, or its loading."""
    memory_bytes: int = 1 << 29
    traffic_devices: int = 10_000
    window_bytes: int = 8 << 20


class WorkerLost(Exception):
    """The process ended instead of answering; ``place`` is the model that ran, None if none did."""

    def __init__(self, reason: UnscoredReason, place: int | None, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.place = place


class WorkerLink:
    """One child. Whoever asks holds a lock: there is one question at a time. A link that failed is over."""

    def __init__(self, child: asyncio.subprocess.Process, note: int) -> None:
        self._child = child
        self._note = note
        self._said = _NOBODY

    @classmethod
    async def start(cls, limits: Limits) -> Self:
        """Start a child; it answers when it has imported what it needs."""
        note = os.memfd_create("securenet-scoring")
        os.pwrite(note, bytes((_NOBODY,)), 0)
        numbers = (note, int(limits.model_s * 1000), limits.memory_bytes, limits.traffic_devices, limits.window_bytes)
        try:
            child = await asyncio.create_subprocess_exec(
                # -P: what lies in the folder that the gateway was started from is no code of ours.
                *(sys.executable, "-P", "-m", "gateway.detection.worker", *map(str, numbers)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                # LiteRT writes there, for its own developers.
                stderr=asyncio.subprocess.DEVNULL,
                pass_fds=(note,),
                # Its mathematics run on one thread: no pool of buffers for each core.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        except BaseException:
            os.close(note)
            raise
        return cls(child, note)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    async def load(self, models: list[LoadedModel], aside: int, limit_s: float) -> list[str | None]:
        """Have it load these models; why each was refused, None for those that were not."""
        return frames.unpack_refusals(await self.ask(Operation.LOAD, frames.pack_models(models, aside), limit_s))

    async def ask(self, operation: Operation, body: bytes, limit_s: float) -> bytes:
        """Ask one thing.

        Raises:
            WorkerLost: the process is no more; the link is closed.
        """
        stdin, stdout = self._child.stdin, self._child.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the scoring process has no pipes")
        try:
            async with asyncio.timeout(limit_s + _GRACE_S):
                stdin.write(frames.request(operation, body))
                await stdin.drain()
                length = frames.frame_length(await stdout.readexactly(4))
                return await stdout.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise await self._lost() from None
        except ValueError:  # a frame that is none: whoever reads on would take one thing for another
            self.kill()
            raise await self._lost() from None
        except TimeoutError:
            self.kill()
            raise await self._lost(UnscoredReason.TIME_LIMIT) from None
        except asyncio.CancelledError:
            # An answer may lie half read in the pipe: nobody may read on behind it.
            self.kill()
            raise

    async def _lost(self, reason: UnscoredReason | None = None) -> WorkerLost:
        code = await self._child.wait()
        place = self._ran()
        if reason is None:
            reason = UnscoredReason.TIME_LIMIT if code == -signal.SIGALRM else UnscoredReason.WORKER_LOST
        detail = "did not answer in time" if reason is UnscoredReason.TIME_LIMIT else f"ended with {code}"
        return WorkerLost(reason, None if place == _NOBODY else place, detail)

    def _ran(self) -> int:
        """What the note says, or said when the link was closed: whoever waits for the end may come first."""
        return self._said if self._note < 0 else os.pread(self._note, 1, 0)[0]

    def kill(self) -> None:
        """End the child now."""
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()

    async def ended(self) -> None:
        """Wait until the child is no more."""
        await self._child.wait()

    async def close(self) -> None:
        """End the child and forget it."""
        self.kill()
        await self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()
        if self._note >= 0:
            self._said = self._ran()
            os.close(self._note)
            self._note = -1
