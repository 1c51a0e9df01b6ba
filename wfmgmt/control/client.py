"""Calls of the management plane to the runtime, over its control socket."""

import http.client
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

from wfmgmt.control.connection import OwnConnection, UnixConnection, Wait
from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import (
    DriftReport,
    FiguresReport,
    LogReport,
    MemoryReport,
    Message,
    ReachReport,
    StatusChanges,
    TrafficReport,
    WorkflowReport,
    decode,
    encode,
)
from wfmgmt.domain.workflow import LoadRequest
from wfmgmt.errors import RuntimeDown, RuntimeUnavailable, RuntimeUnreachable, ShuttingDown

#: How long the runtime may be silent; while it holds a response back, it sends a sign of life every second.
CALL_TIMEOUT_S = 5.0
#: What a runtime may need on top of a workflow's start-up time, to unpack archives and to take down what it loaded.
SLACK_S = 30.0
#: How long the model servers may take to be compared and repaired.
MAX_CHECK_S = 600.0
#: The pause before the next attempt to reach a runtime that is waited for.
RETRY_INTERVAL_S = 0.1
_SILENT = "The runtime does not answer."
_Result = TypeVar("_Result")


class RuntimeClient:
    """Calls of the management plane to the runtime. Thread-safe.

    Each thread keeps its connection. One that the runtime closed meanwhile, as it does when it is restarted, is made
    again and the call repeated, once: every call says how things are to be afterwards, so a second one does no harm.
    Nothing is connected before the first call, so a process may be forked until then.

    Args:
        control_socket: Where the runtime listens.
        drain_timeout_s: How long the runtime may take to answer requests before it unloads a workflow.
        max_install_s: How long it may take to install libraries before it loads one.
        call_timeout_s: How long the runtime may be silent.
        silence_s: For how long after that it is not called, so that not every thread waits for one that hangs.
    """

    def __init__(
        self,
        control_socket: Path,
        *,
        drain_timeout_s: float = 0.0,
        max_install_s: float = 0.0,
        call_timeout_s: float = CALL_TIMEOUT_S,
        silence_s: float = 0.0,
    ) -> None:
        self._control_socket = control_socket
        self._drain_timeout_s = drain_timeout_s
        self._max_install_s = max_install_s
        self._call_timeout_s = call_timeout_s
        self._silence_s = silence_s
        self._silent_until = -float("inf")
        self._own = OwnConnection(control_socket, call_timeout_s)

    def load(self, target: LoadRequest, *, cancelled: Callable[[], bool]) -> WorkflowReport:
        """Load a workflow and wait until all its workers are ready, or until that has failed.

        A runtime that cannot be reached is waited for within the workflow's start-up time; one that was restarted
        meanwhile begins again.

        Returns:
            The report, whose state is `loaded` or `failed`.

        Raises:
            RuntimeUnreachable: The runtime could not be reached in that time.
            RuntimeUnavailable: What it answers makes no sense, or it does not finish.
            ShuttingDown: `cancelled` became true meanwhile.
        """
        began = time.monotonic()
        finish_by = began + target.startup_timeout_s + self._max_install_s + SLACK_S
        wait = Wait(until=finish_by, cancelled=cancelled, consequence="the registration was undone")

        def load_once() -> WorkflowReport:
            report = self._ask(WorkflowReport, "PUT", f"/workflows/{target.uid}", target, wait)
            if report.state is LoadState.ABSENT:
                raise RuntimeUnreachable("The runtime was restarted while it loaded the workflow; try again.")
            if not report.state.is_final:
                raise RuntimeUnavailable("The runtime did not finish loading the workflow in time.")
            return report

        return _attempt(load_once, until=began + target.startup_timeout_s, cancelled=cancelled)

    def unload(self, uid: str, *, wait_s: float = 0.0, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Take a workflow down and wait until its workers are gone; one that is not loaded is fine.

        Requests that were accepted are answered first.

        Args:
            uid: The workflow.
            wait_s: How long to wait for a runtime that cannot be reached.
            cancelled: Ends the wait.

        Raises:
            RuntimeUnreachable: The runtime could not be reached in that time.
            RuntimeUnavailable: What it answers makes no sense, or it does not finish.
            ShuttingDown: `cancelled` became true meanwhile.
        """

        def unload_once() -> None:
            finish_by = time.monotonic() + self.max_unload_s
            wait = Wait(until=finish_by, cancelled=cancelled, consequence="the removal will be finished")
            if self._ask(WorkflowReport, "DELETE", f"/workflows/{uid}", None, wait).state is not LoadState.ABSENT:
                raise RuntimeUnavailable("The runtime did not finish unloading the workflow in time.")

        _attempt(unload_once, until=time.monotonic() + wait_s, cancelled=cancelled)

    @property
    def max_unload_s(self) -> float:
        """How long the runtime may take to unload a workflow."""
        return self._drain_timeout_s + SLACK_S

    def on_registered(self, uid: str) -> None:
        """Notify the runtime that a workflow is registered for good, so that clients may know of it.

        Raises:
            RuntimeUnavailable: The runtime is down, hangs or sends malformed answers; it will find out by itself.
        """
        self._call("POST", f"/workflows/{uid}/registered")

    def report(self, uid: str) -> WorkflowReport:
        """Return how a workflow is, now.

        Raises:
            RuntimeUnavailable: The runtime is down, hangs or sends malformed answers.
        """
        return self._ask(WorkflowReport, "GET", f"/workflows/{uid}")

    def reach(
        self, uid: str, revision: int, wait_s: float, *, cancelled: Callable[[], bool] = lambda: False
    ) -> ReachReport:
        """Have the runtime look at a workflow now, and wait until a revision of it is in force, or will not be.

        Args:
            uid: The workflow.
            revision: What its routing, and the settings of its nodes, are to be those of.
            wait_s: How long to wait for that.
            cancelled: Ends the wait.

        Raises:
            RuntimeUnavailable: The runtime is down, hangs or sends malformed answers; it will get there by itself.
            ShuttingDown: `cancelled` became true meanwhile.
        """
        wait = Wait(
            until=time.monotonic() + wait_s, cancelled=cancelled, consequence="what was written comes into force later"
        )
        return self._ask(ReachReport, "POST", f"/workflows/{uid}/reach?revision={revision}", None, wait)

    def figures(self, uid: str) -> FiguresReport:
        """Return what is measured of each loaded version of a workflow.

        Raises:
            RuntimeUnavailable: The runtime is down, hangs or sends malformed answers.
        """
        return self._ask(FiguresReport, "GET", f"/workflows/{uid}/figures")

    def traffic(self, uids: Sequence[str]) -> TrafficReport:
        """Return how many requests several workflows had, by their identities.

        Raises:
            RuntimeUnavailable: The runtime is down, hangs or sends malformed answers.
        """
        return self._ask(TrafficReport, "POST", "/traffic", list(uids))

    def log(self, workflow: str, version: str, node: str | None, lines: int) -> LogReport:
        """Return the last lines of the log about a version of a workflow, or about one node of it.

        Raises:
            RuntimeUnavailable: The runtime is down, hangs or sends malformed answers.
        """
        wanted = {"workflow": workflow, "version": version, "lines": lines}
        query = urlencode(wanted if node is None else {**wanted, "node": node})
        return self._ask(LogReport, "GET", f"/log?{query}")

    def last_lines(self, workflow: str, version: str, *, per_node: int, lines: int) -> LogReport:
        """Return the last lines about each node of a version, and the last error about each; `lines` bounds them all.

        Raises:
            RuntimeUnavailable: The runtime is down, hangs or sends malformed answers.
        """
        query = urlencode({"workflow": workflow, "version": version, "lines": lines, "per_node": per_node})
        return self._ask(LogReport, "GET", f"/log?{query}")

    def reconcile_now(self) -> None:
        """Have the runtime compare itself with the database now, and attempt failed loads again.

        Raises:
            RuntimeUnavailable: The runtime is down, hangs or sends malformed answers.
        """
        self._call("POST", "/reconcile_now")

    def check(self, *, dry_run: bool) -> tuple[list[str], bool]:
        """Have the model servers compared with what they should hold, and repaired unless it is a dry run.

        Returns:
            A sentence per difference, and whether everything could be compared and repaired.

        Raises:
            RuntimeUnavailable: The runtime is down, hangs or sends malformed answers.
        """
        finish_by = time.monotonic() + MAX_CHECK_S
        wait = Wait(until=finish_by, cancelled=lambda: False, consequence="the check goes on")
        report = self._ask(DriftReport, "GET" if dry_run else "POST", "/check", None, wait)
        return list(report.drifts), report.is_in_step

    def collect(self) -> MemoryReport:
        """Have the runtime run the cycle collector, and return what its memory is used for then.

        Raises:
            RuntimeUnavailable: The runtime is down, hangs or sends malformed answers.
        """
        return self._ask(MemoryReport, "POST", "/collect")

    def is_down(self) -> bool:
        """Return whether the runtime is dead for certain: its socket is there, and nothing listens on it.

        A socket that is missing proves nothing; it may have been removed under a runtime that lives.
        """
        connection = UnixConnection(self._control_socket, self._call_timeout_s)
        try:
            connection.connect()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        finally:
            connection.close()
        return False

    def changes(self, *, epoch: str, since: int, wait_s: float) -> StatusChanges:
        """Return what changed since a sequence number, after waiting for a change for at most `wait_s`.

        Raises:
            RuntimeUnavailable: The runtime is down, hangs or sends malformed answers.
        """
        return self._ask(StatusChanges, "GET", f"/status?epoch={epoch}&since={since}&wait_s={wait_s}")

    def _ask(
        self, kind: type[Message], method: str, path: str, message: object = None, wait: Wait | None = None
    ) -> Message:
        content = self._call(method, path, message, wait)
        try:
            return decode(kind, content)
        except ValueError as error:
            raise RuntimeUnavailable("The runtime's answer makes no sense.") from error

    def _call(self, method: str, path: str, message: object = None, wait: Wait | None = None) -> bytes:
        payload = None if message is None else encode(message)
        status, content = self._send(method, path, payload, wait)
        if status != HTTPStatus.OK:
            raise RuntimeUnavailable(f"The runtime answered with status {status}.")
        return content

    def _send(self, method: str, path: str, payload: bytes | None, wait: Wait | None) -> tuple[int, bytes]:
        if time.monotonic() < self._silent_until:
            raise RuntimeUnreachable(_SILENT)
        connection = self._own.http
        is_new = connection.sock is None
        try:
            try:
                return connection.call(method, path, payload, wait)
            except ConnectionError:
                if is_new:
                    raise
                return connection.call(method, path, payload, wait)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise RuntimeDown("The runtime is down; it is being started.") from error
        except TimeoutError as error:
            self._silent_until = time.monotonic() + self._silence_s
            raise RuntimeUnreachable(_SILENT) from error
        except (ConnectionError, http.client.IncompleteRead) as error:
            raise RuntimeUnreachable("The runtime broke off its answer.") from error
        except (OSError, http.client.HTTPException) as error:
            raise RuntimeUnavailable(f"The runtime cannot be called: {error}.") from error


def _attempt(call: Callable[[], _Result], *, until: float, cancelled: Callable[[], bool]) -> _Result:
    """Return what a call returns, attempting it again while the runtime cannot be reached, until a time."""
    while True:
        try:
            return call()
        except RuntimeUnreachable:
            if cancelled():
                raise ShuttingDown("The server is stopping.") from None
            if time.monotonic() >= until:
                raise
        time.sleep(RETRY_INTERVAL_S)
