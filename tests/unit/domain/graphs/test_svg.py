"""Graphs as SVG."""

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfmgmt.domain.graphs.graph import Graph
from wfmgmt.domain.graphs.svg import shortened_label, svg
from wfmgmt.domain.workflow import NodeKind
from wfmgmt.errors import BadRequest

NAMESPACE = {"svg": "http://www.w3.org/2000/svg"}
HOSTILE = ["<script>alert(1)</script>", "]]>", "a\"b'c&d", "\u202ertl\x00\x1b[31m", "تحليل المشاعر", "感情分析モデル"]


class Box(NamedTuple):
    """Where a node is."""

    left: int
    top: int
    right: int
    bottom: int


def _graph(names: Sequence[str], edges: Sequence[tuple[int, int]]) -> Graph:
    kinds = itertools.cycle(NodeKind)
    return Graph(
        title="seq 1.0",
        nodes=tuple(zip(names, kinds, strict=False)),
        edges=tuple((names[source], names[target]) for source, target in edges),
    )


def _drawn(graph: Graph) -> ET.Element:
    return ET.fromstring(svg(graph))  # noqa: S314 - drawn above, not received


def _boxes(drawing: ET.Element) -> dict[str, Box]:
    boxes = {}
    for node in drawing.iterfind(".//svg:g[@data-node]", NAMESPACE):
        middle, top = map(int, re.findall(r"-?\d+", node.attrib["transform"]))
        half = max(abs(int(each)) for each in re.findall(r"[ML]?(-?\d+)", _outline(node).split("a")[0]))
        boxes[node.attrib["data-node"]] = Box(middle - half, top, middle + half, top + 50)
    return boxes


def _outline(node: ET.Element) -> str:
    path = node.find("svg:path", NAMESPACE)
    assert path is not None
    return path.attrib["d"]


@st.composite
def _graphs(draw: st.DrawFn) -> Graph:
    """Graphs with one start node, whose edges lead to later nodes."""
    count = draw(st.integers(1, 25))
    tree = {(draw(st.integers(0, target - 1)), target) for target in range(1, count)}
    more = draw(st.sets(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=40))
    edges = sorted(tree | {(source, target) for source, target in more if source < target})
    return _graph([f"n{number}" * draw(st.integers(1, 12)) for number in range(count)], edges)


@given(_graphs())
def test_boxes_lie_apart_and_edges_lead_down(graph: Graph) -> None:
    """Every node and every edge is there, within the picture; an edge ends on top of its target."""
    drawing = _drawn(graph)
    boxes = _boxes(drawing)
    _, _, width, height = map(int, drawing.attrib["viewBox"].split())
    assert set(boxes) == {name for name, _ in graph.nodes}
    assert all(box.left >= 0 and box.top >= 0 and box.right <= width and box.bottom <= height for box in boxes.values())
    for one, other in itertools.combinations(boxes.values(), 2):
        assert one.right < other.left or other.right < one.left or one.bottom < other.top or other.bottom < one.top
    edges = drawing.findall(".//svg:path[@class='edge']", NAMESPACE)
    assert [(edge.attrib["data-from"], edge.attrib["data-to"]) for edge in edges] == list(graph.edges)
    for edge in edges:
        source, target = boxes[edge.attrib["data-from"]], boxes[edge.attrib["data-to"]]
        line = edge.attrib["d"].removesuffix("m-4-7 4 7 4-7")
        heights = [int(each.split()[-1].lstrip("MV")) for each in re.findall(r"[MVC][^MVC]+", line)]
        assert heights == sorted(heights)
        assert (heights[0], heights[-1]) == (source.bottom, target.top)


@given(_graphs())
def test_edges_pass_no_box(graph: Graph) -> None:
    """Where they pass a layer, they pass it beside its nodes."""
    drawing = _drawn(graph)
    boxes = _boxes(drawing)
    for edge in drawing.iterfind(".//svg:path[@class='edge']", NAMESPACE):
        x, y = 0, 0
        for command, numbers in re.findall(r"([MVC])([^MVCm]+)", edge.attrib["d"]):
            values = [int(each) for each in numbers.split()]
            if command == "V":
                passed = [box for box in boxes.values() if box.left <= x <= box.right]
                assert not any(y < box.bottom and values[0] > box.top for box in passed)
            else:
                x = values[-2]
            y = values[-1]


def test_layers_are_steps() -> None:
    """What can run at the same time is on one level, and a node is below all of its sources."""
    boxes = _boxes(_drawn(_graph("abcd", [(0, 1), (1, 2), (0, 3), (2, 3), (0, 2)])))
    assert boxes["a"].top < boxes["b"].top < boxes["c"].top < boxes["d"].top


def test_names_are_text_whatever_they_have() -> None:
    """Nothing of a name becomes markup, and nothing of it turns the text around."""
    graph = _graph(HOSTILE, [(0, number) for number in range(1, len(HOSTILE))])
    drawing = _drawn(graph)
    shown = [each.text for each in drawing.iterfind(".//svg:text[@class='name']", NAMESPACE)]
    assert shown == [*HOSTILE[:3], " rtl  [31m", *HOSTILE[4:]]
    kinds = {each.tag.rpartition("}")[2] for each in drawing.iter()}
    assert kinds == {"svg", "title", "desc", "style", "rect", "g", "path", "text"}
    attributes = {name for each in drawing.iter() for name in each.attrib}
    assert not any(name.startswith("on") or name.endswith("href") for name in attributes)
    assert "url(" not in svg(graph)


def test_long_name_is_shortened_and_whole_in_the_title() -> None:
    """Both of its ends are there, since names of one workflow often begin alike."""
    name = "a_very_long_name_" * 7 + "end"
    drawing = _drawn(_graph([name], []))
    shown = drawing.findtext(".//svg:text[@class='name']", namespaces=NAMESPACE)
    assert shown == "a_very_long_na…_long_name_end"
    assert drawing.findtext(".//svg:g[@data-node]/svg:title", namespaces=NAMESPACE) == f"{name} (model)"
    assert shortened_label("感" * 20) == "感感感感感感感…感感感感感感感"


def test_kind_is_a_word_and_a_shape() -> None:
    """Not a colour alone."""
    model, function = _drawn(_graph("ab", [(0, 1)])).findall(".//svg:g[@data-node]", NAMESPACE)
    assert [each.findtext("svg:text[@class='kind']", namespaces=NAMESPACE) for each in (model, function)] == [
        "model",
        "function",
    ]
    assert "L" in _outline(model)
    assert "a" in _outline(function)


def test_description_says_the_graph_in_words() -> None:
    """For those who do not see it."""
    drawing = _drawn(_graph("abcd", [(0, 1), (0, 2), (1, 3), (2, 3)]))
    assert drawing.findtext("svg:title", namespaces=NAMESPACE) == "seq 1.0"
    assert drawing.findtext("svg:desc", namespaces=NAMESPACE) == (
        "4 nodes and 4 edges in 3 steps. Requests start at the model a. a leads to the function b and the model c. "
        "b leads to the function d. c leads to the function d. What the workflow answers is that of d."
    )


def test_description_of_a_large_graph_is_bounded() -> None:
    """It names the first nodes only."""
    words = _graph([f"n{number}" for number in range(200)], [(n, n + 1) for n in range(199)]).words
    assert words.count("leads to") == 50
    assert "149 more nodes lead to others." in words
    wide = _graph([f"n{number}" for number in range(200)], [(0, n) for n in range(1, 200)]).words
    assert "the function n9, the model n10 and 189 more." in wide


def test_tree_has_no_crossings() -> None:
    """Levels keep the order of a walk through the tree."""
    boxes = _boxes(_drawn(_graph("abcdefg", [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6)])))
    assert [*sorted("bc", key=lambda name: boxes[name].left), *sorted("defg", key=lambda name: boxes[name].left)] == [
        *"bcdefg"
    ]


def test_graph_with_too_many_bends_is_refused() -> None:
    """Before it takes minutes."""
    names = [f"n{number}" for number in range(300)]
    with pytest.raises(BadRequest, match="too large to be drawn; format=text"):
        svg(_graph(names, list(itertools.combinations(range(300), 2))))
