"""The management plane's copy of the runtime's status, kept fresh by one thread instead of a call per request."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.messages import WorkflowReport
from wfmgmt.errors import RuntimeUnavailable
from wfmgmt.loops import FailureCounter, Loop

#: The runtime answers a request for changes after this time even if there are none.
POLL_S = 0.5
#: The pause between two requests; an error, or a flood of changes, must not spin.
PAUSE_S = 0.05
#: Without any answer for so long, what was known before is void: the runtime, or the thread that calls it, hangs.
MAX_NEWS_AGE_S = 8.0


class StatusCache:
    """The newest reports of the runtime. Thread-safe. The thread starts with the first look-up, never before a fork.

    Args:
        client: Calls the runtime.
        on_failure: Counts failures of the thread that were not foreseen.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        client: RuntimeClient,
        *,
        on_failure: FailureCounter = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._clock = clock
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._has_asked = threading.Event()
        self._loop: Loop | None = None
        self._news_at = clock()
        self._reports: dict[str, WorkflowReport] = {}
        self._epoch, self._sequence = "", 0
        self._change = 0
        self._problem = "The runtime has not answered yet."
        self._missing: dict[str, WorkflowReport] = {}

    def report(self, uid: str) -> WorkflowReport | None:
        """Return the newest report of a workflow, None when the runtime has reported nothing of it."""
        self._ensure_started()
        return self._reports.get(uid)

    def catch_up(self, change: int) -> None:
        """Have the reports be no older than a change that the registry names, which another process may have made."""
        self._ensure_started()
        if change > self._change and not self._problem:
            self._change = change
            # One that fails is the thread's to report.
            with suppress(RuntimeUnavailable):
                self._ask(wait_s=0)

    def reports(self) -> list[WorkflowReport]:
        """Return the newest report of every workflow."""
        self._ensure_started()
        with self._lock:
            return list(self._reports.values())

    def problem(self) -> str:
        """Return why the runtime cannot serve, an empty text when it can."""
        self._ensure_started()
        age_s = self._clock() - self._news_at
        if age_s > MAX_NEWS_AGE_S and not self._problem:
            return f"There has been no news from the runtime for {age_s:.0f} s."
        return self._problem

    @property
    def is_silent(self) -> bool:
        """Whether the runtime did not answer when it was asked last, so that nothing is known of it."""
        self._ensure_started()
        return not self._epoch

    def missing(self) -> list[WorkflowReport]:
        """Return the reports of workflows that are not ready."""
        self._ensure_started()
        with self._lock:
            return list(self._missing.values())

    def start(self, *, on_abandoned: Callable[[], None] = lambda: None) -> None:
        """Start the thread, unless it runs already.

        Args:
            on_abandoned: Called when the thread keeps failing, and ends.

        Raises:
            RuntimeError: The system has no room for another thread.
        """
        with self._lock:
            if self._loop is None:
                loop = Loop(
                    "status-cache",
                    self._look,
                    interval_s=PAUSE_S,
                    on_failure=self._on_failure,
                    on_abandoned=on_abandoned,
                )
                loop.start()
                self._loop = loop

    def _ensure_started(self) -> None:
        if self._loop is None:
            try:
                self.start()
            except RuntimeError as error:
                self._problem = f"The runtime cannot be asked: {error}."
        self._has_asked.wait(POLL_S)

    def _look(self) -> None:
        try:
            self._ask(wait_s=POLL_S if self._epoch else 0)
        except RuntimeUnavailable as error:
            self._forget(str(error))
        finally:
            self._has_asked.set()

    def _forget(self, problem: str) -> None:
        with self._lock:
            self._problem = problem
            self._reports, self._missing = {}, {}
            self._epoch, self._sequence = "", 0

    def _ask(self, *, wait_s: float) -> None:
        changes = self._client.changes(epoch=self._epoch, since=self._sequence, wait_s=wait_s)
        with self._lock:
            if changes.epoch == self._epoch and changes.sequence < self._sequence:
                return  # A later question was answered earlier.
            self._news_at = self._clock()
            if changes.is_whole:
                self._reports, self._missing = {}, {}
            for uid in (*changes.gone, *(report.uid for report in changes.workflows)):
                self._reports.pop(uid, None)
                self._missing.pop(uid, None)
            for report in changes.workflows:
                self._reports[report.uid] = report
                if report.is_missing:
                    self._missing[report.uid] = report
            self._epoch, self._sequence = changes.epoch, changes.sequence
            unread = "" if changes.is_complete else "The runtime has not read the database yet."
            self._problem = changes.catalog_error or unread
