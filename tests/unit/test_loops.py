"""Loops and duties that survive what their work raises."""

import threading
from collections.abc import Callable

import pytest

from wfmgmt import loops
from wfmgmt.errors import RegistryUnavailable
from wfmgmt.loops import MAX_DUTY_PAUSE_S, MAX_FAILURES, Duties, Duty, Loop


class Work:
    """Fails a given number of times, and sets an event when it was called often enough."""

    def __init__(self, *, failures: int, calls: int, error: BaseException) -> None:
        self.calls = 0
        self.is_done = threading.Event()
        self._failures = failures
        self._wanted = calls
        self._error = error

    def __call__(self) -> None:
        """Fail or not."""
        self.calls += 1
        if self.calls >= self._wanted:
            self.is_done.set()
        if self.calls <= self._failures:
            raise self._error


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "MAX_PAUSE_S", 0.001)


def refuse_to_count(_: str) -> None:
    """Fail as a counter does whose file cannot be made."""
    raise MemoryError


@pytest.mark.parametrize("count", [lambda _: None, refuse_to_count], ids=["counted", "not counted"])
@pytest.mark.parametrize(
    "error", [RuntimeError("can't start new thread"), OSError(), MemoryError(), KeyError()], ids=repr
)
def test_loop_goes_on_after_any_error(error: Exception, count: Callable[[str], None]) -> None:
    """Also when the failure cannot even be counted."""
    work = Work(failures=MAX_FAILURES - 1, calls=MAX_FAILURES + 2, error=error)
    abandoned = threading.Event()
    loop = Loop("test", work, interval_s=0.001, on_failure=count, on_abandoned=abandoned.set)
    loop.start()
    assert work.is_done.wait(10)
    loop.stop()
    assert not abandoned.is_set()


def test_loop_that_keeps_failing_is_counted_and_abandoned(caplog: pytest.LogCaptureFixture) -> None:
    """Its owner's callback runs once, and the step is not called again."""
    work = Work(failures=1000, calls=MAX_FAILURES, error=KeyError("unforeseen"))
    counted: list[str] = []
    abandoned = threading.Event()
    loop = Loop("test", work, interval_s=0.001, on_failure=counted.append, on_abandoned=abandoned.set)
    loop.start()
    assert abandoned.wait(10)
    loop.stop()
    assert work.calls == MAX_FAILURES
    assert counted == ["test"] * MAX_FAILURES
    assert "KeyError: 'unforeseen'" in caplog.text


def test_loop_can_be_stopped_before_it_was_started() -> None:
    """As when a web worker ends that could not begin."""
    Loop("test", lambda: None, interval_s=1, on_failure=lambda _: None, on_abandoned=lambda: None).stop()


def test_duty_that_fails_delays_itself_alone() -> None:
    """Its pauses double up to a bound, and end with its failures; the other duty is called each time."""
    now = 0.0
    error: list[Exception] = [RegistryUnavailable("locked")]
    failing: list[float] = []
    other: list[float] = []
    counted: list[str] = []

    def fail() -> None:
        failing.append(now)
        for each in error:
            raise each

    duties = Duties(
        Duty(name="failing", work=fail, interval_s=1),
        Duty(name="other", work=lambda: other.append(now), interval_s=1),
        on_failure=counted.append,
        clock=lambda: now,
    )
    for second in range(200):
        now = float(second)
        duties.run()
    assert other == [float(second) for second in range(200)]
    assert failing[:5] == [0, 2, 6, 14, 30]
    assert failing[5] - failing[4] == MAX_DUTY_PAUSE_S
    assert counted == ["failing"] * len(failing)
    error.clear()
    failing.clear()
    for second in range(200, 300):
        now = float(second)
        duties.run()
    assert len(failing) > 60
