"""What happens to the service meanwhile: processes are killed, and a workflow comes and goes."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter

import requests

from benchmarks.soak.processes import count_processes
from benchmarks.soak.verdicts import NOT_FOUND, OK, Outage, Tally, error_problem, registration_problem
from benchmarks.soak.workflows import VISITOR
from tests.support.service import Service, command_line

#: Seconds between two kills, at least and at most.
_KILL_PAUSE_S = (0.5, 1.5)
#: One kill of so many meets the forkserver, besides those that are planned.
_FORKSERVER_SHARE = 40
#: What else is killed when, as parts of the run; the runtime in its first half, so that its memory is watched in the
#: other.
PLANNED = ((0.1, "runtime"), (0.2, "forkserver"), (0.25, "runtime"), (0.4, "runtime"), (0.6, "forkserver"))
#: How long the runtime may take to be there again, in s.
RECOVERY_S = 30.0
_VISIT_PAUSE_S = (0.5, 4.0)


class Killer:
    """Kills a worker every second or so, now and then the forkserver, and a few times the runtime.

    Attributes:
        kills: How many of each kind.

    Args:
        service: Whose processes to kill.
        chance: Which, and when.
        tally: Where the times are recorded in which connections may break.
    """

    def __init__(self, service: Service, chance: random.Random, tally: Tally) -> None:
        self.kills: Counter[str] = Counter()
        self._service = service
        self._chance = chance
        self._tally = tally

    def run(self, seconds: float, stop: threading.Event) -> None:
        """Kill until `stop` is set or the time is over."""
        began_at = time.monotonic()
        planned = [(began_at + seconds * part, kind) for part, kind in PLANNED]
        while time.monotonic() < began_at + seconds and not stop.wait(self._chance.uniform(*_KILL_PAUSE_S)):
            kind = "forkserver" if self._chance.randrange(_FORKSERVER_SHARE) == 0 else "worker"
            if planned and time.monotonic() >= planned[0][0]:
                kind = planned.pop(0)[1]
            if kind == "runtime":
                self._kill_runtime(stop)
            else:
                self._kill_one(kind)

    def _kill_one(self, kind: str) -> None:
        census = count_processes(self._service)
        if kind == "forkserver" and census.forkserver is not None:
            self._kill(census.forkserver, kind)
        elif census.workers:
            self._kill(self._chance.choice(census.workers), "worker")

    def _kill_runtime(self, stop: threading.Event) -> None:
        runtime = count_processes(self._service).runtime
        if runtime is None:
            return
        outage = Outage(began_at=time.monotonic())
        self._tally.outages.append(outage)
        self._kill(runtime, "runtime")
        while time.monotonic() < outage.began_at + RECOVERY_S and not stop.wait(0.1):
            with contextlib.suppress(requests.RequestException):
                requests.get(f"{self._service.inference}/ping", timeout=RECOVERY_S)
                outage.ended_at = time.monotonic()
                return
        self._tally.record_wrong(f"the runtime was not back within {RECOVERY_S:g} s")

    def _kill(self, pid: int, kind: str) -> None:
        if not command_line(pid):
            return  # It has gone by itself, and its number may be another's soon.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.kills[kind] += 1


class Visitor:
    """Registers and unregisters one workflow again and again.

    Attributes:
        answers: How many of each method and status.

    Args:
        service: Where.
        chance: When.
        tally: Where wrong answers are counted.
    """

    def __init__(self, service: Service, chance: random.Random, tally: Tally) -> None:
        self.answers: Counter[str] = Counter()
        self._service = service
        self._chance = chance
        self._tally = tally

    def run(self, seconds: float, stop: threading.Event) -> None:
        """Come and go until `stop` is set or the time is over; then go."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not stop.wait(self._chance.uniform(*_VISIT_PAUSE_S)):
            self._change("register")
            stop.wait(self._chance.uniform(*_VISIT_PAUSE_S))
            self._change("unregister")
        self._leave()

    def _leave(self) -> None:
        deadline = time.monotonic() + RECOVERY_S
        while time.monotonic() < deadline:
            if self._service.unregister(VISITOR.name).status_code in (OK, NOT_FOUND):
                return
            time.sleep(0.2)
        self._tally.record_wrong(f"{VISITOR.name} could not be unregistered within {RECOVERY_S:g} s")

    def _change(self, what: str) -> None:
        try:
            if what == "register":
                answer = self._service.register(VISITOR.archive, workflow_name=VISITOR.name)
            else:
                answer = self._service.unregister(VISITOR.name)
        except requests.RequestException as error:
            self._tally.record_wrong(f"management: {error!r}; {what}")
            return
        self.answers[f"{what} {answer.status_code}"] += 1
        if answer.status_code == OK:
            return
        problem = error_problem(answer.status_code, answer.headers, answer.content, self._service.instance)
        problem = problem or registration_problem(answer.status_code, answer.json()["message"])
        if problem is not None:
            self._tally.record_wrong(f"{problem}; {what}: {answer.status_code} {answer.text}")
