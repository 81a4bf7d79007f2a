"""Whether the wall clock is believed, and what the log is told when that changes (docs/adr/0174).

``ClockJudge`` is pure: readings are arguments. ``ClockWatch`` feeds it: once before each batch (two clock readings
and a comparison), when the kernel says that the clock was set, and every ten seconds while it is not believed. While
it is believed and nothing happens, nothing runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog

from gateway.config.model import ClockConfig
from gateway.ingest.ledger import ClockWord
from gateway.ops.clock_kernel import KernelWord, SetNotice, find_keeper, read_kernel
from gateway.tlog.entry import ClockEntry

log = structlog.get_logger("clock")

BUILT_MS: Final = 1_767_225_600_000
"""1 January 2026: this program did not exist before, so no clock that shows an earlier time is right."""

STRETCH_FILE: Final = "clock-untrusted"
"""Lies in the data directory while the log may hold a stretch of unverified times that is not closed."""

_LOOK_AGAIN_S: Final = 10.0
_LAST_MS: Final = 253_402_300_799_000  # the end of the year 9999


class Facts(NamedTuple):
    """What is known at one moment. ``boot_s`` runs on, whoever sets the wall clock; ``keeper`` is empty for none."""

    boot_s: float
    wall_ms: int
    synchronised: bool | None
    keeper: str


class Verdict(NamedTuple):
    """Whether the clock is believed, and why, for a person."""

    trusted: bool
    why: str


class Step(NamedTuple):
    """The clock was set: from what it would say to what it says."""

    before_ms: int
    after_ms: int


class ClockJudge:
    """Holds what was found so far. A clock that was believed stays so until it is set.

    Args:
        config: whose word counts, and what a step is.
        known_past_ms: a time that is known to be past: of the newest entry of the log.
    """

    def __init__(self, config: ClockConfig, known_past_ms: int) -> None:
        self._config = config
        self._known_past_ms = max(BUILT_MS, known_past_ms)
        self._base_ms: float | None = None
        self.verdict: Verdict | None = None

    def retune(self, config: ClockConfig) -> None:
        """Another rule; the next ``look`` judges anew."""
        self._config = config
        self.verdict = None

    def step(self, boot_s: float, wall_ms: int) -> Step | None:
        """Return by how much the clock was set since it was last judged; None for less than ``step_s``."""
        if self._base_ms is None:
            return None
        before_ms = self._base_ms + boot_s * 1000
        if abs(wall_ms - before_ms) < self._config.step_s * 1000:
            return None
        return Step(max(0, round(before_ms)), wall_ms)

    def look(self, facts: Facts) -> tuple[Verdict, Step | None]:
        """Judge the clock; the step that was found, if any, is taken note of and not found again."""
        step = self.step(facts.boot_s, facts.wall_ms)
        if step is not None and self.verdict is not None and self.verdict.trusted:
            self._known_past_ms = max(self._known_past_ms, step.before_ms)
        if step is not None or self._base_ms is None:
            self._base_ms = facts.wall_ms - facts.boot_s * 1000
        if step is not None or self.verdict is None or not self.verdict.trusted:
            self.verdict = self._judge(facts)
        return self.verdict, step

    def _judge(self, facts: Facts) -> Verdict:
        if self._config.trust == "always":
            return Verdict(trusted=True, why='clock.trust is "always"')
        if facts.synchronised:
            return Verdict(trusted=True, why="it is synchronised")
        silent = "the kernel may not be asked whether the clock is synchronised"
        unsynchronised = silent if facts.synchronised is None else "the kernel does not call the clock synchronised"
        if self._config.trust == "kernel":
            return Verdict(trusted=False, why=unsynchronised)
        if facts.keeper:
            return Verdict(trusted=False, why=f"{unsynchronised}: {facts.keeper} runs and has not set it yet")
        if facts.wall_ms + self._config.step_s * 1000 < self._known_past_ms:
            return Verdict(
                trusted=False,
                why=f"it says {when(facts.wall_ms)}, and {when(self._known_past_ms)} is known to be past: set it, or"
                " let a time service do so",
            )
        return Verdict(
            trusted=True, why="nothing sets this machine's clock, and it is not behind what is known to be past"
        )


class ClockWatch:
    """Asks the judge at the right moments. ``take`` is what ``Ledger`` asks; ``run`` is a task.

    Args:
        config: ``[clock]``.
        known_past_ms: the time of the log's newest entry; 0 for none.
        data_dir: where it is remembered that a stretch of the log is open.
        wall_ms: milliseconds since 1970.
        boot_s: seconds that run on whatever is done to the wall clock, and while the machine sleeps.
        kernel: asks the kernel.
        keeper: asks who sets the clock.
    """

    def __init__(  # noqa: PLR0913 -- the machine, piece by piece, so that a test can be another one
        self,
        config: ClockConfig,
        known_past_ms: int,
        data_dir: Path,
        *,
        wall_ms: Callable[[], int],
        boot_s: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        kernel: Callable[[], KernelWord] = read_kernel,
        keeper: Callable[[], str] = find_keeper,
    ) -> None:
        self._judge = ClockJudge(config, known_past_ms)
        self._stretch = data_dir / STRETCH_FILE
        self._wall_ms = wall_ms
        self._boot_s = boot_s
        self._kernel = kernel
        self._keeper = keeper
        self._word = KernelWord(None)
        self._told: bool | None = None
        self._since_ms = 0
        self._set_ms = 0
        self._news: list[ClockEntry] = []
        self._wake = asyncio.Event()
        self.steps = 0
        self.on_news: Callable[[], None] = lambda: None

    def take(self) -> ClockWord:
        """Before each batch: is the clock believed, and what has the log to be told? Looks closer after a step."""
        now_ms = self._wall_ms()
        if self._told is None or self._judge.step(self._boot_s(), now_ms) is not None:
            self._look()
        news, self._news = self._news, []
        return ClockWord(bool(self._told), now_ms, self._set_ms, news)

    @property
    def trusted(self) -> bool:
        """Whether the clock is believed, as of the last look."""
        return bool(self._told)

    def past_ms(self) -> int:
        """What time it is for whoever drops what is old: by a clock that is not believed nothing is, so 0."""
        return self._wall_ms() if self._told else 0

    def apply(self, config: ClockConfig) -> None:
        """Another ``[clock]``: the clock is judged anew."""
        self._judge.retune(config)
        self._look()
        self._wake.set()

    async def run(self) -> None:
        """Notice when the clock is set, and while it is not believed look every ten seconds; until cancelled."""
        notice = SetNotice(self._wake.set)
        if not notice.start():
            log.info("clock.no_notice", detail="a clock that is set is noticed with the next message")
        try:
            while True:
                self._look()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if self._told else _LOOK_AGAIN_S):
                        await self._wake.wait()
                self._wake.clear()
        finally:
            notice.close()

    def status(self) -> dict[str, Any]:
        """The clock's part of ``securenet status``."""
        verdict = self._judge.verdict
        return {
            "trusted": bool(self._told),
            "why": "it was not looked at yet" if verdict is None else verdict.why,
            "offset_ms": self._word.offset_ms,
            "max_error_ms": self._word.max_error_ms,
            "steps": self.steps,
            "since_ms": self._since_ms,
        }

    def warnings(self) -> list[str]:
        """What a person should know although messages are taken."""
        verdict = self._judge.verdict
        if verdict is None or verdict.trusted:
            return []
        return [
            f"the clock is not believed: {verdict.why}; messages are accepted by sequence, their times unverified"
        ]

    def close(self) -> None:
        """Call it when the journal is closed: a stretch that was closed in the log need not be remembered."""
        if self._told and not self._news:
            with contextlib.suppress(OSError):
                self._stretch.unlink(missing_ok=True)

    def _look(self) -> None:
        self._word = self._kernel()
        wall_ms = self._wall_ms()
        facts = Facts(self._boot_s(), wall_ms, self._word.synchronised, self._keeper())
        verdict, step = self._judge.look(facts)
        if step is not None:
            self.steps += 1
            self._set_ms = max(1, wall_ms)
            by_s = round((step.after_ms - step.before_ms) / 1000, 3)
            log.warning("clock.stepped", by_s=by_s, before=when(step.before_ms), now=when(step.after_ms))
        was = self._told
        self._told = verdict.trusted
        if was is not verdict.trusted:
            self._changed(verdict, wall_ms, was=was)
        elif step is not None and verdict.trusted:
            self._tell(ClockEntry(max(0, wall_ms), "stepped", step.before_ms, verdict.why))

    def _changed(self, verdict: Verdict, wall_ms: int, *, was: bool | None) -> None:
        """The clock is believed, or is not, and that was otherwise, or nobody had looked."""
        self._since_ms = wall_ms
        if not verdict.trusted:
            # Before the log can hold the entry: whatever happens in between, the next start closes the stretch.
            _touch(self._stretch)
            log.warning("clock.untrusted", detail=verdict.why, now=when(wall_ms))
            self._tell(ClockEntry(max(0, wall_ms), "untrusted", None, verdict.why))
        elif was is False or self._stretch.exists():
            log.info("clock.trusted", detail=verdict.why, now=when(wall_ms))
            self._tell(ClockEntry(max(0, wall_ms), "trusted", None, verdict.why))

    def _tell(self, entry: ClockEntry) -> None:
        self._news.append(entry)
        self.on_news()


def when(wall_ms: int) -> str:
    """A time for a person, in UTC, to the second."""
    return datetime.fromtimestamp(min(max(wall_ms, 0), _LAST_MS) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _touch(path: Path) -> None:
    """Create an empty file that survives a power cut; a disk that takes none stops the journal, and says so there."""
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
