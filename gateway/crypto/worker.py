"""The signature worker: a child process that verifies and signs batches until its standard input ends.

Run by ``gateway.crypto.pool`` as ``python -m gateway.crypto.worker``. It holds no state but the log key, which it
is sent in the first frame: a secret has no place in arguments or environment. It ends with its parent, because the
pipe ends with it.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import BinaryIO

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from gateway.crypto import frames
from gateway.crypto.keys import verify

_SIGNATURE_BYTES = 64


class _Worker:
    """One operation a frame; the answer of ``VERIFY`` is a byte a claim, of ``SIGN`` 64 bytes an input."""

    def __init__(self) -> None:
        self._secret_key = b""

    def answer(self, operation: int, body: memoryview) -> bytes:
        if operation == frames.Operation.VERIFY:
            return bytes(verify(*claim) for claim in frames.unpack_claims(body))
        if operation == frames.Operation.SIGN:
            secret_key = self._secret_key
            return b"".join(crypto_sign(item, secret_key)[:_SIGNATURE_BYTES] for item in frames.unpack_inputs(body))
        _, self._secret_key = crypto_sign_seed_keypair(bytes(body))
        return b""


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer frames until ``requests`` ends."""
    worker = _Worker()
    while prefix := requests.read(4):
        frame = memoryview(requests.read(frames.frame_length(prefix)))
        answers.write(frames.answer(worker.answer(frame[0], frame[1:])))
        answers.flush()


def main() -> None:
    """Serve standard input and output; an interrupt at the terminal is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:  # the parent is gone: nobody is left to answer
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
