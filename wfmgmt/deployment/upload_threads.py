"""The threads of a web worker that answer uploads, and may wait for a body while it arrives."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any

from wfmgmt.deployment.client_socket import ClientSocket


class UploadThreads:
    """Threads for requests whose bodies are files, one for each, which ends with it.

    For the main loop of a web worker; `begin` and `end` are not thread-safe.

    Args:
        max_uploads: How many there may be at a time.
        timeout_s: Longest time for one body.
        is_stopping: Becomes true when the service stops.
    """

    def __init__(self, *, max_uploads: int, timeout_s: float, is_stopping: Callable[[], bool]) -> None:
        self._max_uploads = max_uploads
        self._timeout_s = timeout_s
        self._is_stopping = is_stopping
        self._under_way = 0

    def begin(self, client: ClientSocket, handle: Callable[[], Any], *, is_held_back: bool) -> "Future[Any] | None":
        """Have a request answered; None when there are too many, or the system has no room for another thread.

        Args:
            client: Who sends it.
            handle: Answers it.
            is_held_back: Whether the client waits for `100 Continue` before it sends the body.
        """
        if self._under_way >= self._max_uploads:
            return None
        client.expect_body(self._timeout_s, self._is_stopping, is_held_back=is_held_back)
        # Not an executor: one whose thread does not start keeps what it should have done, and does it later.
        answered: Future[Any] = Future()
        try:
            Thread(target=_answer, args=(answered, handle), name="upload").start()
        except RuntimeError:
            return None
        self._under_way += 1
        return answered

    def end(self, client: ClientSocket) -> None:
        """Make room for the next one, after what `begin` returned is done."""
        self._under_way -= 1
        client.end_body()


def _answer(answered: "Future[Any]", handle: Callable[[], Any]) -> None:
    try:
        answered.set_result(handle())
    except BaseException as error:  # noqa: BLE001 - it is for the main loop, as that of an executor
        answered.set_exception(error)
