"""The graph that is drawn: its title, its nodes and its edges."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from wfmgmt.domain.names import printable
from wfmgmt.domain.workflow import NodeKind

#: Nodes that a description in words speaks of, and names in one list of it.
_MAX_DESCRIBED, _MAX_LISTED = 50, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A graph without cycles and with one start node; equal graphs have equal drawings.

    Attributes:
        title: Name and version of the workflow.
        nodes: Name and kind of each, in topological order.
        edges: Pairs of names, source first.
    """

    title: str
    nodes: tuple[tuple[str, NodeKind], ...]
    edges: tuple[tuple[str, str], ...]

    @property
    def targets(self) -> Mapping[str, Sequence[str]]:
        """Each name to the names that get its answer."""
        targets: dict[str, list[str]] = {name: [] for name, _ in self.nodes}
        for source, target in self.edges:
            targets[source].append(target)
        return targets

    @property
    def layers(self) -> Sequence[Sequence[str]]:
        """The names by the step in which their nodes run at the earliest: each lies below all of its sources."""
        depth = {name: 0 for name, _ in self.nodes}
        targets = self.targets
        for name, following in targets.items():
            for target in following:
                depth[target] = max(depth[target], depth[name] + 1)
        layers: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
        for name, layer in depth.items():
            layers[layer].append(name)
        return layers

    @property
    def size(self) -> str:
        """How large it is, in words."""
        counts = (len(self.nodes), "node"), (len(self.edges), "edge"), (len(self.layers), "step")
        nodes, edges, steps = (f"{count:,} {what}{'' if count == 1 else 's'}" for count, what in counts)
        return f"{nodes} and {edges} in {steps}"

    @property
    def words(self) -> str:
        """What a drawing shows, in words, for those who cannot see it."""
        targets, kinds = self.targets, dict(self.nodes)
        start, _ = self.nodes[0]
        sentences = [f"{self.size}.", f"Requests start at the {kinds[start]} {printable(start)}."]
        leading = [name for name, following in targets.items() if following]
        for name in leading[:_MAX_DESCRIBED]:
            following = (f"the {kinds[target]} {target}" for target in targets[name])
            sentences.append(f"{printable(name)} leads to {_listed(following, len(targets[name]))}.")
        if len(leading) > _MAX_DESCRIBED:
            sentences.append(f"{len(leading) - _MAX_DESCRIBED:,} more nodes lead to others.")
        leaves = [name for name, following in targets.items() if not following]
        whose = "that" if len(leaves) == 1 else "those"
        sentences.append(f"What the workflow answers is {whose} of {_listed(leaves, len(leaves))}.")
        return " ".join(sentences)


def _listed(names: Iterable[str], count: int) -> str:
    """Return names as a sentence lists them, the first of them when there are many."""
    shown = [printable(name) for name in islice(names, _MAX_LISTED)]
    if count > len(shown):
        shown.append(f"{count - len(shown):,} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
