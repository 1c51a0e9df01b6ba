"""One soak from the first start to the last process's end."""

import asyncio
import contextlib
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.soak.disturbances import Killer, Visitor
from benchmarks.soak.load import Load
from benchmarks.soak.processes import Census, Sampler, count_processes, descriptors, take_sample
from benchmarks.soak.questions import Question, Questions
from benchmarks.soak.verdicts import Tally
from benchmarks.soak.workflows import NAUGHTY, STEADY, write_archives
from tests.support.campaigns import kill_everything
from tests.support.kept import kept_parts
from tests.support.service import Service, pids_of
from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.messages import MemoryReport
from wfmgmt.errors import RuntimeUnavailable

#: Workers that all workflows have together while nobody asks anything.
MIN_WORKERS = sum(workflow.processes for workflow in STEADY)
#: Each thread of each web worker keeps a connection to the runtime once it has called it.
WEB_WORKERS, WEB_THREADS = 2, 8
_IDLE_TIMEOUT_S = 3
#: How long it may take after the load until all is as before it, in s: idle timeouts, and pauses before new workers.
_SETTLE_S = 60.0
#: How long the service may take to stop, in s: it drains, and nothing is under way.
_STOP_S = 45.0
#: How long after the master's end the last process may take to be gone, in s; less than handlers' children would stay.
_END_S = 2.0
#: What the service logs about itself only when something happened that it was not made for.
_UNFORESEEN = (
    "unforeseen error",
    "broke off",
    "never retrieved",
    "Exception in callback",
    "Exception ignored",
    "does not die",
    "does not answer",
    "does not stop",
    "could not be removed",
    "abandoned ",
)


@dataclass(kw_only=True)
class Trial:
    """What was seen.

    Attributes:
        seconds: How long the load went on.
        tally: The answers under load.
        afterwards: Those once it was over.
        killer: What killed.
        visitor: What came and went.
        sampler: The samples.
        descriptors: Of the runtime, before the load and after it.
        memory_mb: Of the runtime after the load, before `gc.collect()` and after it.
        memory: What its memory was used for then, None when it was not there.
        census: The processes after the load.
        unanswered: Requests that did not get their own answers when it was over.
        exit_code: Of the service, None when it did not stop.
        leftovers: Processes after the stop, files that should be gone.
    """

    seconds: float
    tally: Tally
    afterwards: Tally
    killer: Killer
    visitor: Visitor
    sampler: Sampler
    descriptors: tuple[int, int] = (0, 0)
    memory_mb: tuple[float, float] = (0.0, 0.0)
    memory: MemoryReport | None = None
    census: Census | None = None
    unanswered: list[Question] = field(default_factory=list)
    exit_code: int | None = None
    leftovers: dict[str, list[str]] = field(default_factory=dict)


def run_trial(instance: Path, *, seconds: float, seed: int) -> Trial:
    """Start a service over an instance folder, soak it, stop it, and kill what is still running.

    Args:
        instance: Of the service; it should not exist yet.
        seconds: How long to load it.
        seed: Of all that is random.
    """
    service = Service(instance, web_workers=WEB_WORKERS, web_threads=WEB_THREADS, idle_timeout_s=_IDLE_TIMEOUT_S)
    tally = Tally(instance=instance)
    trial = Trial(
        seconds=seconds,
        tally=tally,
        afterwards=Tally(instance=instance),
        killer=Killer(service, _chance(seed, "killer"), tally),
        visitor=Visitor(service, _chance(seed, "visitor"), tally),
        sampler=Sampler(service),
    )
    questions = Questions(_chance(seed, "questions"))
    try:
        _set_up(service)
        _ask_each(service, questions, trial)
        _settle(service)
        before = descriptors(count_processes(service).runtime)
        _soak(service, questions, trial)
        _collect(service, trial)
        trial.census = _settle(service)
        trial.descriptors = (before, descriptors(trial.census.runtime))
        _ask_each(service, questions, trial)
        _leave_children(service, questions, trial)
        trial.exit_code = _stop(service)
        trial.leftovers = _look_for_leftovers(service)
    finally:
        kill_everything(service)
    return trial


def _chance(seed: int, part: str) -> random.Random:
    return random.Random(f"{seed} {part}")


def _set_up(service: Service) -> None:
    write_archives(service)
    service.start()
    for workflow in STEADY:
        answer = service.register(workflow.archive, workflow_name=workflow.name)
        assert answer.ok, answer.text


def _ask_each(service: Service, questions: Questions, trial: Trial) -> None:
    """Ask every workflow once, while nothing disturbs it."""
    load = Load(service.inference, questions, trial.afterwards)
    asked = [replace(questions.ask(workflow), deed="") for workflow in STEADY]
    trial.unanswered += asyncio.run(load.ask_each(asked))


def _leave_children(service: Service, questions: Questions, trial: Trial) -> None:
    """Have handlers start processes that the stop has to end."""
    asked = [replace(questions.ask(NAUGHTY), deed=deed) for deed in ("fork@m", "stray@m", "fork@post", "stray@post")]
    trial.unanswered += asyncio.run(Load(service.inference, questions, trial.afterwards).ask_each(asked))


def _settle(service: Service) -> Census:
    """Wait until there are no more workers than there have to be; return what is there then, or in the end."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        census = count_processes(service)
        if (len(census.workers) == MIN_WORKERS and not census.strays) or time.monotonic() > deadline:
            return census
        time.sleep(0.2)


def _soak(service: Service, questions: Questions, trial: Trial) -> None:
    trial.tally.begin([workflow.name for workflow in STEADY], time.monotonic())
    with _disturbed(trial):
        asyncio.run(Load(service.inference, questions, trial.tally).run(trial.seconds))
    trial.tally.end()


def _collect(service: Service, trial: Trial) -> None:
    """Measure the runtime's memory before and after `gc.collect()`."""
    before_mb = take_sample(service).runtime_mb
    with contextlib.suppress(RuntimeUnavailable):
        trial.memory = RuntimeClient(service.run_folder / "runtime.sock").collect()
    trial.memory_mb = (before_mb, take_sample(service).runtime_mb)


@contextmanager
def _disturbed(trial: Trial) -> Iterator[None]:
    """Have all disturbances go on meanwhile."""
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=3) as threads:
        running = [
            threads.submit(part.run, trial.seconds, stop) for part in (trial.killer, trial.visitor, trial.sampler)
        ]
        try:
            yield
        finally:
            stop.set()
    for part in running:
        part.result()


def _stop(service: Service) -> int | None:
    """Stop the service as an operator would; return its exit code, None when it goes on."""
    assert service.process is not None
    service.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _STOP_S
    while service.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return service.process.returncode


def _look_for_leftovers(service: Service) -> dict[str, list[str]]:
    deadline = time.monotonic() + _END_S
    while pids_of(service.instance) and time.monotonic() < deadline:
        time.sleep(0.05)
    census = count_processes(service)
    return {
        "processes": [str(census)] * census.total,
        "parts of archives": sorted(kept_parts(service.archives)),
        "leases": [path.name for path in (service.run_folder / "leases").iterdir()],
        "errors in the log": _errors_in(service.text_of_log()),
    }


def _errors_in(log: str) -> list[str]:
    return [line for line in log.splitlines() if any(text in line for text in _UNFORESEEN)]
