"""The signature worker is a real child process in these tests."""

import asyncio
import os
import signal
import sys

import pytest
from nacl.signing import SigningKey

from gateway.crypto.frames import Claim, pack_claims, pack_inputs, unpack_claims, unpack_inputs
from gateway.crypto.keys import PublicKey
from gateway.crypto.pool import CryptoPool, CryptoWorkerLost
from gateway.message import Alg

SEED = bytes(range(32))
KEY = SigningKey(SEED)
PUBLIC = PublicKey(Alg.ED25519, bytes(KEY.verify_key))


def claim(message=b"m", *, good=True):
    signature = KEY.sign(message).signature
    return Claim(PUBLIC, message, signature if good else bytes(64))


@pytest.fixture
async def pool():
    pool = CryptoPool(SEED)
    task = asyncio.create_task(pool.run())
    yield pool
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_answers_stand_in_the_order_of_the_claims(pool):
    claims = [claim(bytes([n]), good=n % 3 != 0) for n in range(100)]
    assert await pool.verify(claims) == [n % 3 != 0 for n in range(100)]


async def test_signatures_are_those_of_the_log_key(pool):
    inputs = [b"", b"a", b"b" * 70_000]
    assert await pool.sign(inputs) == [KEY.sign(item).signature for item in inputs]


async def test_an_empty_batch_costs_no_round_trip():
    idle = CryptoPool(SEED)
    assert await idle.verify([]) == []
    assert await idle.sign([]) == []


async def test_a_signature_of_another_length_does_not_hold(pool):
    good = claim()
    odd = [good._replace(signature=good.signature[:n]) for n in (0, 1, 63)]
    long = [good._replace(signature=good.signature + bytes(n)) for n in (1, 64, 70_000)]
    assert await pool.verify(odd + long) == [False] * 6


async def test_a_killed_worker_is_replaced_and_no_question_is_lost(pool):
    await pool.verify([claim()])
    questions = [asyncio.create_task(pool.verify([claim(bytes([n]))] * 50)) for n in range(40)]
    await asyncio.sleep(0)
    os.kill(pool.pid, signal.SIGKILL)
    assert await asyncio.gather(*questions) == [[True] * 50] * 40
    assert pool.restarts == 1


async def test_an_abandoned_question_does_not_shift_the_answers(pool):
    abandoned = asyncio.create_task(pool.verify([claim()] * 500))
    await asyncio.sleep(0)
    abandoned.cancel()
    assert await pool.verify([claim(good=False)]) == [False]


async def test_what_lies_in_the_folder_of_the_start_is_not_run(monkeypatch, tmp_path):
    (tmp_path / "nacl.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    pool = CryptoPool(SEED)
    task = asyncio.create_task(pool.run())
    assert await pool.verify([claim()]) == [True]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_worker_that_cannot_start_is_a_fault_and_not_a_loop(monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(CryptoWorkerLost):
        await CryptoPool(SEED).run()


async def test_a_worker_that_the_machine_has_no_room_for_is_a_fault_too(monkeypatch, tmp_path):
    monkeypatch.setattr("gateway.crypto.pool._START_AGAIN_S", 0.01)
    monkeypatch.setattr("sys.executable", str(tmp_path / "missing"))
    with pytest.raises(CryptoWorkerLost, match="cannot be started: No such file"):
        await CryptoPool(SEED).run()


async def test_a_worker_that_cannot_be_started_at_once_is_started_a_little_later(monkeypatch, tmp_path):
    program, real = tmp_path / "python", sys.executable
    monkeypatch.setattr("gateway.crypto.pool._START_AGAIN_S", 0.2)
    monkeypatch.setattr("sys.executable", str(program))
    pool = CryptoPool(SEED)
    task = asyncio.create_task(pool.run())
    asked = asyncio.create_task(pool.verify([claim()]))
    await asyncio.sleep(0.05)
    assert not task.done()
    started = tmp_path / "started"
    started.write_text(f'#!/bin/sh\nexec "{real}" "$@"\n')
    started.chmod(0o700)
    started.rename(program)
    assert await asked == [True]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_frames_come_back_as_they_were_packed():
    claims = [claim(b"x" * n) for n in (0, 1, 1000)]
    assert unpack_claims(memoryview(pack_claims(claims))) == claims
    inputs = [b"", b"y" * 1000]
    assert unpack_inputs(memoryview(pack_inputs(inputs))) == inputs
