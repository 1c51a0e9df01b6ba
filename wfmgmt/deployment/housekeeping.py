"""What one web worker does beside answering requests: keep the runtime alive, the registry tidy and the log short.

Every web worker has the thread; a locked file elects the one that acts, and another takes over when that one ends.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from wfmgmt.deployment.locks import LockFile
from wfmgmt.errors import RuntimeUnavailable, SettingsInvalid, WfmgmtError
from wfmgmt.factory import Services

_log = logging.getLogger("wfmgmt.housekeeping")

#: How often the runtime is looked after.
WATCH_INTERVAL_S = 0.2
#: How often unfinished work is looked for and the write-ahead log is moved into the database.
TIDY_INTERVAL_S = 1.0
#: How often stray files are looked for.
SWEEP_INTERVAL_S = 60.0
#: After the runtime ended, the wait before the next start doubles between these; a run this long resets it.
FIRST_PAUSE_S, LAST_PAUSE_S, GOOD_RUN_S = 0.1, 30.0, 30.0
#: A runtime that does not answer for so long is ended, to be started again.
HANGING_S = 30.0
#: How long registrations under way may go on once the server has been told to stop.
GRACE_S = 2.0


class RuntimeWatchdog:
    """Starts the runtime when there is none, with growing pauses when it keeps ending.

    Args:
        command: What to run.
        keep_open: Descriptors that the process inherits.
        environment: The process's environment.
        lock: Held by the runtime as long as it lives.
        answers: Tells whether the runtime answers.
        give_up: Called when the settings do not let the runtime start, with the code that it exited with.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        command: list[str],
        keep_open: tuple[int, ...],
        environment: dict[str, str],
        lock: LockFile,
        answers: Callable[[], bool],
        give_up: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = command
        self._keep_open = keep_open
        self._environment = environment
        self._lock = lock
        self._answers = answers
        self._give_up = give_up
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = clock()
        self._answered_at = clock()
        self._pause_s = 0.0
        self._has_given_up = False

    def watch(self) -> None:
        """Look once, and act if need be."""
        if self._has_given_up:
            return
        if self._process is not None and self._process.poll() is None:
            self._end_if_hanging()
            return
        if self._lock.is_held():
            self._process = None  # Another web worker started it before it ended.
            self._end_if_hanging()
            return
        if self._process is not None and self._process.returncode == SettingsInvalid.exit_code:
            self._has_given_up = True  # It has said why, and would say it again.
            self._give_up(SettingsInvalid.exit_code)
            return
        if self._process is not None:
            self._note_end(self._process.returncode)
        if self._clock() - self._started_at >= self._pause_s:
            self._start()

    def _note_end(self, code: int) -> None:
        ran_s = self._clock() - self._started_at
        self._pause_s = (
            FIRST_PAUSE_S if ran_s >= GOOD_RUN_S else min(max(2 * self._pause_s, FIRST_PAUSE_S), LAST_PAUSE_S)
        )
        self._process = None
        self._started_at = self._clock()  # The pause counts from the end.
        how = f"exited with code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
        _log.warning("the runtime %s; starting it again in %.1f s", how, self._pause_s)

    def _start(self) -> None:
        self._started_at = self._answered_at = self._clock()
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter with our own module
            self._command, pass_fds=self._keep_open, env=self._environment
        )

    def _end_if_hanging(self) -> None:
        if self._answers():
            self._answered_at = self._clock()
        elif self._clock() - self._answered_at > HANGING_S and (holder := self._lock.holder()) is not None:
            self._answered_at = self._clock()
            os.kill(holder, signal.SIGKILL)
            _log.error("the runtime did not answer; it was ended")


class Housekeeping:
    """The thread of one web worker.

    Args:
        services: The use cases of this web worker.
        watchdog: Looks after the runtime.
        elected: Held by the web worker that acts.
    """

    def __init__(self, *, services: Services, watchdog: RuntimeWatchdog, elected: LockFile) -> None:
        self._services = services
        self._watchdog = watchdog
        self._elected = elected
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        self._next_tidy = self._next_sweep = 0.0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop_soon(self) -> None:
        """Let registrations go on for a moment, then let them be undone."""
        timer = threading.Timer(GRACE_S, self._services.registration.stop)
        timer.daemon = True
        timer.start()

    def stop_now(self) -> None:
        """Let registrations be undone."""
        self._services.registration.stop()

    def end(self) -> None:
        """End the thread, letting another web worker take over."""
        self._stop.set()
        self._thread.join(timeout=GRACE_S)
        self._elected.release()

    def _run(self) -> None:
        is_elected = False
        while True:
            is_elected = is_elected or self._elected.acquire()
            try:
                if is_elected:
                    self._act()
                self._services.removal.record_late()
            except (WfmgmtError, OSError) as error:
                _log.warning("housekeeping has to try again: %s", error)
            if self._stop.wait(WATCH_INTERVAL_S):
                return

    def _act(self) -> None:
        now = time.monotonic()
        self._watchdog.watch()
        if now >= self._next_tidy:
            self._next_tidy = now + TIDY_INTERVAL_S
            for sentence in self._services.removal.recover():
                _log.info("reconciled: %s", sentence)
            self._services.store.checkpoint()
        if now >= self._next_sweep:
            self._next_sweep = now + TIDY_INTERVAL_S  # For the case that it fails.
            for name in self._services.removal.sweep():
                _log.info("removed a stray file: %s", name)
            self._next_sweep = now + SWEEP_INTERVAL_S


def runtime_answers(services: Services) -> bool:
    """Return whether the runtime answers a question."""
    try:
        services.runtime.report("none")
    except RuntimeUnavailable:
        return False
    return True


def runtime_command(inference_fd: int, lifeline_fd: int) -> list[str]:
    """Return the command line of the runtime process."""
    return [
        sys.executable,
        "-m",
        "wfmgmt.cli.main",
        "runtime",
        "--inference-fd",
        str(inference_fd),
        "--lifeline-fd",
        str(lifeline_fd),
    ]
