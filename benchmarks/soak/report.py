"""What a trial says: the figures, and what does not hold."""

from collections import Counter
from collections.abc import Callable, Sequence

from benchmarks.figures import Figure
from benchmarks.soak.processes import Sample, begin_and_end
from benchmarks.soak.trial import MIN_WORKERS, WEB_THREADS, WEB_WORKERS, Trial
from benchmarks.soak.workflows import STEADY

_GROWTH_MB = 10
#: What the runtime may grow by between the second and the last tenth of its last life.
_GROWTH_SHARE = 0.05
#: Connections of the threads that had not called the runtime before the load, and a few more.
_MORE_DESCRIPTORS = WEB_WORKERS * WEB_THREADS + 5
_MAX_SILENCE_S = 60


def figures_of(trial: Trial) -> list[Figure]:
    """Return what was measured, with what has to hold."""
    return [*_answers(trial), *_speed(trial), *_disturbances(trial), *_growth(trial), *_end(trial)]


def problems_of(trial: Trial) -> list[str]:
    """Return in words what must not be."""
    problems = [*trial.tally.details, *trial.afterwards.details]
    problems += [f"no answer of its own afterwards: {question.workflow.name}" for question in trial.unanswered]
    if trial.census is not None:
        problems += [f"stray process: {stray}" for stray in trial.census.strays]
    return problems + [f"left, {kind}: {each}" for kind, found in trial.leftovers.items() for each in found]


def _counted(what: str, counts: Counter[str], unit: str) -> list[Figure]:
    return [Figure(what=f"{what}, {kind}", value=count, unit=unit) for kind, count in sorted(counts.items())]


def _answers(trial: Trial) -> list[Figure]:
    tally = trial.tally
    name, silence_s = max(tally.silences_s.items(), key=lambda silence: silence[1])
    return [
        Figure(what="requests", value=tally.requests, unit="requests"),
        Figure(what="own answers", value=tally.own.total(), unit="answers", at_least=1),
        *_counted("clean errors", tally.clean, "answers"),
        *_counted("clean errors that nobody asked for", tally.spoilt, "answers"),
        Figure(what="wrong answers", value=tally.wrong + trial.afterwards.wrong, unit="answers", at_most=0),
        Figure(
            what=f"longest time without an own answer of a workflow, {name}",
            value=silence_s,
            unit="s",
            at_most=_MAX_SILENCE_S,
        ),
    ]


def _speed(trial: Trial) -> list[Figure]:
    latencies_ms = sorted(1000 * latency_s for latency_s in trial.tally.latencies_s) or [0.0]
    return [
        Figure(what="requests per second", value=trial.tally.requests / trial.seconds, unit="requests/s"),
        Figure(what="own answers, p50", value=latencies_ms[len(latencies_ms) // 2], unit="ms"),
        Figure(what="own answers, p99", value=latencies_ms[len(latencies_ms) * 99 // 100], unit="ms"),
    ]


def _disturbances(trial: Trial) -> list[Figure]:
    return [
        *_counted("kills", trial.killer.kills, "processes"),
        *_counted("answers of management", trial.visitor.answers, "answers"),
    ]


def _growth(trial: Trial) -> list[Figure]:
    samples = trial.sampler.last_life()
    forkserver = [sample for sample in samples if sample.forkserver == samples[-1].forkserver]
    watched: list[tuple[str, Sequence[Sample], Callable[[Sample], float]]] = [
        ("the runtime", samples, lambda sample: sample.runtime_mb),
        ("the forkserver", forkserver, lambda sample: sample.forkserver_mb),
        ("a worker on average", samples, lambda sample: sample.worker_mb),
    ]
    figures = []
    for who, lived, measure in watched:
        begin_mb, end_mb = begin_and_end([measure(sample) for sample in lived])
        at_most_mb = begin_mb * (1 + _GROWTH_SHARE) if who == "the runtime" else begin_mb + _GROWTH_MB
        what = f"memory of {who} in its last life of {len(lived)} samples, PSS"
        figures += [
            Figure(what=f"{what}, second tenth", value=begin_mb, unit="MB"),
            Figure(what=f"{what}, last tenth", value=end_mb, unit="MB", at_most=at_most_mb),
        ]
    all_samples = trial.sampler.samples
    return [
        *figures,
        *_unreachable(trial, figures[0].value * (1 + _GROWTH_SHARE)),
        Figure(
            what="descriptors of the runtime, most", value=max(each.descriptors for each in all_samples), unit="open"
        ),
        Figure(what="processes, most", value=max(each.processes for each in all_samples), unit="running"),
    ]


def _unreachable(trial: Trial, at_most_mb: float) -> list[Figure]:
    """Return the runtime's memory at the end of the load, with and without unreachable objects."""
    before_mb, after_mb = trial.memory_mb
    figures = [
        Figure(what="memory of the runtime at the end, PSS, before gc.collect()", value=before_mb, unit="MB"),
        Figure(what="the same after gc.collect()", value=after_mb, unit="MB", at_most=at_most_mb),
    ]
    if trial.memory is None:
        return figures
    return [
        *figures,
        Figure(what="unreachable objects that it found", value=trial.memory.unreachable, unit="objects"),
        Figure(what="allocated bytes in use then", value=trial.memory.used_bytes / 1_000_000, unit="MB"),
        Figure(what="bytes that the allocator keeps", value=trial.memory.free_bytes / 1_000_000, unit="MB"),
    ]


def _end(trial: Trial) -> list[Figure]:
    before, after = trial.descriptors
    workers = len(trial.census.workers) if trial.census is not None else 0
    strays = len(trial.census.strays) if trial.census is not None else 0
    figures = [
        Figure(what="descriptors of the runtime before the load", value=before, unit="open"),
        Figure(
            what="descriptors of the runtime after it", value=after, unit="open", at_most=before + _MORE_DESCRIPTORS
        ),
        Figure(what="workers after it", value=workers, unit="running", at_most=MIN_WORKERS, at_least=MIN_WORKERS),
        Figure(what="stray processes after it", value=strays, unit="running", at_most=0),
        Figure(
            what="workflows without an own answer, idle",
            value=len(trial.unanswered),
            unit=f"of {len(STEADY)}",
            at_most=0,
        ),
        Figure(
            what="exit code", value=-1 if trial.exit_code is None else trial.exit_code, unit="", at_most=0, at_least=0
        ),
    ]
    kinds = trial.leftovers.items()
    return figures + [
        Figure(what=f"{kind} at the end", value=len(found), unit="left", at_most=0) for kind, found in kinds
    ]
