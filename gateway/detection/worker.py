"""The scoring process: a child that answers batches until its standard input ends.

Run by ``gateway.detection.link`` as ``python -m gateway.detection.worker``. A model is somebody else's program: here
it can crash, never end or take all memory, and costs its gateway a child. Whatever it takes, the gateway's own loop
stays free, since parsing and arithmetic have an interpreter lock of their own.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import sys
from importlib import import_module
from typing import BinaryIO, Final

from gateway.detection import frames
from gateway.detection.detector import Bounds, Detector

_GARBAGE: Final = 20_000
"""A batch makes thousands of objects and no cycle among them: they are not worth looking through each time."""
NOBODY: Final = 0xFF
"""What the note says while no model runs."""


class Note:
    """A byte in memory that parent and child share: which model runs. The child is killed if it runs too long."""

    def __init__(self, descriptor: int, limit_s: float) -> None:
        self._descriptor = descriptor
        self._limit_s = limit_s

    def running(self, place: int | None) -> None:
        """Write down which model is about to run and set the alarm, or that it came back."""
        os.pwrite(self._descriptor, bytes((NOBODY if place is None else place,)), 0)
        # Nobody handles the alarm: it ends the process, even in the middle of a model that holds everything.
        signal.setitimer(signal.ITIMER_REAL, 0 if place is None else self._limit_s)


def serve(detector: Detector, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer frames until ``requests`` ends."""
    while prefix := requests.read(4):
        # No name holds the frame on while the next one is waited for: it may be all models.
        answers.write(frames.answer(_answered(detector, requests.read(frames.frame_length(prefix)))))
        answers.flush()


def _answered(detector: Detector, frame: bytes) -> bytes:
    operation, body = frame[0], frame[1:]
    if operation == frames.Operation.LOAD:
        return frames.pack_refusals(detector.load(frames.unpack_models(body)))
    aside, refused, messages = frames.unpack_batch(body)
    return frames.pack_results(*detector.score(messages, refused, aside))


def own_answers() -> BinaryIO:
    """Standard output for ourselves; what a library prints from now on goes where its errors go."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def main() -> None:
    """Serve standard input and output; an interrupt at the terminal is the parent's business."""
    answers = own_answers()
    descriptor, limit_ms, memory_bytes, traffic_devices, window_bytes = map(int, sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Not within a model's time: this takes a moment, and whoever lacks it is told when a model is loaded.
    with contextlib.suppress(ImportError):
        import_module("ai_edge_litert.interpreter")
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    note = Note(descriptor, limit_ms / 1000)
    serve(Detector(Bounds(traffic_devices, window_bytes), note.running), sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
