"""Calls of the management plane to the runtime, over its control socket."""

import contextlib
import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import (
    DriftReport,
    MemoryReport,
    Message,
    StatusChanges,
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
#: How often a connection is attempted while the runtime is busy with others.
CONNECT_INTERVAL_S = 0.02
_Result = TypeVar("_Result")
_MAX_SOCKET_PATH = 100


@contextmanager
def short_socket_path(path: Path) -> Iterator[str]:
    """Give a path to the socket that fits into a socket address, which holds about 100 bytes.

    A longer one is reached through an open descriptor of its folder, which Linux shows under /proc.
    """
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


@dataclass(slots=True)
class _Deadline:
    """When the calls on a socket have to be over.

    Attributes:
        timeout_s: How long the runtime may be silent.
        at: On the monotonic clock.
        wait: What the runtime holds its response back for; each sign of life renews the deadline meanwhile.
    """

    timeout_s: float
    at: float = 0.0
    wait: "_Wait | None" = None

    def begin(self, wait: "_Wait | None" = None) -> None:
        """Begin a part of a call."""
        self.at, self.wait = time.monotonic() + self.timeout_s, wait

    def renew(self) -> None:
        """Give the runtime more time before it is listened to, if it may hold its response back."""
        if self.wait is not None:
            self.wait.check()
            self.at = min(time.monotonic(), self.wait.until) + self.timeout_s


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wait:
    """A wait for the runtime to finish something.

    Attributes:
        until: On the monotonic clock.
        cancelled: Ends the wait.
        consequence: What that means, for the client.
    """

    until: float
    cancelled: Callable[[], bool]
    consequence: str

    @property
    def query(self) -> str:
        """The query string that says how long the runtime may hold its response back."""
        return f"?wait_s={max(self.until - time.monotonic(), 0.0)}"

    def check(self) -> None:
        """Raise `ShuttingDown` when the wait is cancelled."""
        if self.cancelled():
            raise ShuttingDown(f"The server is stopping; {self.consequence}.")


class _DeadlineSocket(socket.socket):
    """A Unix socket all of whose calls together have one deadline, however slowly bytes drip in."""

    def __init__(self, deadline: _Deadline) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._deadline = deadline

    def _limit_next_call(self) -> float:
        left_s = self._deadline.at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self.settimeout(left_s)
        return left_s

    def connect(self, address: Any, /) -> None:  # noqa: ANN401 - as in the base class
        """Connect, waiting while the listener's queue is full: a Unix socket refuses to do so by itself."""
        while True:
            left_s = self._limit_next_call()
            try:
                super().connect(address)
            except BlockingIOError:
                time.sleep(min(CONNECT_INTERVAL_S, left_s))
            else:
                return

    def sendall(self, data: Any, flags: int = 0, /) -> None:  # noqa: ANN401 - as in the base class
        """Send everything within the time that is left."""
        self._limit_next_call()
        super().sendall(data, flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0, /) -> int:  # noqa: ANN401 - as in the base class
        """Receive what has come within the time that is left, or lies there when it is over.

        After a pause of the machine the time may be over although the response came in time.
        """
        self._deadline.renew()
        with contextlib.suppress(TimeoutError):
            self._limit_next_call()
            return super().recv_into(buffer, nbytes, flags)
        self.settimeout(0)
        try:
            return super().recv_into(buffer, nbytes, flags)
        except BlockingIOError:
            raise TimeoutError from None


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, each call with a deadline."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("runtime")
        self._path = path
        self.deadline = _Deadline(timeout_s)
        self.deadline.begin()

    def __del__(self) -> None:
        self.close()

    def connect(self) -> None:
        self.sock = _DeadlineSocket(self.deadline)
        with short_socket_path(self._path) as address:
            self.sock.connect(address)

    def call(self, method: str, path: str, payload: bytes | None, wait: _Wait | None) -> tuple[int, bytes]:
        """Return status and content of a response; after an error the connection is closed."""
        try:
            self.deadline.begin()
            target = path + (wait.query if wait else "")  # Only now: a call that is repeated has less time left.
            self.request(method, target, payload, {"Content-Type": "application/json"})
            self.deadline.begin(wait)
            response = self.getresponse()  # It passes over the interim responses, which are signs of life.
            self.deadline.begin()
            return response.status, response.read()
        except BaseException:
            self.close()
            raise


class _OwnConnection(threading.local):
    """One connection per thread."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self.http = _UnixConnection(path, timeout_s)


class RuntimeClient:
    """Calls of the management plane to the runtime. Thread-safe.

    Each thread keeps its connection. One that the runtime closed meanwhile, as it does when it is restarted, is made
    again and the call repeated, once: every call says how things are to be afterwards, so a second one does no harm.
    Nothing is connected before the first call, so a process may be forked until then.

    Args:
        control_socket: Where the runtime listens.
        drain_timeout_s: How long the runtime may take to answer requests before it unloads a workflow.
        call_timeout_s: How long the runtime may be silent.
    """

    def __init__(
        self, control_socket: Path, *, drain_timeout_s: float = 0.0, call_timeout_s: float = CALL_TIMEOUT_S
    ) -> None:
        self._control_socket = control_socket
        self._drain_timeout_s = drain_timeout_s
        self._call_timeout_s = call_timeout_s
        self._own = _OwnConnection(control_socket, call_timeout_s)

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
        finish_by = began + target.startup_timeout_s + SLACK_S
        wait = _Wait(until=finish_by, cancelled=cancelled, consequence="the registration was undone")

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
            wait = _Wait(until=finish_by, cancelled=cancelled, consequence="the removal will be finished")
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
        wait = _Wait(until=finish_by, cancelled=lambda: False, consequence="the check goes on")
        report = self._ask(DriftReport, "GET" if dry_run else "POST", "/check", None, wait)
        return list(report.drifts), report.is_in_step

    def collect_garbage(self) -> MemoryReport:
        """Have the runtime run the cycle collector, and return what its memory is used for then.

        Raises:
            RuntimeUnavailable: The runtime is down, hangs or sends malformed answers.
        """
        return self._ask(MemoryReport, "POST", "/collect")

    def is_down(self) -> bool:
        """Return whether the runtime is dead for certain: its socket is there, and nothing listens on it.

        A socket that is missing proves nothing; somebody may have removed it under a runtime that lives.
        """
        connection = _UnixConnection(self._control_socket, self._call_timeout_s)
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
        self, kind: type[Message], method: str, path: str, message: object = None, wait: _Wait | None = None
    ) -> Message:
        content = self._call(method, path, message, wait)
        try:
            return decode(kind, content)
        except ValueError as error:
            raise RuntimeUnavailable("The runtime's answer makes no sense.") from error

    def _call(self, method: str, path: str, message: object = None, wait: _Wait | None = None) -> bytes:
        payload = None if message is None else encode(message)
        status, content = self._send(method, path, payload, wait)
        if status != HTTPStatus.OK:
            raise RuntimeUnavailable(f"The runtime answered with status {status}.")
        return content

    def _send(self, method: str, path: str, payload: bytes | None, wait: _Wait | None) -> tuple[int, bytes]:
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
            raise RuntimeUnreachable("The runtime does not answer.") from error
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
