"""Answers that are made while they are sent, as they may be larger than memory."""

import threading
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from flask import Response, request, stream_with_context

from wfmgmt.errors import Saturated

_UNSENT_BYTES = 1024 * 1024


@runtime_checkable
class PatientClient(Protocol):
    """The connection of a client, which otherwise keeps all that the client has not taken; a TLS socket is none."""

    def bound_unsent(self, max_bytes: int, is_stopping: Callable[[], bool]) -> None:
        """Have a sender wait for the client when so much is unsent."""


class Exports:
    """Long answers of one process, one at a time: each holds a thread for as long as its client takes. Thread-safe.

    Args:
        is_stopping: Becomes true when the service stops, which no client may hold up.
    """

    def __init__(self, is_stopping: Callable[[], bool]) -> None:
        self._is_stopping = is_stopping
        self._slot = threading.BoundedSemaphore(1)

    def answer(self, lines: Iterator[str], content_type: str) -> Response:
        """Return an answer of these lines, which has to be sent: it frees the slot when it is closed.

        Raises:
            Saturated: Another one is under way.
        """
        answer = Response(stream_with_context(lines), content_type=content_type)
        client = request.environ.get("gunicorn.socket")
        if isinstance(client, PatientClient):
            client.bound_unsent(_UNSENT_BYTES, self._is_stopping)
        if not self._slot.acquire(blocking=False):
            raise Saturated("Another export is under way; try again later.")
        answer.call_on_close(self._slot.release)
        return answer
