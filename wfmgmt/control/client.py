"""The management plane's side of the control socket."""

import contextlib
import http.client
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from wfmgmt.errors import RuntimeUnavailable, RuntimeUnreachable, ShuttingDown

#: How long one call may stay without an answer; longer waits are made of many calls.
CALL_TIMEOUT_S = 5.0
#: How long the runtime holds back an answer for which something first has to happen.
WAIT_S = 1.0
#: What a runtime may need on top of a workflow's start-up time, to unpack archives and to take down what it loaded.
SLACK_S = 30.0
#: The pause before the next attempt to reach a runtime that is waited for.
RETRY_INTERVAL_S = 0.1
#: How often a connection is attempted while the runtime is busy with others.
CONNECT_INTERVAL_S = 0.02
_Result = TypeVar("_Result")
_MAX_SOCKET_PATH = 100
_MAX_RESPONSE_BYTES = 256 * 1024 * 1024


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


class _DeadlineSocket(socket.socket):
    """A Unix socket all of whose calls together have one deadline, however slowly bytes drip in.

    Args:
        deadline: On the monotonic clock; a call that is not finished then raises `TimeoutError`.
    """

    def __init__(self, deadline: float) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._deadline = deadline

    def _limit_next_call(self) -> float:
        left_s = self._deadline - time.monotonic()
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

        After a pause of the machine the time may be over although the answer came in time.
        """
        with contextlib.suppress(TimeoutError):
            self._limit_next_call()
            return super().recv_into(buffer, nbytes, flags)
        self.settimeout(0)
        try:
            return super().recv_into(buffer, nbytes, flags)
        except BlockingIOError:
            raise TimeoutError from None


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, one call with one deadline."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("runtime")
        self._path = path
        self._deadline = time.monotonic() + timeout_s

    def connect(self) -> None:
        self.sock = _DeadlineSocket(self._deadline)
        with short_socket_path(self._path) as address:
            self.sock.connect(address)


class RuntimeClient:
    """Asks the runtime to load and unload. Thread-safe: every call has a connection of its own.

    Args:
        control_socket: Where the runtime listens.
        drain_timeout_s: How long the runtime may take to answer requests before it unloads a workflow.
        call_timeout_s: How long one call may stay without an answer.
    """

    def __init__(
        self, control_socket: Path, *, drain_timeout_s: float = 0.0, call_timeout_s: float = CALL_TIMEOUT_S
    ) -> None:
        self._control_socket = control_socket
        self._drain_timeout_s = drain_timeout_s
        self._call_timeout_s = call_timeout_s

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

        def load_once() -> WorkflowReport:
            self._call("PUT", f"/workflows/{target.uid}", target)
            while time.monotonic() < finish_by:
                report = self._ask(WorkflowReport, "GET", f"/workflows/{target.uid}?wait_s={WAIT_S}")
                if report.state is LoadState.ABSENT:
                    raise RuntimeUnreachable("The runtime was restarted while it loaded the workflow; try again.")
                if report.state.is_final:
                    return report
                if cancelled():
                    raise ShuttingDown("The server is stopping; the registration was undone.")
            raise RuntimeUnavailable("The runtime did not finish loading the workflow in time.")

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
            while time.monotonic() < finish_by:
                if self._ask(WorkflowReport, "DELETE", f"/workflows/{uid}?wait_s={WAIT_S}").state is LoadState.ABSENT:
                    return
                if cancelled():
                    raise ShuttingDown("The server is stopping; the removal will be finished.")
            raise RuntimeUnavailable("The runtime did not finish unloading the workflow in time.")

        _attempt(unload_once, until=time.monotonic() + wait_s, cancelled=cancelled)

    @property
    def max_unload_s(self) -> float:
        """How long the runtime may take to unload a workflow."""
        return self._drain_timeout_s + SLACK_S

    def on_registered(self, uid: str) -> None:
        """Tell the runtime that a workflow is registered for good, so that clients may know of it.

        Raises:
            RuntimeUnavailable: The runtime is down, hangs or answers garbage; it will find out by itself.
        """
        self._call("POST", f"/workflows/{uid}/registered")

    def report(self, uid: str) -> WorkflowReport:
        """Return how a workflow is, now.

        Raises:
            RuntimeUnavailable: The runtime is down, hangs or sends malformed answers.
        """
        return self._ask(WorkflowReport, "GET", f"/workflows/{uid}")

    def reconcile_now(self) -> None:
        """Let the runtime compare itself with the database now, and try failed loads again.

        Raises:
            RuntimeUnavailable: The runtime is down, hangs or sends malformed answers.
        """
        self._call("POST", "/reconcile_now")

    def check(self, *, dry_run: bool) -> tuple[list[str], bool]:
        """Have the model servers compared with what they should hold, and mended unless told not to.

        Returns:
            A sentence per difference, and whether everything could be compared and mended.

        Raises:
            RuntimeUnavailable: The runtime is down, hangs or sends malformed answers.
        """
        report = self._ask(DriftReport, "POST", "/check?dry_run" if dry_run else "/check")
        return list(report.drifts), report.is_in_step

    def collect_garbage(self) -> MemoryReport:
        """Have the runtime collect garbage, and return what its memory is used for then.

        Raises:
            RuntimeUnavailable: The runtime is down, hangs or sends malformed answers.
        """
        return self._ask(MemoryReport, "POST", "/collect")

    def is_down(self) -> bool:
        """Return whether the runtime is dead for certain: its socket is there, and nobody listens on it.

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

    def _ask(self, kind: type[Message], method: str, path: str) -> Message:
        content = self._call(method, path)
        try:
            return decode(kind, content)
        except ValueError as error:
            raise RuntimeUnavailable("The runtime's answer makes no sense.") from error

    def _call(self, method: str, path: str, message: object = None) -> bytes:
        connection = _UnixConnection(self._control_socket, self._call_timeout_s)
        try:
            payload = None if message is None else encode(message)
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read(_MAX_RESPONSE_BYTES)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise RuntimeUnreachable("The runtime is down; it is being started.") from error
        except TimeoutError as error:
            raise RuntimeUnreachable("The runtime does not answer.") from error
        except (ConnectionError, http.client.IncompleteRead, http.client.RemoteDisconnected) as error:
            raise RuntimeUnreachable("The runtime broke off its answer.") from error
        except (OSError, http.client.HTTPException) as error:
            raise RuntimeUnavailable(f"The runtime cannot be called: {error}.") from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise RuntimeUnavailable(f"The runtime answered with status {answer.status}.")
        return content


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
