"""One workflow in every server at once, under load in turns."""

import csv
import json
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.processes import memory_mb
from benchmarks.torchserve.contest import Server, alternate, register, unregister, wait_for_answer
from benchmarks.wrk import Round, run_wrk
from examples.real.build import HERE

CLIENTS = 16
_WARM_UP_S, _TIMEOUT_S = 2, 60
#: The same sums in another order, and a probability with three digits.
_TOLERANCE = 1e-3


class AnswersDiffer(Exception):
    """The servers do not answer the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one server did with a number of workers and a batch size.

    Attributes:
        requests_per_s: Median of the rounds.
        p99_ms: Median of the rounds.
        failed: Requests of all rounds that were not answered well.
        workers_mb: PSS of the workers after the load.
        server_mb: PSS of everything else.
    """

    requests_per_s: float
    p99_ms: float
    failed: int
    workers_mb: float
    server_mb: float


def write_script(folder: Path) -> Path:
    """Write what wrk sends: the tickets of the example, one after the other."""
    with (HERE / "tickets.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    script = folder / "tickets.lua"
    # The texts are plain ASCII, of which Lua and JSON write the same literals.
    script.write_text(
        f"local texts = {{{', '.join(map(json.dumps, texts))}}}\n"
        "local number = 0\n"
        "request = function()\n"
        "  number = number % #texts + 1\n"
        '  return wrk.format("POST", nil, {["Content-Type"] = "application/octet-stream"}, texts[number])\n'
        "end\n",
        encoding="utf-8",
    )
    return script


def measure(
    servers: Mapping[str, Server], workflow: str, script: Path, *, rounds: int, seconds: int
) -> dict[str, Measured]:
    """Register a workflow everywhere, load each server in turn, and unregister it.

    Raises:
        AnswersDiffer: The servers do not embed a text alike.
    """
    print(f"  {workflow}", file=sys.stderr)
    for server in servers.values():
        register(server, workflow)
    _compare(servers, workflow)

    def load(server: Server, seconds: int) -> Round:
        url = f"{server.inference}/wfpredict/{workflow}"
        return run_wrk(url, seconds=seconds, connections=CLIENTS, script=script, timeout_s=_TIMEOUT_S)

    alternate(servers, 1, lambda server: load(server, _WARM_UP_S))
    measured = alternate(servers, rounds, lambda server: load(server, seconds))
    results = {name: _measured(server, measured[name]) for name, server in servers.items()}
    for name, result in results.items():
        print(f"    {name}: {result}", file=sys.stderr)
    for server in servers.values():
        unregister(server, workflow)
    return results


def _compare(servers: Mapping[str, Server], workflow: str) -> None:
    text = b"Where is my parcel?"
    first, *others = (_numbers(wait_for_answer(each, workflow, text)) for each in servers.values())
    if not all(np.allclose(first, other, atol=_TOLERANCE) for other in others):
        raise AnswersDiffer(f"{workflow}: {first}, {others}")


def _numbers(answer: bytes) -> np.typing.NDArray[np.float32]:
    """Return a vector as it is, and of the answer of the whole example the probability."""
    if answer.startswith(b"{"):
        return np.array(json.loads(answer)["probability"], dtype=np.float32)
    return np.frombuffer(answer, dtype=np.float32)


def _measured(server: Server, rounds: list[Round]) -> Measured:
    return Measured(
        requests_per_s=statistics.median(each.requests_per_s for each in rounds),
        p99_ms=statistics.median(each.p99_ms for each in rounds),
        failed=sum(each.failed + each.socket_errors for each in rounds),
        workers_mb=memory_mb(server.model_pids(), "Pss"),
        server_mb=memory_mb(server.own_pids(), "Pss"),
    )
