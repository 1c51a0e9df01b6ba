"""Records of predictions that failed at a node: one for each, with all that is known about it."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from wfmgmt.serving.log_rate import LogRate
from wfmgmt.serving.models.base import NoWorker, PredictionFailed, PredictionRefused
from wfmgmt.serving.traffic import is_server_error

#: Records of one node in a second, and their bytes; the others are counted.
MAX_RECORDS_PER_SECOND, MAX_BYTES_PER_SECOND = 20, 256 * 1024
#: The same of requests that were refused or not taken: while there are too many of them, a failure is still to be seen.
MAX_REFUSALS_PER_SECOND = 5

_log = logging.getLogger("wfmgmt.prediction")


class FailedAttempt(NamedTuple):
    """One attempt of a node that failed. It holds no exception, which would hold the request.

    Attributes:
        number: Which attempt it was, from 1.
        reason: Why, as the client reads it.
        traceback: The handler's, if it raised.
        pid: The worker's process, if it is known.
    """

    number: int
    reason: str
    traceback: str = ""
    pid: int | None = None

    @classmethod
    def of(cls, number: int, error: PredictionFailed | PredictionRefused | TimeoutError) -> "FailedAttempt":
        """Return the attempt that ended with an error."""
        if isinstance(error, TimeoutError):
            return cls(number, type(error).__name__)
        return cls(number, error.reason, error.traceback, error.pid)


class FailureLog:
    """The records of one node of a version. For the event loop only.

    What a client was answered with a 5xx is an error, and a warning where nobody saw it: the next attempt succeeded, or
    the request was a copy. So is what was not taken for lack of workers. A refusal with a 4xx is no failure.
    """

    __slots__ = ("_failures", "_fields", "_refusals")

    def __init__(self, *, workflow: str, version: str, node: str) -> None:
        self._fields: Mapping[str, Any] = {"workflow": workflow, "version": version, "node": node}
        self._failures, self._refusals = (
            LogRate(max_lines=lines, max_bytes=MAX_BYTES_PER_SECOND, on_dropped=partial(self._report_dropped, what))
            for lines, what in (
                (MAX_RECORDS_PER_SECOND, "failed predictions"),
                (MAX_REFUSALS_PER_SECOND, "refused predictions"),
            )
        )

    def on_failed(self, request_id: str, failed: Sequence[FailedAttempt], *, is_copy: bool) -> None:
        """Record a prediction that failed in its last attempt."""
        level, note = (logging.WARNING, " (a copy)") if is_copy else (logging.ERROR, "")
        last = failed[-1]
        self._record(self._failures, level, f"prediction failed{note}: {last.reason}", request_id, last.number, failed)

    def on_refused(
        self, request_id: str, failed: Sequence[FailedAttempt], refused: PredictionRefused, *, is_copy: bool
    ) -> None:
        """Record one that the handler refused with a status."""
        last = failed[-1]
        if is_server_error(refused.status):
            last = last._replace(reason=f"status {refused.status}: {refused.reason}")
            self.on_failed(request_id, [*failed[:-1], last], is_copy=is_copy)
        else:
            what = f"prediction refused with status {refused.status}: {refused.reason}"
            self._record(self._refusals, logging.INFO, what, request_id, last.number, failed[:-1])

    def on_not_taken(self, request_id: str, attempt: int, failed: Sequence[FailedAttempt], why: NoWorker) -> None:
        """Record one that no worker took."""
        rate = self._failures if failed else self._refusals
        self._record(rate, logging.WARNING, f"prediction not taken: {why}", request_id, attempt, failed)

    def on_answered(self, request_id: str, attempt: int, failed: Sequence[FailedAttempt]) -> None:
        """Record one that was answered in a further attempt."""
        what = f"prediction answered in attempt {attempt} after: {failed[-1].reason}"
        self._record(self._failures, logging.WARNING, what, request_id, attempt, failed)

    def on_error_status(self, request_id: str, attempt: int, status: int) -> None:
        """Record one for which the handler set a status of the server's errors."""
        self._record(self._failures, logging.WARNING, f"prediction answered with status {status}", request_id, attempt)

    def _record(  # noqa: PLR0917 - it is called in this class alone, with the same few values
        self,
        rate: LogRate,
        level: int,
        what: str,
        request_id: str,
        attempt: int,
        failed: Sequence[FailedAttempt] = (),
    ) -> None:
        if not _log.isEnabledFor(level):
            return
        traceback = _joined(failed)
        if rate.admits(len(what) + len(traceback)):
            pid = failed[-1].pid if failed else None
            extra = {**self._fields, "request_id": request_id, "attempt": attempt, "pid": pid, "traceback": traceback}
            _log.log(level, "%s", what, extra=extra)

    def _report_dropped(self, what: str, records: int) -> None:
        _log.warning("%d more records of %s were dropped", records, what, extra=self._fields)


def _joined(failed: Sequence[FailedAttempt]) -> str:
    """Return one traceback for the attempts: two in one, where the last attempt failed for another reason."""
    if not failed:
        return ""
    first, last = failed[0], failed[-1]
    if first.reason == last.reason:
        return last.traceback
    return "\n".join(f"Attempt {each.number}: {each.reason}\n{each.traceback}".rstrip() for each in (first, last))
