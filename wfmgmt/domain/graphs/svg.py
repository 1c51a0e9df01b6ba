"""A graph as SVG: a picture that is safe to open, readable as text, and fit for light and dark screens.

Names come from users: they are escaped, and only ever text or values of attributes. There is no script, and nothing is
fetched. Each node is a group with `data-node` and `data-kind`, for pages that add links and states.
"""

import unicodedata
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from wfmgmt.domain.graphs.coordinates import positions
from wfmgmt.domain.graphs.graph import Graph
from wfmgmt.domain.graphs.layers import Layers, layers_of
from wfmgmt.domain.names import printable
from wfmgmt.domain.workflow import NodeKind

_MARGIN, _GAP, _NODE_HEIGHT, _SIDE, _MIN_WIDTH = 24, 28, 50, 22, 104
#: Between layers: more where edges go far to the side, so that they stay apart.
_MIN_RISE, _MAX_RISE, _SLOPE = 44, 160, 8
#: Columns of a name, and what one takes in a font of fixed width at 13 pixels.
_MAX_COLUMNS, _COLUMN = 30, 7.9
#: The end of an edge: a straight piece with two barbs, so that arrows stay visible where many edges meet.
_STRAIGHT, _ARROW = 9, "m-4-7 4 7 4-7"
_STYLE = """\
svg{color-scheme:light dark}
.background{fill:#fff}
.edge{fill:none;stroke:#64748b;stroke-width:1.5;stroke-linecap:round;stroke-linejoin:round}
.node text{text-anchor:middle;fill:#0f172a;stroke:none;unicode-bidi:plaintext}
.node .name{font:600 13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.node .kind{font:11px system-ui,sans-serif;fill:#475569}
.function path{fill:#f1f5f9;stroke:#64748b;stroke-width:1.5}
.model path{fill:#e0e7ff;stroke:#4f46e5;stroke-width:1.5}
@media (prefers-color-scheme:dark){
.background{fill:#0f172a}
.edge{stroke:#94a3b8}
.node text{fill:#f8fafc}
.node .kind{fill:#cbd5e1}
.function path{fill:#1e293b;stroke:#94a3b8}
.model path{fill:#312e81;stroke:#a5b4fc}
}"""


class _Place(NamedTuple):
    """What a node shows, and where."""

    label: str
    width: int
    middle: int
    top: int


def svg(graph: Graph) -> str:
    """Draw a graph.

    Raises:
        BadRequest: It is too large.
    """
    layers = layers_of(graph)
    labels = [shortened_label(name) for name, _ in graph.nodes]
    widths = [max(_MIN_WIDTH, round(_columns(label) * _COLUMN) + 2 * _SIDE) for label in labels]
    widths += [0] * (len(layers.above) - layers.count)
    middles = [round(place) + _MARGIN for place in positions(layers, widths, _GAP)]
    tops = _tops(layers, middles)
    width = max(map(_right_end, middles, widths)) + _MARGIN
    height = tops[-1] + _NODE_HEIGHT + _MARGIN
    size = f'width="{width}" height="{height}"'
    layer_of = {point: layer for layer, row in enumerate(layers.rows) for point in row}
    edges = [
        f'<path class="edge" data-from="{_text(source)}" data-to="{_text(target)}" '
        f'd="{_line(path, [tops[layer_of[point]] for point in path], middles)}"/>'
        for (source, target), path in zip(graph.edges, layers.paths, strict=True)
    ]
    nodes = [
        _node(graph, number, _Place(labels[number], widths[number], middles[number], tops[layer_of[number]]))
        for number in range(layers.count)
    ]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="workflow-graph" viewBox="0 0 {width} {height}" {size}>',
        f"<title>{_text(graph.title)}</title>",
        f"<desc>{_text(graph.words)}</desc>",
        f"<style>\n{_STYLE}\n</style>",
        f'<rect class="background" {size} fill="#fff"/>',
        '<g class="edges" fill="none" stroke="#64748b">',
        *edges,
        "</g>",
        '<g class="nodes" fill="#fff" stroke="#64748b" text-anchor="middle">',
        *nodes,
        "</g>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def shortened_label(name: str) -> str:
    """Return a name as a node shows it: printable, and without its middle when it is long."""
    shown = printable(name)
    if _columns(shown) <= _MAX_COLUMNS:
        return shown
    half = (_MAX_COLUMNS - 1) // 2
    head, tail = _beginning(shown, half), _beginning(shown[::-1], half)[::-1]
    return f"{head.rstrip()}…{tail.lstrip()}"


def _beginning(text: str, columns: int) -> str:
    """Return as much of a text as fits into some columns."""
    while _columns(text) > columns:
        text = text[: min(len(text) - 1, columns)]
    return text


def _columns(text: str) -> int:
    """Return how wide a text is in a font of fixed width, at most."""
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def _text(text: str) -> str:
    """Return a text as XML has it between tags and in the value of an attribute."""
    return escape(printable(text))


def _right_end(middle: int, width: int) -> int:
    return middle + (width + 1) // 2


def _tops(layers: Layers, middles: Sequence[int]) -> list[int]:
    """Return where each layer begins."""
    tops = [_MARGIN]
    for row in layers.rows[:-1]:
        widest = max(abs(middles[point] - middles[target]) for point in row for target in layers.below[point])
        rise = min(_MAX_RISE, max(_MIN_RISE, widest // _SLOPE))
        tops.append(tops[-1] + _NODE_HEIGHT + rise)
    return tops


def _line(path: Sequence[int], tops: Sequence[int], middles: Sequence[int]) -> str:
    """Return the data of an edge: curves between layers, straight lines through them, an arrow at the end."""
    x, y = middles[path[0]], tops[0] + _NODE_HEIGHT
    parts = [f"M{x} {y}"]
    for place, (point, top) in enumerate(zip(path[1:], tops[1:], strict=True), start=1):
        if middles[point] == x:
            if parts[-1].startswith("V"):
                parts.pop()
            parts.append(f"V{top}")
        else:
            if y != tops[0] + _NODE_HEIGHT:
                parts.append(f"V{y}")
            end = top - _STRAIGHT if place == len(path) - 1 else top
            half = (y + end) // 2
            parts.append(f"C{x} {half} {middles[point]} {half} {middles[point]} {end}")
            if end != top:
                parts.append(f"V{top}")
        x, y = middles[point], top + _NODE_HEIGHT
    return "".join(parts) + _ARROW


def _node(graph: Graph, number: int, place: _Place) -> str:
    """Return the group of a node: its shape, its name and its kind."""
    name, kind = graph.nodes[number]
    return (
        f'<g class="node {kind}" id="node-{number}" data-node="{_text(name)}" data-kind="{kind}" '
        f'transform="translate({place.middle} {place.top})"><title>{_text(name)} ({kind})</title>'
        f'<path d="{_shape(kind, place.width // 2)}"/><text class="name" y="22">{_text(place.label)}</text>'
        f'<text class="kind" y="38">{kind}</text></g>'
    )


def _shape(kind: NodeKind, half: int) -> str:
    """Return the outline of a node around the middle of its upper side: round for functions, pointed for models."""
    if kind is NodeKind.MODEL:
        inner, middle = half - 12, _NODE_HEIGHT // 2
        return f"M-{inner} 0H{inner}L{half} {middle} {inner} {_NODE_HEIGHT}H-{inner}L-{half} {middle}Z"
    inner, side = half - 10, _NODE_HEIGHT - 20
    left, right = f"a10 10 0 0 1-10-10v-{side}a10 10 0 0 1 10-10", f"a10 10 0 0 1 10 10v{side}a10 10 0 0 1-10 10"
    return f"M-{inner} 0H{inner}{right}H-{inner}{left}Z"
