"""The watchdog's decisions, with a fake clock, lock and process."""

import itertools
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from wfmgmt.deployment.housekeeping import ASK_INTERVAL_S, HANGING_S, STARTING_S, RuntimeWatchdog
from wfmgmt.deployment.locks import LockFile


class FakeLock(LockFile):
    """A lock that is held as long as the fake runtime lives."""

    def __init__(self) -> None:
        super().__init__(Path("unused"))
        self.pid: int | None = None

    def is_held(self) -> bool:
        """Return whether the fake runtime lives."""
        return self.pid is not None

    def holder(self) -> int | None:
        """Return its process id."""
        return self.pid


class Rig:
    """A watchdog in a world where time passes on demand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.answers = True
        self.asked = 0
        self.started: list[float] = []
        self.killed: list[int] = []
        self.hopeless: list[int] = []
        self.lock = FakeLock()
        self.returncode: int | None = None
        self.refusal: OSError | None = None
        monkeypatch.setattr(subprocess, "Popen", self._start)
        monkeypatch.setattr(os, "kill", lambda pid, _signal: self.killed.append(pid))
        self.watchdog = RuntimeWatchdog(
            command=["runtime"],
            keep_open=(),
            environment={},
            lock=self.lock,
            answers=self._answer,
            on_hopeless=self.hopeless.append,
            clock=lambda: self.now,
        )

    def _start(self, *_: Any, **__: Any) -> "Rig":
        if self.refusal is not None:
            raise self.refusal
        self.started.append(self.now)
        self.returncode = None
        self.lock.pid = 4711
        return self

    def _answer(self) -> bool:
        self.asked += 1
        return self.answers

    def poll(self) -> int | None:
        """Stand in for the process that was started."""
        return self.returncode

    def end(self, code: int) -> None:
        """Let the runtime end."""
        self.returncode = code
        self.lock.pid = None

    def run(self, seconds: float, step_s: float = 0.1) -> None:
        """Let time pass, with a look at every step."""
        end = self.now + seconds
        while self.now < end:
            self.watchdog.watch()
            self.now += step_s


@pytest.fixture(name="rig")
def _rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(monkeypatch)


def test_watch_starts_the_runtime_once(rig: Rig) -> None:
    """A runtime that lives is left alone."""
    rig.run(100)
    assert rig.started == [0.0]
    assert rig.killed == []
    assert 100 / ASK_INTERVAL_S * 0.9 <= rig.asked <= 100 / ASK_INTERVAL_S, "it is asked now and then only"


def test_watch_leaves_a_runtime_alone_that_another_web_worker_started(rig: Rig) -> None:
    """The lock tells that there is one."""
    rig.lock.pid = 1
    rig.run(5)
    assert rig.started == []
    rig.lock.pid = None
    rig.run(1)
    assert len(rig.started) == 1


def test_watch_restarts_at_once_after_a_good_run_and_slower_after_bad_ones(rig: Rig) -> None:
    """The pauses double as long as the runtime keeps ending soon."""
    rig.run(60)
    rig.end(-9)
    for _ in range(6):
        seen = len(rig.started)
        while len(rig.started) == seen:
            rig.run(0.1)
        rig.end(1)
    pauses = [later - earlier for earlier, later in itertools.pairwise(rig.started[1:])]
    assert rig.started[1] - 60 < 1
    assert all(later > earlier for earlier, later in itertools.pairwise(pauses))


def test_watch_ends_the_service_for_a_runtime_that_the_settings_do_not_let_start(rig: Rig) -> None:
    """Exit code 2 says that it would not help to try again."""
    rig.run(1)
    rig.end(2)
    rig.run(100)
    assert rig.hopeless == [2]
    assert len(rig.started) == 1


def test_watch_ends_a_runtime_that_hangs(rig: Rig) -> None:
    """One that does not answer for long is killed; one that answers again is not."""
    rig.run(1)
    rig.answers = False
    rig.run(HANGING_S / 2)
    rig.answers = True
    rig.run(HANGING_S)
    assert rig.killed == []
    rig.answers = False
    rig.run(HANGING_S + 1)
    assert rig.killed == [4711]


def test_watch_gives_a_runtime_that_starts_more_time_than_one_that_has_answered(rig: Rig) -> None:
    """Imports take long on a busy machine."""
    rig.answers = False
    rig.run(STARTING_S - 1)
    assert rig.killed == []
    rig.run(2)
    assert rig.killed == [4711]


def test_watch_leaves_a_runtime_alone_after_a_pause_of_the_whole_machine(rig: Rig) -> None:
    """One call without an answer may be the pause's fault, however much time has passed."""
    rig.run(1)
    rig.now += 1000
    rig.answers = False
    rig.watchdog.watch()
    rig.answers = True
    rig.run(60)
    assert rig.killed == []


def test_watch_starts_the_runtime_as_soon_as_the_system_has_room_for_it(rig: Rig) -> None:
    """A process limit that was reached is no reason to stop trying."""
    rig.refusal = BlockingIOError("Resource temporarily unavailable")
    rig.run(600)
    assert rig.started == []
    rig.refusal = None
    rig.run(5)
    assert len(rig.started) == 1


def test_watch_logs_the_end_of_a_runtime_that_another_web_worker_started(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing but its lock shows that it ended; a new one starts with the same look, and there is one line."""
    rig.lock.pid = 1
    rig.run(5)
    assert caplog.messages == []
    rig.lock.pid = None
    rig.watchdog.watch()
    assert rig.started == [rig.now]
    rig.run(5)
    assert caplog.messages == ["the runtime is gone; starting it again"]
