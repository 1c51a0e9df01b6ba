"""Drawings of graphs in all formats, of which the last are remembered."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

from wfmgmt.domain.graphs import notations
from wfmgmt.domain.graphs.graph import Graph
from wfmgmt.domain.graphs.svg import svg


class GraphFormat(StrEnum):
    """What a graph can be drawn as."""

    SVG = "svg"
    DOT = "dot"
    MERMAID = "mermaid"
    TEXT = "text"


class Drawing(NamedTuple):
    """A drawing and the digest of it."""

    body: bytes
    digest: str


_DRAW: Mapping[GraphFormat, Callable[[Graph], str]] = {
    GraphFormat.SVG: svg,
    GraphFormat.DOT: notations.dot,
    GraphFormat.MERMAID: notations.mermaid,
    GraphFormat.TEXT: notations.text,
}


class Drawings:
    """Draws graphs, and remembers the last drawings. Thread-safe; two threads may both draw what is new.

    Args:
        max_bytes: Of all drawings that are remembered; a larger one never is.
    """

    def __init__(self, max_bytes: int = 8 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._drawings: OrderedDict[tuple[bytes, GraphFormat], Drawing] = OrderedDict()
        self._lock = threading.Lock()

    def draw(self, graph: Graph, kind: GraphFormat) -> Drawing:
        """Return a drawing of a graph.

        Raises:
            BadRequest: The graph is too large for this format.
        """
        key = (hashlib.sha256(repr(graph).encode("utf-8", "surrogatepass")).digest(), kind)
        with self._lock:
            if key in self._drawings:
                self._drawings.move_to_end(key)
                return self._drawings[key]
        body = _DRAW[kind](graph).encode()
        drawing = Drawing(body, hashlib.sha256(body).hexdigest()[:32])
        self._remember(key, drawing)
        return drawing

    def _remember(self, key: tuple[bytes, GraphFormat], drawing: Drawing) -> None:
        with self._lock:
            if key not in self._drawings:
                self._drawings[key] = drawing
                self._bytes += len(drawing.body)
            while self._bytes > self._max_bytes:
                _, oldest = self._drawings.popitem(last=False)
                self._bytes -= len(oldest.body)
