"""Background duties of one web worker: keep the runtime alive, the registry tidy and the write-ahead log short.

Every web worker has the threads; an election decides which one acts, and who takes over when that one ends or stops.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from wfmgmt.backoff import Backoff
from wfmgmt.deployment.election import Election
from wfmgmt.deployment.locks import LockFile
from wfmgmt.deployment.shared_state import SharedState
from wfmgmt.errors import RuntimeUnavailable, WfmgmtError
from wfmgmt.errors.commands import SettingsInvalid
from wfmgmt.loops import Duties, Duty, FailureCounter, Loop
from wfmgmt.management import Services
from wfmgmt.registry.files import FileIdentity
from wfmgmt.services.operations import PROGRESS_INTERVAL_S

_log = logging.getLogger("wfmgmt.housekeeping")

#: How often the runtime is looked after.
WATCH_INTERVAL_S = 0.2
#: How often unfinished work is looked for and the write-ahead log is moved into the database.
TIDY_INTERVAL_S = 1.0
#: How often a PostgreSQL database is shown that this service uses it.
BEAT_INTERVAL_S = 5.0
#: How often the files of this web worker's counters are looked at.
COUNTERS_INTERVAL_S = 5.0
#: How often stray files are looked for.
SWEEP_INTERVAL_S = 60.0
#: How often answers and operations are looked for that were kept long enough.
CLEAN_INTERVAL_S = 60.0
#: How often it is looked whether the audit trail needs a checkpoint.
ANCHOR_INTERVAL_S = 1.0
#: After the runtime ended, the wait before the next start doubles between these; a run this long resets it.
FIRST_PAUSE_S, MAX_PAUSE_S, GOOD_RUN_S = 0.1, 30.0, 30.0
#: While the system has no room for its process, the runtime is tried to be started this often at least.
MAX_START_PAUSE_S = 3.0
#: How often a runtime that is there is asked for an answer, which costs both processes more than a look.
ASK_INTERVAL_S = 1.0
#: A runtime that has answered, and then leaves so many calls in a row and so much time without an answer, is killed.
#: The calls keep a pause of the whole machine, after which one call may fail, from being taken for that.
MAX_UNANSWERED_CALLS, HANGING_S = 3, 12.0
#: The same for one that has not answered yet, which may be importing on a busy machine.
STARTING_S = 30.0
#: How long registrations under way may go on once the service stops.
GRACE_S = 2.0
#: How long the end of a web worker waits for the audit events that it still has.
MAX_LAST_AUDIT_S = 2.0


class RuntimeWatchdog:
    """Starts the runtime when there is none, with growing pauses when it keeps ending.

    Args:
        command: What to run.
        keep_open: Descriptors that the process inherits.
        environment: The process's environment.
        lock: Held by the runtime as long as it lives.
        answers: Returns whether the runtime answers.
        on_hopeless: Called when the settings do not let the runtime start, with the code that it exited with.
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
        on_hopeless: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = command
        self._keep_open = keep_open
        self._environment = environment
        self._lock = lock
        self._answers = answers
        self._on_hopeless = on_hopeless
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = clock()
        self._answered_at = self._asked_at = clock()
        self._has_answered = False
        self._unanswered_calls = 0
        self._restarts = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S, steady_s=GOOD_RUN_S, clock=clock)
        self._starts = Backoff(FIRST_PAUSE_S, MAX_START_PAUSE_S, clock=clock)
        self._is_hopeless = False
        self._has_seen_another = False  # That is, a runtime which another web worker started.

    def watch(self) -> None:
        """Look once, and act if need be."""
        if self._is_hopeless:
            return
        if self._process is not None and self._process.poll() is None:
            self._end_if_hanging()
            return
        if self._lock.is_held():
            self._process = None  # Another web worker started it before it ended.
            self._has_seen_another = True
            self._end_if_hanging()
            return
        if self._process is not None and self._process.returncode == SettingsInvalid.exit_code:
            self._is_hopeless = True  # It has said why, and would say it again.
            self._on_hopeless(SettingsInvalid.exit_code)
            return
        if self._process is not None:
            self._record_end(self._process.returncode)
        elif self._has_seen_another:  # Only its parent, which may have ended, could know how.
            _log.warning("the runtime is gone; starting it again")
        self._has_seen_another = False
        if not (self._restarts.is_pausing or self._starts.is_pausing):
            self._start()

    def _record_end(self, code: int) -> None:
        pause_s = self._restarts.next_pause(worked_s=self._clock() - self._started_at)
        self._process = None
        how = f"exited with code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
        _log.warning("the runtime %s; starting it again in %.1f s", how, pause_s)

    def _start(self) -> None:
        self._started_at = self._answered_at = self._clock()
        self._has_answered = False
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter with our own module
                self._command, pass_fds=self._keep_open, env=self._environment
            )
        except OSError as error:  # The system has no room for another process now.
            pause_s = self._starts.next_pause()
            _log.warning("the runtime cannot be started: %s; trying again in %.1f s", error, pause_s)
        else:
            self._starts.reset()

    def _end_if_hanging(self) -> None:
        if self._clock() - self._asked_at < ASK_INTERVAL_S:
            return
        self._asked_at = self._clock()
        if self._answers():
            self._answered_at = self._clock()
            self._has_answered = True
            self._unanswered_calls = 0
            return
        self._unanswered_calls += 1
        unanswered_s = self._clock() - self._answered_at
        is_hanging = self._unanswered_calls >= MAX_UNANSWERED_CALLS and unanswered_s > (
            HANGING_S if self._has_answered else STARTING_S
        )
        if is_hanging and (holder := self._lock.holder()) is not None:
            os.kill(holder, signal.SIGKILL)
            self._answered_at = self._clock()
            _log.error("the runtime did not answer for %.0f s; killed it", unanswered_s)


class Housekeeping:
    """The threads of one web worker. One looks after the runtime, so that no slow duty of the others delays that.

    Args:
        services: The use cases of this web worker.
        watchdog: Looks after the runtime.
        election: Decides which web worker acts.
        shared: Has the reason why this web worker is to end.
        on_failure: Counts failures of the threads.
        check_instance: Ends the deployment when its folder is gone.
        check_counters: Replaces damaged files of the counters of this web worker.
        beat: Shows that this service uses its database.
    """

    def __init__(
        self,
        *,
        services: Services,
        watchdog: RuntimeWatchdog,
        election: Election,
        shared: SharedState,
        on_failure: FailureCounter,
        check_instance: Callable[[], None],
        check_counters: Callable[[], None],
        beat: Callable[[], None],
    ) -> None:
        self._services = services
        self._watchdog = watchdog
        self._election = election
        self._shared = shared
        self._on_failure = on_failure
        self._own_duties = Duties(
            Duty(name="instance", work=check_instance, interval_s=TIDY_INTERVAL_S),
            Duty(name="counters", work=check_counters, interval_s=COUNTERS_INTERVAL_S),
            Duty(name="tokens", work=services.access.record_uses, interval_s=WATCH_INTERVAL_S),
            Duty(name="late-audit", work=services.failures.record_late, interval_s=WATCH_INTERVAL_S),
            on_failure=on_failure,
        )
        self._operation_duties = Duties(
            Duty(name="progress", work=services.operations.write_progress, interval_s=PROGRESS_INTERVAL_S),
            Duty(name="dispatch", work=services.registration_queue.dispatch, interval_s=WATCH_INTERVAL_S),
            *(
                Duty(name=f"dispatch-{queue.kinds[0]}", work=queue.dispatch, interval_s=WATCH_INTERVAL_S)
                for queue in services.change_queues
            ),
            on_failure=on_failure,
        )
        self._elected_duties = Duties(
            Duty(name="recovery", work=self._recover, interval_s=TIDY_INTERVAL_S),
            Duty(name="load-at-start", work=services.load_at_start.run, interval_s=TIDY_INTERVAL_S),
            *(
                [Duty(name="store-watch", work=services.store_watch.run, interval_s=TIDY_INTERVAL_S)]
                if services.settings.watch_store
                else []
            ),
            Duty(name="heartbeat", work=beat, interval_s=BEAT_INTERVAL_S),
            Duty(name="checkpoint", work=services.registry.checkpoint, interval_s=TIDY_INTERVAL_S),
            Duty(name="sweep", work=self._sweep, interval_s=SWEEP_INTERVAL_S),
            Duty(name="archives", work=self._sweep_archives, interval_s=SWEEP_INTERVAL_S),
            Duty(name="idempotency", work=services.idempotency.clean, interval_s=CLEAN_INTERVAL_S),
            Duty(name="operations", work=services.operations.clean, interval_s=CLEAN_INTERVAL_S),
            on_failure=on_failure,
        )
        steps = {
            "supervision": self._supervise,
            "housekeeping": self._tidy,
            "operations": self._operation_duties.run,
        }
        if services.anchoring is not None:
            self._anchor_duties = Duties(
                Duty(name="anchor", work=services.anchoring.run, interval_s=ANCHOR_INTERVAL_S), on_failure=on_failure
            )
            steps["anchor"] = self._anchor
        self._loops = [
            Loop(name, step, interval_s=WATCH_INTERVAL_S, on_failure=on_failure, on_abandoned=self.abandon)
            for name, step in steps.items()
        ]

    def start(self) -> None:
        """Start the threads, and that of the status cache.

        Raises:
            RuntimeError: The system has no room for more threads.
        """
        self._services.status.start(on_abandoned=self.abandon)
        for loop in self._loops:
            loop.start()

    @property
    def is_service_stopping(self) -> bool:
        """Whether the whole service stops; otherwise a web worker that gets SIGTERM is only replaced."""
        return self._shared.is_stopping

    def beat(self) -> None:
        """Show that the main loop of this web worker runs."""
        self._election.beat()

    def stop_soon(self) -> None:
        """Let long requests go on for a moment, then let them be undone or left to others."""
        self._services.long_requests.stop(after_s=GRACE_S)

    def stop_now(self) -> None:
        """Let long requests be undone or left to others."""
        self._services.long_requests.stop()

    def abandon(self) -> None:
        """End this web worker, whose threads keep failing, in favour of others; gunicorn starts a new one."""
        try:
            self.end()
            _log.error("this web worker cannot do its duties; ending it, so that another one takes over")
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def break_off(self) -> None:
        """Let operations that nobody waits for begin again in another web worker; requests are all answered."""
        self._services.long_requests.stop()
        self._services.registration_queue.stop()
        for queue in self._services.change_queues:
            queue.stop()

    def end(self) -> None:
        """End the threads, letting another web worker take over."""
        for loop in self._loops:
            self._election.beat()  # Each may take a while, and the main loop does not run any more.
            loop.stop()
        self._election.beat()
        self._record_last()
        self._election.resign()

    def _record_last(self) -> None:
        """Record the failures that are not in the audit trail yet, unless the database keeps us waiting."""
        last = threading.Thread(target=self._record_at_end, name="last-audit", daemon=True)
        try:
            last.start()
        except RuntimeError:  # The system has no room for another thread.
            self._record_at_end()
            return
        last.join(MAX_LAST_AUDIT_S)
        if last.is_alive():
            _log.warning("failed changes may be missing in the audit trail: the database does not answer")

    def _record_at_end(self) -> None:
        try:
            self._services.failures.record_late(at_end=True)
        except WfmgmtError as error:
            _log.warning("failed changes are missing in the audit trail: %s", error)

    def _supervise(self) -> None:
        if self._election.take_part():
            self._watchdog.watch()

    def _tidy(self) -> None:
        if self._election.is_won:
            self._elected_duties.run()
        self._own_duties.run()

    def _anchor(self) -> None:
        if self._election.is_won:
            self._anchor_duties.run()

    def _recover(self) -> None:
        recovery = self._services.removal.recover()
        for sentence in (*recovery.done, *self._services.operations.recover()):
            _log.info("reconciled: %s", sentence)
        for _ in recovery.failed:
            self._on_failure("recovery")

    def _sweep(self) -> None:
        for name in self._services.removal.sweep():
            _log.info("removed a stray file: %s", name)

    def _sweep_archives(self) -> None:
        for digest in self._services.archive_sweep.run():
            _log.info("removed an archive that no version has used for WFMGMT_ARCHIVES_KEEP_S: %s", digest)


def runtime_answers(services: Services) -> bool:
    """Return whether the runtime answers a request."""
    try:
        services.runtime.report("none")
    except RuntimeUnavailable:
        return False
    return True


def runtime_command(
    *, settings_fd: int, inference_fd: int, lifeline_fd: int, database_file: FileIdentity, umask: int
) -> list[str]:
    """Return the command line of the runtime process."""
    file = [] if database_file is None else ["--database-file", *map(str, database_file)]
    return [
        sys.executable,
        "-m",
        "wfmgmt.cli.main",
        "runtime",
        "--settings-fd",
        str(settings_fd),
        "--inference-fd",
        str(inference_fd),
        "--lifeline-fd",
        str(lifeline_fd),
        "--umask",
        f"{umask:03o}",
        *file,
    ]
