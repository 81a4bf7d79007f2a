"""The models in force, in their real process: scored, swapped, put aside."""

import asyncio
import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import make_models
import pytest
from detection_kit import (
    class_model,
    hanging_model,
    loaded,
    mean_model,
    message,
    raising_model,
    running_set,
    spec,
    statistic,
    until,
    window_model,
)
from structlog.testing import capture_logs

from gateway.detection import scorer
from gateway.detection.detector import Bounds, Detector
from gateway.detection.frames import Operation, pack_models, request
from gateway.detection.interpreter import smoke
from gateway.detection.link import Limits, WorkerLink, WorkerLost
from gateway.detection.port import UnscoredReason
from gateway.detection.scorer import FAULTS, MODELS_MAX, prove
from gateway.detection.spec import InputSpec, OutputKind, OutputSpec, Selector
from gateway.detection.worker import NOBODY, serve
from gateway.message import Score, Verdict

UNSCORED = Score()


def words(scores):
    return [score.verdict.value for score in scores]


async def test_without_a_model_every_message_is_unscored(models):
    assert await models.score([message(a=1)] * 3) == [UNSCORED] * 3
    assert models.status() == {"worker": "none", "restarts": 0, "unscored": {"no-model": 3}, "models": []}


async def test_each_message_gets_the_verdict_of_its_model_in_its_order(models):
    mean, classes = mean_model(), class_model()
    assert await models.swap([mean, classes]) == [None, None]
    batch = [message(a=0, b=0.2), message(x=1, y=9, z=2), message(a=1, b=1), message(q=1), message(payload=b"[")]
    low, named, high, other, noise = await models.score(batch)
    assert low == Score(Verdict.NORMAL, mean.manifest_sha256, pytest.approx(0.1), None)
    assert (named.verdict, named.model, named.label) == (Verdict.CLASSIFIED, classes.manifest_sha256, "middle")
    assert high == Score(Verdict.ANOMALOUS, mean.manifest_sha256, 1.0, None)
    assert other == noise == UNSCORED
    assert models.unscored == {UnscoredReason.MISSING_READING: 1, UnscoredReason.NO_READINGS: 1}
    assert [model["scored"] for model in models.status()["models"]] == [2, 1]


async def test_a_swap_between_two_batches_loses_nothing(models):
    first = mean_model(version=1)
    await models.swap([first])
    scores, stop = [], asyncio.Event()

    async def stream():
        while not stop.is_set():
            scores.extend(await models.score([message(a=1, b=1)] * 8))
            await asyncio.sleep(0)

    streaming = asyncio.create_task(stream())
    used = [first.manifest_sha256]
    for version in (2, 3):
        model = mean_model(version=version)
        assert await models.swap([model]) == [None]
        used.append(model.manifest_sha256)
        seen = len(scores)
        await until(lambda seen=seen: len(scores) > seen + 16)
    stop.set()
    await streaming
    assert all(score.verdict is Verdict.ANOMALOUS for score in scores)
    order = [score.model for score in scores]
    assert [model for at, model in enumerate(order) if not at or order[at - 1] != model] == used


async def test_a_refused_model_leaves_everything_as_it_was(models):
    good = mean_model()
    await models.swap([good])
    broken = loaded(b"no model at all", good.spec, name="broken")
    wrong = loaded(good.data, good.spec._replace(smoke=good.spec.smoke._replace(expected=(7.0,))), name="wrong")
    refusals = await models.swap([mean_model(version=2), broken, wrong])
    assert refusals[0] is None
    assert "LiteRT does not take it" in refusals[1]
    assert "smoke test failed" in refusals[2]
    assert models.models == (good,)
    assert words(await models.score([message(a=1, b=1)])) == ["anomalous"]


async def test_windows_go_on_over_a_swap_to_a_new_version(models):
    await models.swap([window_model(version=1)])
    assert words(await models.score([message(a=0.2), message(a=0.2), message(a=0.2)])) == [
        "unscored",
        "unscored",
        "normal",
    ]
    await models.swap([window_model(version=2)])
    assert words(await models.score([message(a=0.2)])) == ["anomalous"]
    assert models.unscored == {UnscoredReason.WINDOW_SHORT: 2}


async def test_a_child_that_comes_too_late_for_a_swap_does_not_score_with_its_models(models, monkeypatch):
    good = mean_model()
    other = mean_model(("x", "y"), name="other")
    await models.swap([good])
    load = WorkerLink.load

    async def slowly(self, *words):
        answer = await load(self, *words)
        await asyncio.sleep(1)
        return answer

    monkeypatch.setattr(scorer, "_BACK_OFF_S", (0.3,))
    monkeypatch.setattr(scorer, "_START_S", 0.8)
    monkeypatch.setattr(WorkerLink, "load", slowly)
    models._link.kill()
    await until(lambda: models.status()["worker"] == "lost")
    assert await models._switch((good, other)) == ["the scoring process does not start"] * 2
    monkeypatch.undo()
    await until(lambda: models.status()["worker"] == "up")
    assert words(await models.score([message(x=1, y=1), message(a=1, b=1)])) == ["unscored", "anomalous"]


async def test_a_window_is_of_one_device(models):
    await models.swap([window_model(window=2)])
    batch = [message("x", a=0), message("y", a=9), message("x", a=0), message("y", a=9)]
    assert words(await models.score(batch)) == ["unscored", "unscored", "normal", "anomalous"]


async def test_a_window_is_of_one_model(models):
    formats = [window_model(2, name=name) for name in ("senml", "json")]
    senml, plain = (
        model._replace(spec=model.spec._replace(selector=Selector(content_formats=(content_format,))))
        for model, content_format in zip(formats, (110, 50), strict=True)
    )
    await models.swap([senml, plain])
    other = message(payload=b'{"a": 0.2}', content_format=50)
    assert words(await models.score([message(a=9), other])) == ["unscored", "unscored"]
    # A third model comes: the two go on with what they had, each with its own.
    await models.swap([senml, plain, mean_model(("x", "y"))])
    assert words(await models.score([message(a=9), other])) == ["anomalous", "normal"]


async def test_a_model_that_hangs_costs_its_batch_the_verdict_and_is_put_aside():
    told = []
    asides = Limits(model_s=0.3)
    async with running_set(limits=asides, put_aside=lambda model, why: told.append((model.model_id, why))) as models:
        hanging = hanging_model(selector=Selector(readings=("a",)))
        await models.swap([hanging, mean_model()])
        assert [score.model for score in await models.score([message(a=0, b=0.2)])] == [hanging.manifest_sha256]
        for times in range(FAULTS):
            await until(lambda: models.status()["worker"] == "up")
            assert await models.score([message(a=2000, b=0)] * 2) == [UNSCORED] * 2
            assert models.unscored == {UnscoredReason.TIME_LIMIT: 2 * (times + 1)}
        assert told == [("hanging", "it does not answer in time")]
        await until(lambda: models.status()["worker"] == "up")
        # The next best is asked from now on, also for what the other never answered to.
        assert words(await models.score([message(a=2000, b=0)])) == ["anomalous"]
        assert [model["put_aside"] for model in models.status()["models"]] == [True, False]


async def test_a_model_that_raises_for_one_message_costs_no_other_its_verdict(models):
    raising = raising_model(selector=Selector(readings=("a",)))
    await models.swap([raising])
    batch = [message(a=0, b=1), message(a=0, b=300), message(a=0, b=9)]
    assert words(await models.score(batch)) == ["normal", "unscored", "anomalous"]
    assert models.unscored == {UnscoredReason.MODEL_FAULT: 1}
    assert models.status()["models"][0]["faults"] == 0


async def test_where_a_model_raises_the_next_best_is_asked(models):
    raising, mean = raising_model(selector=Selector(readings=("a",))), mean_model()
    await models.swap([raising, mean])
    scores = await models.score([message(a=0, b=1), message(a=0, b=300)])
    assert [score.model for score in scores] == [raising.manifest_sha256, mean.manifest_sha256]


async def test_a_worker_that_is_killed_comes_back_with_its_models(models):
    await models.swap([mean_model()])
    os.kill(models._link.pid, signal.SIGKILL)
    await asyncio.sleep(0)
    assert await models.score([message(a=1, b=1)]) == [UNSCORED]
    assert models.unscored[UnscoredReason.WORKER_LOST] == 1
    await until(lambda: models.status()["worker"] == "up")
    assert words(await models.score([message(a=1, b=1)])) == ["anomalous"]
    assert models.restarts == 1


async def test_a_worker_that_ends_is_told_once_and_so_is_that_it_is_back(models):
    await models.swap([mean_model()])
    with capture_logs() as told:
        os.kill(models._link.pid, signal.SIGKILL)
        await asyncio.sleep(0)
        await models.score([message(a=1, b=1)])
        await until(lambda: models.status()["worker"] == "up")
    assert [each["event"] for each in told] == ["detection.worker_lost", "detection.worker_up"]


async def test_a_worker_that_ends_while_nobody_asks_is_told_all_the_same(models):
    await models.swap([mean_model()])
    with capture_logs() as told:
        os.kill(models._link.pid, signal.SIGKILL)
        await until(lambda: models.restarts == 1 and models.status()["worker"] == "up")
    assert [each["event"] for each in told] == ["detection.worker_lost", "detection.worker_up"]


async def test_traffic_statistics_reach_the_model_and_refusals_with_them(models):
    names = ("refused_ratio", "bytes_mean")
    inputs = InputSpec(tuple(statistic(name, missing=0.0) for name in names), None, 1, (2,))
    data = make_models.dense_model([([[1.0, 0.0]], [0.0])])
    await models.swap([loaded(data, spec(data, inputs, OutputSpec(OutputKind.PROBABILITY, 0.3, ())))])
    assert set(words(await models.score([message(a=1)] * 8))) == {"normal"}
    for _ in range(8):
        models.refused("pump-1")
    (score,) = await models.score([message(a=1)])
    assert (score.verdict, score.score) == (Verdict.ANOMALOUS, pytest.approx(8 / 17))
    (other,) = await models.score([message("pump-2", a=1)])
    assert other.score == 0.0


async def test_no_models_no_process(models):
    await models.swap([mean_model()])
    pid = models._link.pid
    assert await models.swap([]) == []
    await until(lambda: not Path(f"/proc/{pid}").exists())
    assert await models.score([message(a=1, b=1)]) == [UNSCORED]
    assert await models.swap([mean_model()]) == [None]
    assert words(await models.score([message(a=1, b=1)])) == ["anomalous"]


async def test_models_that_go_before_their_process_is_back_leave_none_behind(models, monkeypatch):
    await models.swap([mean_model()])
    monkeypatch.setattr(scorer, "_BACK_OFF_S", (0.3,))
    models._link.kill()
    await until(lambda: models.status()["worker"] == "lost")
    await models.swap([])
    await asyncio.sleep(1.5)
    assert models._link is None
    await models.swap([mean_model()])
    assert words(await models.score([message(a=1, b=1)])) == ["anomalous"]


async def test_more_models_than_have_a_place_are_a_fault_of_ours(models):
    with pytest.raises(ValueError, match="at most"):
        await models.swap([mean_model()] * (MODELS_MAX + 1))


async def test_what_hangs_in_its_smoke_test_is_refused_in_time():
    model = hanging_model()
    stuck = model._replace(spec=model.spec._replace(smoke=model.spec.smoke._replace(inputs=(2000.0, 0.0))))
    refusal = await prove(stuck, Limits(model_s=0.3))
    assert refusal == "the process that tried it did not answer in time"
    assert await prove(model) is None


async def test_what_does_not_fit_into_the_memory_of_the_process_is_refused():
    model = mean_model()
    assert await prove(model, Limits(memory_bytes=1 << 22)) is not None


async def test_a_machine_that_starts_no_process_costs_verdicts_and_nothing_else(models, monkeypatch):
    def refuse(*words):
        raise OSError(errno.EMFILE, "Too many open files")

    good = mean_model()
    await models.swap([good])
    monkeypatch.setattr(os, "memfd_create", refuse)
    assert await prove(good) == "no process could be started to try it: Too many open files"
    models._link.kill()
    await until(lambda: models.status()["worker"] == "lost")
    assert await models.score([message(a=1, b=1)]) == [UNSCORED]
    monkeypatch.undo()
    await until(lambda: models.status()["worker"] == "up")
    assert words(await models.score([message(a=1, b=1)])) == ["anomalous"]


async def test_what_lies_in_the_folder_of_the_start_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert await prove(mean_model()) is None


async def test_a_child_that_speaks_another_language_is_ended_and_lost():
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import time; print('hello, hello', flush=True); time.sleep(60)"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    link = WorkerLink(child, os.memfd_create("note"))
    os.pwrite(link._note, bytes((NOBODY,)), 0)
    with pytest.raises(WorkerLost):
        await link.ask(Operation.SCORE, b"", 5)
    assert child.returncode == -signal.SIGKILL
    await link.close()


def test_what_a_library_prints_is_no_answer():
    code = "own = own_answers(); print('LiteRT', flush=True); os.system('echo XNNPACK'); own.write(b'answer')"
    program = f"import os; from gateway.detection.worker import own_answers; {code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"answer", b"LiteRT\nXNNPACK\n")


def test_a_frame_of_models_is_let_go_before_the_next_one_is_waited_for():
    gone = []

    class Frame(bytes):
        def __del__(self):
            gone.append(len(self))

    class Requests(io.BytesIO):
        def read(self, size=-1):
            data = super().read(size)
            if size == 4 and self.tell() > 4:
                assert gone
            return data if size == 4 else Frame(data)

    loading = request(Operation.LOAD, pack_models([]))
    detector = Detector(Bounds(1, 1 << 20), lambda place: None)
    serve(detector, Requests(loading), io.BytesIO())
    assert gone == [len(loading) - 4]


async def test_the_child_ends_with_its_parent(models):
    await models.swap([mean_model()])
    link = models._link
    link._child.stdin.close()
    await asyncio.wait_for(link._child.wait(), 5)


def test_smoke_says_why_a_model_does_not_hold():
    good = mean_model()
    assert smoke(good) is None
    assert "no such" not in (smoke(good._replace(data=b"TFL3")) or "")
    two = good.spec._replace(inputs=good.spec.inputs._replace(shape=(1, 2)))
    assert "shape" in smoke(good._replace(spec=two))
    outputs = good.spec._replace(outputs=OutputSpec(OutputKind.CLASSES, None, ("x", "y")))
    assert smoke(good._replace(spec=outputs)) is not None
    threshold = good.spec._replace(outputs=good.spec.outputs._replace(threshold=None))
    assert "threshold" in smoke(good._replace(spec=threshold))


def test_a_gateway_without_models_imports_neither_numpy_nor_litert():
    imports = "import sys, gateway.app, gateway.detection.scorer"
    code = f"{imports}; print([name for name in ('numpy', 'ai_edge_litert') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
