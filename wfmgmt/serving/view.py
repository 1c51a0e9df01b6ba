"""What the management plane knows of the runtime, kept fresh by one thread instead of a call per request."""

import itertools
import threading
import time
from collections.abc import Callable

from wfmgmt.errors import RuntimeUnavailable
from wfmgmt.serving.client import RuntimeClient
from wfmgmt.serving.control import WorkflowReport

#: The runtime answers a question for news after this time even if there are none.
POLL_S = 0.5


class RuntimeView:
    """The newest reports of the runtime. Thread-safe. The thread starts with the first question, never before a fork.

    Args:
        client: Asks the runtime.
        clock: Monotonic seconds.
    """

    def __init__(self, client: RuntimeClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._started = threading.Event()
        self._thread: threading.Thread | None = None
        self._reports: dict[str, WorkflowReport] = {}
        self._epoch, self._sequence = "", 0
        self._problem = "The runtime has not answered yet."
        self._missing: dict[str, WorkflowReport] = {}

    def report(self, uid: str) -> WorkflowReport | None:
        """Return the newest report of a workflow, None when the runtime has told nothing of it."""
        self._ensure_started()
        return self._reports.get(uid)

    def reports(self) -> list[WorkflowReport]:
        """Return the newest report of every workflow."""
        self._ensure_started()
        with self._lock:
            return list(self._reports.values())

    def problem(self) -> str:
        """Return why the runtime cannot serve, an empty text when it can."""
        self._ensure_started()
        return self._problem

    def not_ready(self, most: int) -> tuple[dict[str, str], int]:
        """Return workflows that are not ready, each with why, and how many there are of them."""
        self._ensure_started()
        with self._lock:
            shown = itertools.islice(self._missing.values(), most)
            return {report.workflow: report.problem for report in shown}, len(self._missing)

    def _ensure_started(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._follow, name="runtime-view", daemon=True)
                    self._thread.start()
        self._started.wait(POLL_S)

    def _follow(self) -> None:
        while True:
            began = self._clock()
            try:
                self._ask()
            except RuntimeUnavailable as error:
                self._forget(str(error))
            self._started.set()
            # The runtime holds answers back while there is no news; an error, or a flood of news, must not spin.
            pause_s = POLL_S / 5 if self._problem else POLL_S / 10
            time.sleep(max(pause_s - (self._clock() - began), 0))

    def _forget(self, problem: str) -> None:
        with self._lock:
            self._problem = problem
            self._reports, self._missing = {}, {}
            self._epoch, self._sequence = "", 0

    def _ask(self) -> None:
        changes = self._client.changes(epoch=self._epoch, since=self._sequence, wait_s=POLL_S if self._epoch else 0)
        with self._lock:
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
