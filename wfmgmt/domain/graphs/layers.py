"""Points in layers: nodes and bends of long edges, ordered so that few edges cross.

The method is Sugiyama's. An edge that passes layers bends in each of them, and all long edges of one node share their
bends as far as they go: the picture has one line out of a node that branches, and large graphs stay small.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from wfmgmt.domain.graphs.graph import Graph
from wfmgmt.errors import BadRequest

#: Points that a drawing may have; one of this size takes a second.
MAX_POINTS = 20_000
#: Sweeps through the layers, and how many points they may visit together.
_MAX_SWEEPS, _MAX_VISITS = 24, 60_000
#: Sweeps without fewer crossings after which to stop.
_PATIENCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Points by number, nodes first in the order of the graph, then bends.

    Attributes:
        count: How many of the points are nodes.
        rows: The points of each layer, from left to right.
        above: Each point to those that lead to it, which lie one layer higher.
        below: Each point to those that it leads to.
        paths: The points of each edge of the graph, both nodes included.
    """

    count: int
    rows: list[list[int]]
    above: list[list[int]]
    below: list[list[int]]
    paths: list[list[int]]


def layers_of(graph: Graph) -> Layers:
    """Put a graph into layers.

    Raises:
        BadRequest: It has too many edges over too many layers.
    """
    numbers = {name: number for number, (name, _) in enumerate(graph.nodes)}
    rows = [[numbers[name] for name in layer] for layer in graph.layers]
    layer_of = {number: layer for layer, row in enumerate(rows) for number in row}
    above: list[list[int]] = [[] for _ in numbers]
    below: list[list[int]] = [[] for _ in numbers]
    bends: dict[int, list[int]] = {}
    paths = []
    for source, target in ((numbers[source], numbers[target]) for source, target in graph.edges):
        line = bends.setdefault(source, [source])
        length = layer_of[target] - layer_of[source]
        while len(line) < length:
            if len(above) >= MAX_POINTS:
                raise BadRequest("The graph is too large to be drawn; format=text, dot or mermaid has all of it.")
            bend = len(above)
            rows[layer_of[source] + len(line)].append(bend)
            above.append([line[-1]])
            below.append([])
            below[line[-1]].append(bend)
            line.append(bend)
        below[line[length - 1]].append(target)
        above[target].append(line[length - 1])
        paths.append([*line[:length], target])
    layers = Layers(count=len(numbers), rows=rows, above=above, below=below, paths=paths)
    _order(layers)
    return layers


def _order(layers: Layers) -> None:
    """Order the points of each layer so that few edges cross: sweeps down and up, the best order found stays."""
    rows = _first_order(layers)
    best, fewest = [list(row) for row in rows], _crossings(rows, layers.below)
    fruitless = 0
    for sweep in range(max(2, min(_MAX_SWEEPS, _MAX_VISITS // len(layers.above)))):
        if not fewest or fruitless == _PATIENCE:
            break
        if sweep % 2:
            _sweep(rows[::-1], layers.below)
        else:
            _sweep(rows, layers.above)
        fruitless += 1
        if (crossings := _crossings(rows, layers.below)) < fewest:
            best, fewest, fruitless = [list(row) for row in rows], crossings, 0
    layers.rows[:] = best


def _first_order(layers: Layers) -> list[list[int]]:
    """Return the points as a walk into the depth meets them, so that no edges of a tree cross."""
    seen = [False] * len(layers.above)
    met = []
    stack = [0]
    while stack:
        point = stack.pop()
        if not seen[point]:
            seen[point] = True
            met.append(point)
            stack += reversed(layers.below[point])
    rank = {point: position for position, point in enumerate(met)}
    return [sorted(row, key=rank.__getitem__) for row in layers.rows]


def _sweep(rows: Sequence[list[int]], neighbours: Sequence[Sequence[int]]) -> None:
    """Order each row by where the neighbours of its points are in the row before; without any, a point stays."""
    for before, row in pairwise(rows):
        position = {point: place for place, point in enumerate(before)}
        scale = len(before) / len(row)
        centre = {}
        for place, point in enumerate(row):
            near = neighbours[point]
            centre[point] = sum(map(position.__getitem__, near)) / len(near) if near else place * scale
        row.sort(key=centre.__getitem__)


def _crossings(rows: Sequence[Sequence[int]], below: Sequence[Sequence[int]]) -> int:
    """Return how many pairs of edges cross."""
    crossings = 0
    for row, after in pairwise(rows):
        position = {point: place for place, point in enumerate(after)}
        ends: list[int] = []
        for point in row:
            places = [position[target] for target in below[point]]
            if ends and places:
                crossings += sum(len(ends) - bisect_left(ends, place + 1) for place in places)
            for place in places:
                insort(ends, place)
    return crossings
