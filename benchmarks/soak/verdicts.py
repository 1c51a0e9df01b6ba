"""What an answer is: the request's own, a clean error, or wrong."""

import json
import math
import re
import sys
import time
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.soak.questions import Question
from benchmarks.soak.workflows import VISITOR
from tests.support.service import CHECKOUT

OK, NOT_FOUND, REFUSED, FAILED, UNAVAILABLE = 200, 404, 422, 500, 503
#: Statuses that errors of predictions and registrations can have here, with their types.
_TYPES = {
    NOT_FOUND: {"WorkflowNotFoundException"},
    409: {"ConflictStatusException"},
    REFUSED: {"PredictionException"},
    FAILED: {"InternalServerException", "WorkflowException"},
    UNAVAILABLE: {"ServiceUnavailableException"},
}
#: What a failure says that is nobody's fault but the killer's, or that of a machine that is too busy.
_KILLED = re.compile(r"killed by SIGKILL|lost with the forkserver|closed its connection|within timeout-ms")
#: What a failed registration says when a worker was killed while it loaded; the end of a forkserver is no such failure.
_KILLED_LOADING = re.compile(r"worker (was killed by SIGKILL|closed its connection) while loading")
#: What a failure says that a request asked for.
_FAILURES = {
    "sleep": "no answer within timeout-ms",
    "raise": "ValueError: on purpose",
    "refuse": "refused on purpose",
    "exit": "exited with code 3",
    "segfault": "was killed by SIGSEGV",
    "count": "answers to ",
}
_KEPT_DETAILS = 30
_SHOWN_CHARS = 300
#: How long after a runtime answers again connections may still be found broken, in s.
_AFTERMATH_S = 2.0


@dataclass(kw_only=True)
class Outage:
    """A time in which connections may break, in monotonic s.

    Attributes:
        began_at: Just before the runtime was killed.
        ended_at: When the next one answered.
    """

    began_at: float
    ended_at: float = math.inf


@dataclass(kw_only=True)
class Tally:
    """All that was answered.

    Attributes:
        instance: The service's folder, which no answer may tell.
        outages: So far.
        own: Own answers by workflow.
        clean: Clean errors by status, or `broken off`.
        spoilt: Those of them that requests got which had not asked for any, nor for a workflow that is not there.
        latencies_s: Of own answers.
        wrong: How many wrong answers there were.
        details: The first of them.
        silences_s: Workflow to the longest time in which it gave no own answer.
    """

    instance: Path
    outages: list[Outage] = field(default_factory=list)
    own: Counter[str] = field(default_factory=Counter)
    clean: Counter[str] = field(default_factory=Counter)
    spoilt: Counter[str] = field(default_factory=Counter)
    latencies_s: "array[float]" = field(default_factory=lambda: array("d"))
    wrong: int = 0
    details: list[str] = field(default_factory=list)
    silences_s: dict[str, float] = field(default_factory=dict)
    _answered_at: dict[str, float] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """How many requests were made."""
        return self.own.total() + self.clean.total() + self.wrong

    def record_answer(
        self, question: Question, status: int, headers: Mapping[str, str], content: bytes, began_at: float
    ) -> bool:
        """Take in an answer; return whether it was the request's own."""
        problem = self._problem(question, status, headers, content)
        if problem is not None:
            self.record_wrong(f"{problem}; {question}: {status} {_cut(content)}")
            return False
        if status == OK:
            now = time.monotonic()
            self.own[question.workflow.name] += 1
            self.latencies_s.append(now - began_at)
            self._note_sign_of_life(question.workflow.name, now)
            return True
        self.clean[str(status)] += 1
        if status != NOT_FOUND and question.word not in _FAILURES:
            self.spoilt[str(status)] += 1
        return False

    def record_broken(self, question: Question, error: Exception, began_at: float) -> None:
        """Take in a connection that broke before the answer was there."""
        if any(began_at <= outage.ended_at + _AFTERMATH_S for outage in self.outages):
            self.clean["broken off"] += 1
            self.spoilt["broken off"] += 1
        else:
            self.record_wrong(f"the connection broke: {error!r}; {question}")

    def record_wrong(self, detail: str) -> None:
        """Take in what must not be."""
        self.wrong += 1
        if len(self.details) < _KEPT_DETAILS:
            self.details.append(detail)

    def begin(self, names: list[str], now: float) -> None:
        """Expect answers of these workflows from now on."""
        self._answered_at = dict.fromkeys(names, now)
        self.silences_s = dict.fromkeys(names, 0.0)

    def end(self) -> None:
        """Expect no more answers."""
        for name in self.silences_s:
            self._note_sign_of_life(name, time.monotonic())

    def _note_sign_of_life(self, name: str, now: float) -> None:
        if name in self.silences_s:
            self.silences_s[name] = max(self.silences_s[name], now - self._answered_at[name])
            self._answered_at[name] = now

    def _problem(self, question: Question, status: int, headers: Mapping[str, str], content: bytes) -> str | None:
        """Say what is wrong with an answer, if anything is."""
        if headers.get("x-request-id") != question.token:
            return f"the request id is {headers.get('x-request-id')}"
        if status == OK:
            if question.word in _FAILURES:
                return "it should have failed"
            return None if content == question.answer() else "not its own answer"
        problem = error_problem(status, headers, content, self.instance)
        if problem is None and status == NOT_FOUND and question.workflow is not VISITOR:
            return "the workflow was there all the time"
        return problem or _reason_problem(question, status, json.loads(content)["message"])


def error_problem(status: int, headers: Mapping[str, str], content: bytes, instance: Path) -> str | None:
    """Say what is wrong with an error, if anything is: its shape, or what it gives away about the host."""
    if status not in _TYPES:
        return "its status is not among the documented ones"
    try:
        error = json.loads(content)
        shape = {"code": error["code"], "type": error["type"], "message": bool(error["message"])}
    except (ValueError, KeyError, TypeError):
        return "not an error as documented"
    if shape["code"] != status or shape["type"] not in _TYPES[status] or not shape["message"]:
        return "its code, type and message do not fit"
    if not headers.get("Content-Type", "").startswith("application/json"):
        return "an error without its content type"
    if status == UNAVAILABLE and "Retry-After" not in headers:
        return "503 without Retry-After"
    secrets = ("Traceback", 'File "', str(instance), str(CHECKOUT), sys.prefix)
    return next((f"it tells {secret}" for secret in secrets if secret in str(error)), None)


def registration_problem(status: int, message: str) -> str | None:
    """Say what is wrong with the reason of a registration's error, if anything is: a failure has to be a kill."""
    return None if status != FAILED or _KILLED_LOADING.search(message) else "the workflow was to blame for nothing"


def _reason_problem(question: Question, status: int, message: str) -> str | None:
    """Say what is wrong with the reason of an error, if anything is: it has to be the request's own fault or a kill."""
    if status in (NOT_FOUND, UNAVAILABLE):
        return None
    if (status == REFUSED) is (question.word == "refuse") and _FAILURES.get(question.word, "\0") in message:
        return None
    return None if status == FAILED and _KILLED.search(message) else "not for a reason of its own"


def _cut(content: bytes) -> str:
    return repr(content if len(content) <= _SHOWN_CHARS else content[:_SHOWN_CHARS] + b" ...")
