"""The graph of a workflow: which node's answer goes to which nodes."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from wfmgmt.errors import InvalidDag

_MAX_LISTED = 10

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dag:
    """A directed graph without cycles that has exactly one start node.

    Attributes:
        nodes: All names in topological order; of those that could come next, the first in the spec does.
        edges: Pairs of names, source first, in the order of the spec.
        sources: Each name to the names whose answers it gets.
        targets: Each name to the names that get its answer, in the order of the spec.
        start: The only node without a source.
        leaves: The nodes without targets, in the order of `nodes`.
        text: The graph as TorchServe prints it: `{pre_processing=[m1, m2], m1=[aggregate], m2=[aggregate]}`.
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    sources: Mapping[str, tuple[str, ...]]
    targets: Mapping[str, tuple[str, ...]]
    start: str
    leaves: tuple[str, ...]
    text: str

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Sequence[str]], max_nodes: int) -> "Dag":
        """Build the graph that a spec describes.

        Of several faults the first in this order is reported: size, self loop, duplicate edge, cycle, start nodes.

        Args:
            mapping: Name to the names that get its answer.
            max_nodes: Nodes that one graph may have.

        Raises:
            InvalidDag: The graph is empty, too large, has a cycle or does not have exactly one start node.

        Source:
            TorchServe 0.12.0, messages of InvalidDAGException; names are appended after a colon. It counts a graph
            without any start node as a wrong number of start nodes, not as a cycle.
        """
        targets = {name: mapping.get(name, ()) for name in _names_in_spec_order(mapping)}
        if not targets:
            raise InvalidDag("Not a valid DAG: it has no nodes")
        if len(targets) > max_nodes:
            raise InvalidDag(
                f"Not a valid DAG: it has {len(targets)} nodes, the limit is {max_nodes} (WFMGMT_DAG_NODES)"
            )
        edges = tuple((source, target) for source, following in mapping.items() for target in following)
        _check_edges(edges)
        nodes = _sorted_topologically(targets)
        return cls(
            nodes=nodes,
            edges=edges,
            sources={name: tuple(sources) for name, sources in _sources_of(targets).items()},
            targets={name: tuple(following) for name, following in targets.items()},
            start=_only_start_node(targets, edges),
            leaves=tuple(name for name in nodes if not targets[name]),
            text="{" + ", ".join(f"{name}=[{', '.join(following)}]" for name, following in mapping.items()) + "}",
        )

    @classmethod
    def from_edges(cls, nodes: Sequence[str], edges: Iterable[tuple[str, str]]) -> "Dag":
        """Build a graph again from the names and edges of one that was recorded.

        Raises:
            InvalidDag: They are not those of a graph.
        """
        mapping: dict[str, list[str]] = {name: [] for name in nodes}
        for source, target in edges:
            mapping[source].append(target)
        return cls.from_mapping(mapping, len(nodes))


class Step(NamedTuple, Generic[T]):
    """A node that can run now.

    Attributes:
        node: Its name.
        inputs: The answers of its sources by their names; empty for the start node.
    """

    node: str
    inputs: Mapping[str, T]


class DagRun(Generic[T]):
    """One request on its way through a graph: which node can run, and with what. It does no I/O and knows no time.

    An answer is kept only until every node that needs it has been given it.

    Args:
        dag: The graph.
    """

    def __init__(self, dag: Dag) -> None:
        self._dag = dag
        self._running: set[str] = set()
        self._collected: dict[str, dict[str, T]] = {}
        self._results: dict[str, T] = {}

    def start(self) -> Step[T]:
        """Return the first step."""
        self._running.add(self._dag.start)
        return Step(self._dag.start, {})

    def finish(self, node: str, answer: T) -> list[Step[T]]:
        """Take the answer of a node, and return the steps that it makes possible.

        Raises:
            ValueError: The node is not running: no step gave it, or its answer was taken already.
        """
        if node not in self._running:
            raise ValueError(f"{node} is not running")
        self._running.remove(node)
        targets = self._dag.targets[node]
        if not targets:
            self._results[node] = answer
        steps = [step for target in targets if (step := self._collect(target, node, answer)) is not None]
        self._running.update(step.node for step in steps)
        return steps

    def _collect(self, target: str, source: str, answer: T) -> Step[T] | None:
        """Note one input of a node; return its step when that was the last one."""
        sources = self._dag.sources[target]
        if len(sources) == 1:
            return Step(target, {source: answer})
        inputs = self._collected.setdefault(target, {})
        inputs[source] = answer
        if len(inputs) < len(sources):
            return None
        del self._collected[target]
        return Step(target, {name: inputs[name] for name in sources})

    @property
    def results(self) -> Mapping[str, T] | None:
        """The answers of the leaves in the order of the graph; None before all of them are there."""
        if len(self._results) < len(self._dag.leaves):
            return None
        return {name: self._results[name] for name in self._dag.leaves}


def _names_in_spec_order(mapping: Mapping[str, Sequence[str]]) -> dict[str, None]:
    """Return every name once, as the keys of a dict, in the order in which a reader meets them."""
    return dict.fromkeys(name for source, following in mapping.items() for name in (source, *following))


def _check_edges(edges: Sequence[tuple[str, str]]) -> None:
    """Refuse edges that are wrong in any graph.

    Raises:
        InvalidDag: An edge leads back to its own source or is there twice.
    """
    for source, target in edges:
        if source == target:
            raise InvalidDag(f"Self loop exception: {source}")
    seen: set[tuple[str, str]] = set()
    for source, target in edges:
        if (source, target) in seen:
            raise InvalidDag(f"Duplicate edge: {source} -> {target}")
        seen.add((source, target))


def _sorted_topologically(targets: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the names so that every source comes before its targets.

    Raises:
        InvalidDag: There is a cycle; when it leaves no start node the message says that instead.
    """
    names = list(targets)
    position = {name: index for index, name in enumerate(names)}
    open_sources = _sources_of(targets)
    free = [position[name] for name in names if not open_sources[name]]
    has_start = bool(free)
    done: list[str] = []
    while free:
        name = names[heapq.heappop(free)]
        done.append(name)
        for target in targets[name]:
            del open_sources[target][name]
            if not open_sources[target]:
                heapq.heappush(free, position[target])
    left = {name: sources for name, sources in open_sources.items() if sources}
    if left:
        cycle = _cycle_in(left)
        if has_start:
            raise InvalidDag(f"Not a valid DAG: cycle {cycle}")
        raise InvalidDag(f"DAG should have only one start node: there is none, because of the cycle {cycle}")
    return tuple(done)


def _sources_of(targets: Mapping[str, Sequence[str]]) -> dict[str, dict[str, None]]:
    """Return the sources of each name; dicts stand for ordered sets, so that messages do not vary."""
    sources: dict[str, dict[str, None]] = {name: {} for name in targets}
    for source, following in targets.items():
        for target in following:
            sources[target][source] = None
    return sources


def _cycle_in(sources: Mapping[str, Mapping[str, None]]) -> str:
    """Describe one cycle among nodes that all have a source among themselves.

    Walking from source to source can therefore go on for ever, so it has to meet some node again.
    """
    walked: dict[str, None] = {}
    name = next(iter(sources))
    while name not in walked:
        walked[name] = None
        name = next(iter(sources[name]))
    path = list(walked)
    cycle = path[path.index(name) :][::-1]
    position = {name: index for index, name in enumerate(sources)}
    first = cycle.index(min(cycle, key=position.__getitem__))
    cycle = cycle[first:] + cycle[:first]
    shown = cycle if len(cycle) <= _MAX_LISTED else [*cycle[:_MAX_LISTED], "..."]
    return " -> ".join([*shown, cycle[0]])


def _only_start_node(targets: Iterable[str], edges: Iterable[tuple[str, str]]) -> str:
    """Return the node without sources.

    Raises:
        InvalidDag: There are several.
    """
    with_source = {target for _, target in edges}
    first, *others = (name for name in targets if name not in with_source)
    if others:
        listed = ", ".join([first, *others][:_MAX_LISTED])
        more = len(others) + 1 - _MAX_LISTED
        suffix = f" and {more} more" if more > 0 else ""
        raise InvalidDag(f"DAG should have only one start node: {listed}{suffix}")
    return first
