"""Horizontal positions of points in layers.

The method is that of Brandes and Köpf (2001), with widths and the compaction by a graph of blocks that dagre has:
points that are aligned with a neighbour form a block, blocks are pushed together, and the middle of four such layouts
counts. As each of them keeps the order and the distances in a row, so does the middle.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise

from wfmgmt.domain.graphs.layers import Layers

#: Points from which on two layouts have to do.
_MANY = 4000


def positions(layers: Layers, widths: Sequence[float], gap: float) -> list[float]:
    """Return the middle of each point, the leftmost end of all at 0.

    Args:
        layers: The points.
        widths: Their widths.
        gap: Between two points of one layer.
    """
    bent = _giving_way(layers)
    layouts = []
    for upwards in (False, True) if len(widths) < _MANY else (False,):
        neighbours = layers.below if upwards else layers.above
        for mirrored in (False, True):
            rows = [row[::-1] if mirrored else row for row in layers.rows]
            blocks = _aligned(rows[::-1] if upwards else rows, neighbours, bent)
            places = _moved(_compacted(rows, blocks, widths, gap), widths)
            layouts.append((_width(places, widths), mirrored, places))
    narrowest = min(width for width, _, _ in layouts)
    laid_over = [[narrowest - place for place in places] if mirrored else places for _, mirrored, places in layouts]
    return _moved([_middle(each) for each in zip(*laid_over, strict=True)], widths)


def _giving_way(layers: Layers) -> frozenset[tuple[int, int]]:
    """Return the edges, as pairs of points, that cross a line between two bends, which is to stay straight."""
    bends = [point >= layers.count for point in range(len(layers.above))]
    crossing: set[tuple[int, int]] = set()
    for before, row in pairwise(layers.rows):
        position = {point: place for place, point in enumerate(before)}
        inner = [
            position[layers.above[point][0]] if bends[point] and bends[layers.above[point][0]] else -1 for point in row
        ]
        right = [len(before)] * (len(row) + 1)
        for place in range(len(row) - 1, -1, -1):
            right[place] = right[place + 1] if inner[place] < 0 else min(right[place + 1], inner[place])
        left = -1
        for place, point in enumerate(row):
            for source in layers.above[point]:
                if inner[place] < 0 and not left <= position[source] <= right[place + 1]:
                    crossing.add((source, point))
            left = max(left, inner[place])
    return frozenset(crossing)


def _aligned(
    rows: Sequence[Sequence[int]], neighbours: Sequence[Sequence[int]], bent: AbstractSet[tuple[int, int]]
) -> list[int]:
    """Return the first point of the block that each point belongs to."""
    root = list(range(len(neighbours)))
    is_taken = [False] * len(neighbours)
    for before, row in pairwise(rows):
        position = {point: place for place, point in enumerate(before)}
        last = -1
        for point in row:
            near = sorted(neighbours[point], key=position.__getitem__)
            for other in near[(len(near) - 1) // 2 : len(near) // 2 + 1]:
                is_free = not is_taken[other] and position[other] > last
                if is_free and (other, point) not in bent and (point, other) not in bent:
                    root[point] = root[other]
                    is_taken[other] = True
                    last = position[other]
                    break
    return root


def _compacted(rows: Sequence[Sequence[int]], root: Sequence[int], widths: Sequence[float], gap: float) -> list[float]:
    """Return the place of each point when all blocks are pushed to the left, and those with room to their right."""
    after: dict[int, dict[int, float]] = {block: {} for block in dict.fromkeys(root)}
    before_count = dict.fromkeys(after, 0)
    for row in rows:
        for left, right in pairwise(row):
            following = after[root[left]]
            distance = (widths[left] + widths[right]) / 2 + gap
            if root[right] not in following:
                before_count[root[right]] += 1
                following[root[right]] = distance
            elif distance > following[root[right]]:
                following[root[right]] = distance
    places = dict.fromkeys(after, 0.0)
    order = [block for block, count in before_count.items() if not count]
    for block in order:
        place = places[block]
        for right, distance in after[block].items():
            places[right] = max(places[right], place + distance)
            before_count[right] -= 1
            if not before_count[right]:
                order.append(right)
    for block in reversed(order):
        if after[block]:
            places[block] = min(places[right] - distance for right, distance in after[block].items())
    return [places[block] for block in root]


def _moved(places: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Return a layout moved so that its left end is at 0."""
    left = min(place - width / 2 for place, width in zip(places, widths, strict=True))
    return [place - left for place in places]


def _width(places: Sequence[float], widths: Sequence[float]) -> float:
    """Return where the right end of a layout is."""
    return max(place + width / 2 for place, width in zip(places, widths, strict=True))


def _middle(places: Sequence[float]) -> float:
    """Return the mean of the two middle places of a point."""
    ordered, middle = sorted(places), len(places) // 2
    return (ordered[middle - 1] + ordered[middle]) / 2
