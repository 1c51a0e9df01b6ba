"""Threads that do the same thing again and again, and that no error ends unnoticed."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from wfmgmt.backoff import Backoff
from wfmgmt.errors import WfmgmtError

_log = logging.getLogger("wfmgmt.loops")

#: Consecutive failures after which a loop is abandoned; with the pauses below that takes about half a minute.
MAX_FAILURES = 10
#: The pause after a failure doubles up to this.
MAX_PAUSE_S = 5.0
#: The same for a single duty, of which others do not depend.
MAX_DUTY_PAUSE_S = 30.0
#: How long a loop that is stopped may take to finish its step.
STOP_TIMEOUT_S = 2.0

#: Counts a failure of the loop or duty with this name.
FailureCounter = Callable[[str], None]


class Loop:
    """A thread that calls a function until it is stopped, also after errors.

    A failure is logged and counted, and the next call comes after a growing pause. A loop that keeps failing is
    abandoned: its owner has to let another process take over, since an unforeseen state rarely heals by itself.

    Args:
        name: Of the thread, and in the log and the metrics.
        step: What to call.
        interval_s: The pause after a call that succeeded.
        on_failure: Counts a failure.
        on_abandoned: Called once by the thread, before it ends, when the step failed `MAX_FAILURES` times in a row.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], None],
        *,
        interval_s: float,
        on_failure: FailureCounter,
        on_abandoned: Callable[[], None],
    ) -> None:
        self._name = name
        self._step = step
        self._interval_s = interval_s
        self._on_failure = on_failure
        self._on_abandoned = on_abandoned
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: The system has no room for another thread.
        """
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end, and wait a moment for its step to finish; nothing happens when it was never started."""
        self._stopped.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        failures, pause_s = 0, 0.0
        backoff = _backoff(self._interval_s, MAX_PAUSE_S)
        while not self._stopped.wait(pause_s):
            try:
                self._step()
            except Exception as error:  # noqa: BLE001 - what is not foreseen must not end supervision; it is logged and counted
                failures += 1
                _report(self._name, error, self._on_failure)
                if failures >= MAX_FAILURES:
                    self._on_abandoned()
                    return
                pause_s = backoff.next_pause()
            else:
                failures, pause_s = 0, self._interval_s
                backoff.reset()


@dataclass(slots=True, kw_only=True)
class Duty:
    """A part of a loop's work that fails on its own.

    Attributes:
        name: In the log and the metrics.
        work: What to call.
        interval_s: The pause after a call that succeeded.
        backoff: The pauses after failures.
        due_at: When it is to be called next, on the clock of its `Duties`.
    """

    name: str
    work: Callable[[], None]
    interval_s: float
    backoff: Backoff = field(init=False)
    due_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.backoff = _backoff(self.interval_s, MAX_DUTY_PAUSE_S)


class Duties:
    """The duties of one loop, each at its own pace: one that fails is tried again later and delays no other.

    Args:
        duties: In the order in which they are called when several are due.
        on_failure: Counts a failure.
        clock: Monotonic seconds.
    """

    def __init__(self, *duties: Duty, on_failure: FailureCounter, clock: Callable[[], float] = time.monotonic) -> None:
        self._duties = duties
        self._on_failure = on_failure
        self._clock = clock

    def run(self) -> None:
        """Call every duty that is due."""
        for duty in self._duties:
            if self._clock() < duty.due_at:
                continue
            try:
                duty.work()
            except Exception as error:  # noqa: BLE001 - one duty that fails must not keep the others from being done
                _report(duty.name, error, self._on_failure)
                pause_s = duty.backoff.next_pause()
            else:
                pause_s = duty.interval_s
                duty.backoff.reset()
            duty.due_at = self._clock() + pause_s


def _backoff(interval_s: float, max_pause_s: float) -> Backoff:
    """Return pauses after failures that are never shorter than the interval."""
    return Backoff(2 * interval_s, max(max_pause_s, interval_s))


def _report(name: str, error: Exception, on_failure: FailureCounter) -> None:
    """Count a failure and log it, with a traceback when it was not foreseen; neither may raise in its turn."""
    foreseen = isinstance(error, WfmgmtError | OSError)
    with suppress(Exception):
        on_failure(name)
    with suppress(Exception):
        _log.warning("%s failed; it is tried again: %s", name, error, exc_info=None if foreseen else error)
