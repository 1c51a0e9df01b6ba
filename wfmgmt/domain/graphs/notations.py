"""A graph as text: for terminals, for Graphviz and for Mermaid."""

import json
import re
from collections.abc import Sequence

from wfmgmt.domain.graphs.graph import Graph
from wfmgmt.domain.names import printable
from wfmgmt.domain.workflow import NodeKind

_WIDTH = 100
_GAP = "  "
_MERMAID_SHAPES = {NodeKind.FUNCTION: ("(", ")"), NodeKind.MODEL: ("{{", "}}")}
_DOT_SHAPES = {NodeKind.FUNCTION: 'shape=box, style="rounded"', NodeKind.MODEL: "shape=hexagon"}


def text(graph: Graph) -> str:
    """Return a graph for a terminal: a block for each step, from top to bottom, with where each node's answer goes."""
    kinds, targets = dict(graph.nodes), graph.targets
    steps = graph.layers
    step_width, name_width = len(str(len(steps))), max(len(printable(name)) for name in kinds)
    kind_width = max(map(len, kinds.values()))
    lines = [f"{printable(graph.title)}: {graph.size}", ""]
    for number, step in enumerate(steps, start=1):
        if number > 1:
            lines.append(f"{'│':>{step_width}}")
        for place, name in enumerate(step):
            about = f"{number if not place else '│':>{step_width}}{_GAP}{printable(name):<{name_width}}"
            about += f"{_GAP}{kinds[name]:<{kind_width}}"
            margin = f"{'│':>{step_width}}".ljust(len(about))
            lines += _with_targets(about, margin, targets[name])
    return "\n".join(lines) + "\n"


def _with_targets(about: str, margin: str, targets: Sequence[str]) -> list[str]:
    """Return a line about a node and what follows it, on further lines when there is much."""
    if not targets:
        return [about.rstrip()]
    lines = [f"{about}{_GAP}→"]
    for place, name in enumerate(targets):
        shown = f" {printable(name)}{',' if place < len(targets) - 1 else ''}"
        if place and len(lines[-1]) + len(shown) > _WIDTH:
            lines.append(f"{margin}{_GAP} ")
        lines[-1] += shown
    return lines


def dot(graph: Graph) -> str:
    """Return a graph in the language of Graphviz."""
    nodes = [
        f'  {_dot_quoted(name)} [label="{_dot_label(name)}\\n{kind}", {_DOT_SHAPES[kind]}];'
        for name, kind in graph.nodes
    ]
    edges = [f"  {_dot_quoted(source)} -> {_dot_quoted(target)};" for source, target in graph.edges]
    return "\n".join([f"digraph {_dot_quoted(graph.title)} {{", *nodes, *edges, "}"]) + "\n"


def _dot_quoted(name: str) -> str:
    return '"' + printable(name).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _dot_label(name: str) -> str:
    """Return a name within a label, where Graphviz knows escape sequences and entities."""
    return _dot_quoted(name)[1:-1].replace("&", "&amp;")


def mermaid(graph: Graph) -> str:
    """Return a graph as a flowchart of Mermaid."""
    numbers = {name: number for number, (name, _) in enumerate(graph.nodes)}
    nodes = []
    for name, kind in graph.nodes:
        left, right = _MERMAID_SHAPES[kind]
        nodes.append(f'  n{numbers[name]}{left}"{_mermaid_label(name)}<br>{kind}"{right}')
    edges = [f"  n{numbers[source]} --> n{numbers[target]}" for source, target in graph.edges]
    title = json.dumps(printable(graph.title), ensure_ascii=False)
    return "\n".join(["---", f"title: {title}", "---", "flowchart TB", *nodes, *edges]) + "\n"


def _mermaid_label(name: str) -> str:
    """Return a name within a quoted label: what is neither letter nor digit can mean something there."""
    return re.sub(r"[^\w .,:/-]", lambda found: f"#{ord(found[0])};", printable(name))
