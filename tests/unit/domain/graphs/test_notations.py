"""Graphs for terminals, Graphviz and Mermaid."""

from wfmgmt.domain.graphs import notations
from wfmgmt.domain.graphs.drawings import Drawings, GraphFormat
from wfmgmt.domain.graphs.graph import Graph
from wfmgmt.domain.workflow import NodeKind

GRAPH = Graph(
    title="parallel 1.0",
    nodes=(
        ("split", NodeKind.FUNCTION),
        ("m 1", NodeKind.MODEL),
        ("m2", NodeKind.MODEL),
        ("join", NodeKind.FUNCTION),
    ),
    edges=(("split", "m 1"), ("split", "m2"), ("split", "join"), ("m 1", "join"), ("m2", "join")),
)
HOSTILE = Graph(title='a"b\\', nodes=(('<b>]]>"\\N&#;`\x1b', NodeKind.MODEL),), edges=())


def test_text_has_steps_from_top_to_bottom() -> None:
    """With where each answer goes."""
    assert notations.text(GRAPH) == (
        "parallel 1.0: 4 nodes and 5 edges in 3 steps\n"
        "\n"
        "1  split  function  → m 1, m2, join\n"
        "│\n"
        "2  m 1    model     → join\n"
        "│  m2     model     → join\n"
        "│\n"
        "3  join   function\n"
    )


def test_text_with_many_targets_stays_narrow() -> None:
    """They go on below the first ones."""
    names = [f"model_{number}" for number in range(40)]
    nodes = tuple((name, NodeKind.MODEL) for name in ("start", *names))
    lines = notations.text(
        Graph(title="wide 1.0", nodes=nodes, edges=tuple(("start", name) for name in names))
    ).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[3].index("model_8") == lines[2].index("model_0")


def test_dot_quotes_names() -> None:
    """Labels have escape sequences and entities besides."""
    assert notations.dot(HOSTILE) == (
        'digraph "a\\"b\\\\" {\n  "<b>]]>\\"\\\\N&#;` " [label="<b>]]>\\"\\\\N&amp;#;` \\nmodel", shape=hexagon];\n}\n'
    )
    assert '  "split" [label="split\\nfunction", shape=box, style="rounded"];\n' in notations.dot(GRAPH)
    assert '  "split" -> "m 1";\n' in notations.dot(GRAPH)


def test_mermaid_has_names_as_labels_only() -> None:
    """Characters that may mean something there are numbers."""
    assert notations.mermaid(HOSTILE) == (
        '---\ntitle: "a\\"b\\\\"\n---\nflowchart TB\n'
        '  n0{{"#60;b#62;#93;#93;#62;#34;#92;N#38;#35;#59;#96; <br>model"}}\n'
    )
    assert '  n0("split<br>function")\n' in notations.mermaid(GRAPH)
    assert "  n0 --> n1\n" in notations.mermaid(GRAPH)


def test_drawings_are_remembered_within_bounds() -> None:
    """Equal graphs have the same drawing, until others have taken its place."""
    drawings = Drawings(max_bytes=600)
    first = drawings.draw(GRAPH, GraphFormat.TEXT)
    assert drawings.draw(GRAPH, GraphFormat.TEXT) is first
    assert drawings.draw(GRAPH, GraphFormat.DOT).digest != first.digest
    assert drawings.draw(GRAPH, GraphFormat.MERMAID).body
    assert drawings.draw(GRAPH, GraphFormat.TEXT) is not first
    large = drawings.draw(GRAPH, GraphFormat.SVG)
    assert drawings.draw(GRAPH, GraphFormat.SVG) == large
