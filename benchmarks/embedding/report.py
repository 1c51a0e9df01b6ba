"""What was measured, as tables."""

from collections.abc import Iterable, Mapping

from benchmarks.embedding.measuring import Measured
from benchmarks.embedding.servers import WFMGMT
from benchmarks.figures import Figure, shown

ByServer = Mapping[str, Measured]
#: By number of workers and size of batches.
Results = Mapping[tuple[int, int], ByServer]
_TIMES_BETTER = 1.3


def table(results: Results, example: ByServer) -> str:
    """Return a Markdown table: a row for each setting, for the best of each server, and for the whole example."""
    rows = {f"{workers}, {size}": by_name for (workers, size), by_name in results.items()}
    rows["the best of each"] = best = _best(results.values())
    if example:
        rows["the whole example"] = example
    names = list(best)
    lines = [f"| workers, batch size | {' | '.join(names)} | ratio |", f"|---|{'---:|' * (len(names) + 1)}"]
    for what, by_name in rows.items():
        cells = " | ".join(_cell(measured) for measured in by_name.values())
        lines.append(f"| {what} | {cells} | {shown(_times(by_name))}x |")
    return "\n".join(lines)


#: Numbers of workers that are compared with each other.
_PAIR = (2, 1)


def figures(results: Results) -> list[Figure]:
    """Return what has a target, and the memory of the setting with the fewest and the most workers."""
    found = []
    best = _best(results.values())
    if len(best) > 1 and WFMGMT in best:
        what = "requests/s, the best setting of wfmgmt to the best of TorchServe"
        found.append(Figure(what=what, value=_times(best), unit="times", at_least=_TIMES_BETTER))
    for workers, size in results:
        if (workers, 1) == _PAIR and (1, size) in results and WFMGMT in best:
            two, one = (results[number, size][WFMGMT].requests_per_s for number in _PAIR)
            what = f"requests/s of wfmgmt, two workers to one, batch size {size}"
            found.append(Figure(what=what, value=two / one, unit="times", at_least=1))
    for workers, size in (min(results), max(results)):
        for name, measured in results[workers, size].items():
            what = f"memory of {name}, {workers} workers, PSS"
            found.append(Figure(what=f"{what}, each worker", value=measured.workers_mb / workers, unit="MB"))
            found.append(Figure(what=f"{what}, everything", value=measured.workers_mb + measured.server_mb, unit="MB"))
    return found


def _best(rows: Iterable[ByServer]) -> dict[str, Measured]:
    best: dict[str, Measured] = {}
    for by_name in rows:
        for name, measured in by_name.items():
            best[name] = max(best.get(name, measured), measured, key=lambda each: each.requests_per_s)
    return best


def _cell(measured: Measured) -> str:
    cell = f"{shown(measured.requests_per_s)}/s, p99 {shown(measured.p99_ms)} ms"
    return f"{cell}, {measured.failed} FAILED" if measured.failed else cell


def _times(by_name: ByServer) -> float:
    """Return how many times the rate of the better TorchServe wfmgmt has; 0 if one of the two was not measured."""
    theirs = [measured.requests_per_s for name, measured in by_name.items() if name != WFMGMT]
    return by_name[WFMGMT].requests_per_s / max(theirs) if theirs and WFMGMT in by_name else 0.0
