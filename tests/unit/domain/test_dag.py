"""The graph of a workflow."""

import itertools
import time
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfmgmt.domain.dag import Dag, DagRun
from wfmgmt.errors import InvalidDag

MAX_NODES = 1000

PARALLEL = {"pre_processing": ["m1", "m2"], "m1": ["aggregate"], "m2": ["aggregate"]}


def test_dag_has_nodes_edges_start_and_leaves() -> None:
    """The attributes of a graph with two branches are those one would draw."""
    dag = Dag.from_mapping(PARALLEL, MAX_NODES)
    assert dag.nodes == ("pre_processing", "m1", "m2", "aggregate")
    assert dag.edges == (("pre_processing", "m1"), ("pre_processing", "m2"), ("m1", "aggregate"), ("m2", "aggregate"))
    assert dag.start == "pre_processing"
    assert dag.leaves == ("aggregate",)


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        (PARALLEL, "{pre_processing=[m1, m2], m1=[aggregate], m2=[aggregate]}"),
        ({"m1": ["b"], "pre": ["m1"]}, "{m1=[b], pre=[m1]}"),
        ({"only": []}, "{only=[]}"),
        ({"a": ["b"], "b": []}, "{a=[b], b=[]}"),
    ],
    ids=["parallel", "order of the spec", "single", "empty list"],
)
def test_dag_text_is_torchserves(mapping: Mapping[str, Sequence[str]], text: str) -> None:
    """The text has the form of a Java map and the order of the spec."""
    assert Dag.from_mapping(mapping, MAX_NODES).text == text


def test_dag_nodes_keep_the_order_of_the_spec_when_several_are_free() -> None:
    """Of nodes that do not depend on each other the first in the spec comes first."""
    dag = Dag.from_mapping({"z": ["c"], "s": ["b", "z", "a"]}, MAX_NODES)
    assert dag.nodes == ("s", "z", "c", "b", "a")
    assert dag.leaves == ("c", "b", "a")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "Not a valid DAG: it has no nodes"),
        ({"a": ["a"]}, "Self loop exception: a"),
        ({"s": ["a"], "a": ["b", "a"]}, "Self loop exception: a"),
        ({"a": ["b", "b"]}, "Duplicate edge: a -> b"),
        ({"a": ["b", "b", "c"], "c": ["c"]}, "Self loop exception: c"),
        ({"s": ["a"], "a": ["b"], "b": ["a"]}, "Not a valid DAG: cycle a -> b -> a"),
        ({"s": ["c"], "a": ["b"], "b": ["c"], "c": ["a"]}, "Not a valid DAG: cycle c -> a -> b -> c"),
        ({"s": ["a"], "t": ["a"], "a": ["b"], "b": ["a"]}, "Not a valid DAG: cycle a -> b -> a"),
        ({"s": ["a"], "a": ["b"], "b": ["a", "z"], "z": ["y"]}, "Not a valid DAG: cycle a -> b -> a"),
        (
            {"a": ["b"], "b": ["a"]},
            "DAG should have only one start node: there is none, because of the cycle a -> b -> a",
        ),
        ({"a": ["c"], "b": ["c"]}, "DAG should have only one start node: a, b"),
        ({"a": [], "b": []}, "DAG should have only one start node: a, b"),
    ],
    ids=[
        "empty",
        "self loop alone",
        "self loop",
        "duplicate edge",
        "self loop before duplicate edge",
        "cycle of two",
        "cycle of three, from the first in the spec",
        "cycle before several starts",
        "cycle with a way out",
        "cycle without start",
        "two starts",
        "no edges",
    ],
)
def test_dag_is_refused_when_it_breaks_the_rules(mapping: Mapping[str, Sequence[str]], message: str) -> None:
    """The messages are TorchServe's and name the nodes."""
    with pytest.raises(InvalidDag) as caught:
        Dag.from_mapping(mapping, MAX_NODES)
    assert str(caught.value) == message


def test_dag_is_refused_when_it_has_too_many_nodes() -> None:
    """The limit counts nodes that only occur as targets too."""
    assert Dag.from_mapping({"a": ["b", "c"]}, 3).nodes == ("a", "b", "c")
    with pytest.raises(InvalidDag, match=r"^Not a valid DAG: it has 4 nodes, the limit is 3 \(WFMGMT_DAG_NODES\)$"):
        Dag.from_mapping({"a": ["b", "c", "d"]}, 3)


@pytest.mark.parametrize("is_cycle", [False, True], ids=["chain", "cycle"])
def test_dag_takes_long_chains_without_recursion(*, is_cycle: bool) -> None:
    """Ten thousand nodes in a row are taken or refused in no time, with a message of bearable length."""
    names = [f"n{index}" for index in range(10_000)]
    mapping = {source: [target] for source, target in itertools.pairwise(names)}
    began = time.process_time()
    if is_cycle:
        with pytest.raises(InvalidDag, match=r"n0 -> n1 -> .* -> \.\.\. -> n0$") as caught:
            Dag.from_mapping({"s": ["n0"], **mapping, names[-1]: ["n0"]}, 20_000)
        assert len(str(caught.value)) < 200
    else:
        assert Dag.from_mapping(mapping, 20_000).nodes == tuple(names)
    assert time.process_time() - began < 2


def test_dag_names_only_some_start_nodes_when_there_are_very_many() -> None:
    """A message about a thousand start nodes stays short."""
    with pytest.raises(InvalidDag, match=r"n0, n1, .*, n9 and 990 more$"):
        Dag.from_mapping({f"n{index}": ["end"] for index in range(1000)}, 2000)


@st.composite
def acyclic_mappings(draw: st.DrawFn) -> dict[str, list[str]]:
    """Draw graphs with one start node: every other node gets sources from those before it."""
    size = draw(st.integers(1, 12))
    mapping: dict[str, list[str]] = {f"n{index}": [] for index in draw(st.permutations(range(size)))}
    for target in range(1, size):
        for source in draw(st.sets(st.integers(0, target - 1), min_size=1)):
            mapping[f"n{source}"].append(f"n{target}")
    return mapping


@given(acyclic_mappings())
def test_dag_nodes_respect_every_edge(mapping: dict[str, list[str]]) -> None:
    """In every graph without a cycle all sources come before their targets, and nothing gets lost."""
    dag = Dag.from_mapping(mapping, MAX_NODES)
    position = {name: index for index, name in enumerate(dag.nodes)}
    assert sorted(dag.nodes) == sorted(mapping)
    assert all(position[source] < position[target] for source, target in dag.edges)
    assert dag.start == dag.nodes[0] == "n0"
    assert set(dag.leaves) == {name for name, targets in mapping.items() if not targets}


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=4), max_size=6))
def test_dag_is_either_valid_or_refused(mapping: dict[str, list[str]]) -> None:
    """Any mapping gives a graph whose order fits its edges, or InvalidDag."""
    try:
        dag = Dag.from_mapping(mapping, MAX_NODES)
    except InvalidDag:
        return
    assert all(dag.nodes.index(source) < dag.nodes.index(target) for source, target in dag.edges)


class Tracer:
    """Plays the nodes of a graph: the answer of each is its name with the answers that it was given."""

    def __init__(self, dag: Dag) -> None:
        self.run: DagRun[str] = DagRun(dag)
        self.ready = [self.run.start()]
        self.order: list[str] = []

    def answer(self, position: int) -> None:
        """Let one of the ready nodes answer."""
        step = self.ready.pop(position % len(self.ready))
        self.order.append(step.node)
        self.ready += self.run.finish(step.node, expected_answer(step.node, list(step.inputs.values())))


def expected_answer(node: str, inputs: list[str]) -> str:
    """Return what a node answers to these inputs; short, though it tells all of them apart."""
    return f"{node}:{hash(tuple(inputs))}"


@st.composite
def dags(draw: st.DrawFn) -> Dag:
    """Draw a graph with one start node, whose other nodes each have some of the nodes before them as sources."""
    size = draw(st.integers(1, 12))
    mapping: dict[str, list[str]] = {f"n{index}": [] for index in range(size)}
    for index in range(1, size):
        for source in draw(st.sets(st.integers(0, index - 1), min_size=1)):
            mapping[f"n{source}"].append(f"n{index}")
    return Dag.from_mapping(mapping, MAX_NODES)


@given(dags(), st.lists(st.integers(0, 100), min_size=12, max_size=12))
def test_run_gives_each_node_once_after_its_sources_with_their_answers(dag: Dag, choices: list[int]) -> None:
    """In any order of answers, each node runs once, after all its sources, with exactly what these answered."""
    tracer = Tracer(dag)
    answers: dict[str, str] = {}
    for choice in choices[: len(dag.nodes)]:
        assert tracer.run.results is None
        step = tracer.ready[choice % len(tracer.ready)]
        assert step.inputs == {source: answers[source] for source in dag.sources[step.node]}
        answers[step.node] = expected_answer(step.node, list(step.inputs.values()))
        tracer.answer(choice)
    assert sorted(tracer.order) == sorted(dag.nodes)
    assert tracer.ready == []
    assert tracer.run.results == {leaf: answers[leaf] for leaf in dag.leaves}


@pytest.mark.parametrize("node", ["m1", "nosuch", "start"], ids=["not yet", "unknown", "twice"])
def test_run_refuses_an_answer_of_a_node_that_is_not_running(node: str) -> None:
    """An answer that nobody asked for is a mistake of the caller."""
    run: DagRun[str] = DagRun(Dag.from_mapping({"start": ["m0"], "m0": ["m1"]}, MAX_NODES))
    run.start()
    run.finish("start", "")
    with pytest.raises(ValueError, match="is not running"):
        run.finish(node, "")


def test_dag_is_the_same_when_built_again_from_its_edges() -> None:
    """What the database keeps of a graph is enough to run it."""
    dag = Dag.from_mapping(PARALLEL, MAX_NODES)
    again = Dag.from_edges(dag.nodes, dag.edges)
    assert (again.nodes, again.start, again.leaves) == (dag.nodes, dag.start, dag.leaves)
    assert (again.sources, again.targets) == (dag.sources, dag.targets)
