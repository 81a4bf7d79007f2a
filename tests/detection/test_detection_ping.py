"""What the watchdog asks of the scoring process."""

import asyncio
import os
import signal

from detection_kit import mean_model, message, until

from gateway.message import Verdict


async def test_without_a_model_there_is_nobody_to_ask(models):
    await models.ping()


async def test_the_scoring_process_answers_and_scores_on_behind_it(models):
    assert await models.swap([mean_model()]) == [None]
    for _ in range(3):
        await models.ping()
    (score,) = await models.score([message(a=0, b=0.2)])
    assert score.verdict is Verdict.NORMAL


async def test_one_that_hangs_does_not_answer_and_one_that_is_gone_is_replaced(models):
    assert await models.swap([mean_model()]) == [None]
    link = models._link
    os.kill(link.pid, signal.SIGSTOP)
    asked = asyncio.create_task(models.ping())
    await asyncio.sleep(0.5)
    assert not asked.done()
    os.kill(link.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        await asked
    await until(lambda: models._link is not None and models._link is not link)
    await models.ping()
