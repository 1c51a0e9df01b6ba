"""What it takes to draw graphs of 1,000 nodes."""

import random
import statistics
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.figures import Figure
from wfmgmt.domain.graphs.graph import Graph
from wfmgmt.domain.graphs.svg import svg
from wfmgmt.domain.workflow import NodeKind

NODES = 1000
_ROUNDS = 5


def drawing(_: Path) -> list[Figure]:
    """Draw graphs of several shapes as SVG."""
    return [
        Figure(what=f"draw {what}, median of {_ROUNDS}", value=_median_ms(edges), unit="ms", at_most=500)
        for what, edges in _shapes().items()
    ]


def _shapes() -> Mapping[str, Iterable[tuple[int, int]]]:
    middle = range(1, NODES - 1)
    return {
        "a chain of 1,000 nodes": [(number, number + 1) for number in range(NODES - 1)],
        "a fan of 1,000 nodes": [*((0, each) for each in middle), *((each, NODES - 1) for each in middle)],
        "1,000 nodes with 2,000 random edges": _random_edges(2000),
        "1,000 nodes with 5,000 random edges": _random_edges(5000),
    }


def _random_edges(count: int) -> list[tuple[int, int]]:
    choice = random.Random(1)
    edges = {(choice.randrange(target), target) for target in range(1, NODES)}
    while len(edges) < count:
        source, target = sorted(choice.sample(range(NODES), 2))
        edges.add((source, target))
    return sorted(edges)


def _median_ms(edges: Iterable[tuple[int, int]]) -> float:
    graph = Graph(
        title="large 1.0",
        nodes=tuple((f"node_{number}", NodeKind.MODEL) for number in range(NODES)),
        edges=tuple((f"node_{source}", f"node_{target}") for source, target in edges),
    )
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        svg(graph)
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)
