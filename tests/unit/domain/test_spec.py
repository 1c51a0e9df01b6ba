"""The spec of a workflow."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import SEQUENTIAL_SPEC
from wfmgmt.domain.limits import Limits
from wfmgmt.domain.spec import WorkflowSpec, parse_spec
from wfmgmt.domain.workflow import NodeKind, NodeSettings, NodeSpec
from wfmgmt.errors import InvalidDag, InvalidWorkflow

LIMITS = Limits()


def parse(text: str) -> WorkflowSpec:
    """Parse a spec with the default limits."""
    return parse_spec(text, LIMITS)


def parse_models(models: str) -> WorkflowSpec:
    """Parse a spec with the given text, indented by two spaces, under `models`, and a graph of m1 alone."""
    return parse(f"models:\n{models}\ndag:\n  m1: []\n")


def settings_of(spec: WorkflowSpec, name: str) -> NodeSettings:
    """Return the settings of the node of that name."""
    return next(node.settings for node in spec.nodes if node.name == name)


def test_spec_has_models_and_functions_in_topological_order() -> None:
    """Names that are not models are functions, and nodes come in the order in which they run."""
    spec = parse(SEQUENTIAL_SPEC)
    assert [(node.name, node.kind, node.url) for node in spec.nodes] == [
        ("pre_processing", NodeKind.FUNCTION, None),
        ("m1", NodeKind.MODEL, "m1.mar"),
        ("post_processing", NodeKind.FUNCTION, None),
    ]
    assert spec.dag.text == "{pre_processing=[m1], m1=[post_processing]}"
    assert spec.warnings == ()


def test_spec_has_torchserves_defaults_when_it_gives_none() -> None:
    """A model without settings gets the defaults of the documentation."""
    spec = parse_models("  m1: {url: m1.mar}")
    expected = NodeSettings(
        min_workers=1, max_workers=1, batch_size=1, max_batch_delay_ms=50, retry_attempts=1, timeout_ms=10_000
    )
    assert spec.defaults == expected
    assert spec.nodes == (NodeSpec(name="m1", kind=NodeKind.MODEL, url="m1.mar", settings=expected),)


@pytest.mark.parametrize(
    "models",
    [
        "  min-workers: 2\n  max-workers: 4\n  batch-size: 8\n  m1: {url: m1.mar, max-workers: 3}",
        "  m1: {url: m1.mar, max-workers: 3}\n  batch-size: 8\n  max-workers: 4\n  min-workers: 2",
    ],
    ids=["before", "after"],
)
def test_spec_applies_global_settings_in_any_position(models: str) -> None:
    """Globals after a model count like those before it, and the model's own settings win."""
    spec = parse_models(models)
    assert spec.defaults == NodeSettings(min_workers=2, max_workers=4, batch_size=8)
    assert settings_of(spec, "m1") == NodeSettings(min_workers=2, max_workers=3, batch_size=8)


def test_spec_gives_functions_one_worker_and_the_global_times() -> None:
    """Workers and batches are for models; time-outs and retries hold for all nodes."""
    spec = parse(
        "models:\n  min-workers: 2\n  max-workers: 4\n  batch-size: 8\n  max-batch-delay: 100\n"
        "  retry-attempts: 3\n  timeout-ms: 500\ndag: {f: []}"
    )
    assert settings_of(spec, "f") == NodeSettings(max_batch_delay_ms=0, retry_attempts=3, timeout_ms=500)


def test_spec_gives_functions_settings_of_their_own() -> None:
    """What stands under `functions` wins over the global settings, and a larger minimum raises the maximum."""
    spec = parse(
        "models: {m: {url: u}, timeout-ms: 7, min-workers: 5, max-workers: 9}\n"
        "functions: {f: {max-workers: 4, timeout-ms: 8}, g: {min-workers: 3, retry-attempts: 0}}\n"
        "dag: {f: [m, g], m: [h], g: [h]}"
    )
    assert [settings_of(spec, name) for name in "fgh"] == [
        NodeSettings(max_workers=4, timeout_ms=8, max_batch_delay_ms=0),
        NodeSettings(min_workers=3, max_workers=3, timeout_ms=7, retry_attempts=0, max_batch_delay_ms=0),
        NodeSettings(timeout_ms=7, max_batch_delay_ms=0),
    ]


FUNCTION_KEYS = "min-workers, max-workers, retry-attempts, timeout-ms"


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ("[f]", "functions: expected a mapping of functions to their settings, got a list"),
        ("{ff: {max-workers: 2}}", "functions: ff is not a function in the dag, did you mean f?"),
        ("{m: {max-workers: 2}}", "functions: m is not a function in the dag"),
        ("{f: 2}", f"functions.f: expected a mapping with {FUNCTION_KEYS}, got 2"),
        ("{f: {max-worker: 2}}", "functions.f: unknown key max-worker, did you mean max-workers?"),
        ("{f: {batch-size: 2}}", "functions.f: unknown key batch-size"),
        ("{f: {max-workers: 0}}", "functions.f.max-workers: expected a whole number from 1 to 1000, got 0"),
        ("{f: {max-workers: many}}", "functions.f.max-workers: expected a whole number from 1 to 1000, got 'many'"),
        (
            "{f: {min-workers: 3, max-workers: 2}}",
            "functions.f.max-workers: expected at least min-workers, which is 3, got 2",
        ),
    ],
    ids=str,
)
def test_spec_is_refused_when_settings_of_functions_are_wrong(functions: str, message: str) -> None:
    """The message gives the path and what belongs there."""
    with pytest.raises(InvalidWorkflow) as caught:
        parse(f"models: {{m: {{url: u}}}}\nfunctions: {functions}\ndag: {{f: [m]}}")
    assert str(caught.value) == message


def test_spec_needs_no_models_when_the_dag_has_functions_only() -> None:
    """A workflow of functions alone is fine."""
    spec = parse("dag: {f: [g]}")
    assert [node.kind for node in spec.nodes] == [NodeKind.FUNCTION, NodeKind.FUNCTION]
    assert spec.defaults == NodeSettings()


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("  m1: {url: u, min-workers: 3}", (3, 3)),
        ("  min-workers: 3\n  m1: {url: u}", (3, 3)),
        ("  min-workers: 3\n  m1: {url: u, min-workers: 4}", (4, 4)),
        ("  max-workers: 5\n  m1: {url: u, min-workers: 4}", (4, 5)),
        ("  min-workers: 3\n  m1: {url: u, max-workers: 4}", (3, 4)),
        ("  max-workers: 2\n  m1: {url: u, min-workers: 3, max-workers: 4}", (3, 4)),
        ("  m1: {url: u, min-workers: 0}", (0, 1)),
    ],
    ids=["own min", "global min", "both mins", "global max", "own max", "own both", "zero"],
)
def test_spec_raises_the_default_of_max_workers_to_min_workers(models: str, expected: tuple[int, int]) -> None:
    """Who writes only min-workers gets that many workers, not an error about a number that is not there."""
    settings = settings_of(parse_models(models), "m1")
    assert (settings.min_workers, settings.max_workers) == expected


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (
            "  min-workers: 3\n  max-workers: 2\n  m1: {url: u}",
            "models.max-workers: expected at least min-workers, which is 3, got 2",
        ),
        (
            "  m1: {url: u, min-workers: 3, max-workers: 2}",
            "models.m1.max-workers: expected at least min-workers, which is 3, got 2",
        ),
        (
            "  min-workers: 3\n  m1: {url: u, max-workers: 2}",
            "models.m1.max-workers: expected at least min-workers, which is 3, got 2",
        ),
        (
            "  max-workers: 2\n  m1: {url: u, min-workers: 3}",
            "models.m1.min-workers: expected at most max-workers, which is 2, got 3",
        ),
    ],
    ids=["global", "own", "own max", "own min"],
)
def test_spec_is_refused_when_max_workers_is_less_than_min_workers(models: str, message: str) -> None:
    """Two numbers that were both written have to fit, whichever scopes they stand in."""
    with pytest.raises(InvalidWorkflow) as caught:
        parse_models(models)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("min-workers", "a whole number from 0 to 1000"),
        ("max-workers", "a whole number from 1 to 1000"),
        ("batch-size", "a whole number from 1 to 2147483647"),
        ("max-batch-delay", "a whole number from 0 to 2147483647"),
        ("retry-attempts", "a whole number from 0 to 2147483647"),
        ("timeout-ms", "a whole number from 1 to 2147483647"),
    ],
)
@pytest.mark.parametrize(
    ("value", "got"),
    [
        ("two", "'two'"),
        ("'2'", "'2'"),
        ("2.0", "2.0"),
        ("yes", "true"),
        ("", "null"),
        ("-1", "-1"),
        ("2147483648", "2147483648"),
        ("[1]", "a list"),
        (".nan", "nan"),
    ],
    ids=["word", "quoted", "float", "bool", "null", "negative", "huge", "list", "nan"],
)
@pytest.mark.parametrize("scope", ["models", "models.m1"])
def test_spec_is_refused_when_a_number_is_none_or_out_of_range(
    scope: str, key: str, expected: str, value: str, got: str
) -> None:
    """The message gives the key path, what was expected and what was found."""
    inner, outer = (f"    {key}: {value}\n", "") if scope == "models.m1" else ("", f"  {key}: {value}\n")
    with pytest.raises(InvalidWorkflow) as caught:
        parse_models(f"{outer}  m1:\n    url: m1.mar\n{inner}")
    assert str(caught.value) == f"{scope}.{key}: expected {expected}, got {got}"


@pytest.mark.parametrize("key", ["max-workers", "batch-size", "timeout-ms"])
def test_spec_is_refused_when_a_number_is_zero_that_must_not_be(key: str) -> None:
    """No workers at most, no batch and no time make no sense."""
    with pytest.raises(InvalidWorkflow, match=rf"^models\.{key}: expected a whole number from 1 to \d+, got 0$"):
        parse_models(f"  {key}: 0\n  m1: {{url: u}}")


MAR = "the name or http(s) address of a .mar"
NAME = r"a name of the form \w[\w .-]{0,127} with no space at its end"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "spec: expected a mapping with the keys models and dag, got null"),
        ("[1]", "spec: expected a mapping with the keys models and dag, got a list"),
        ("just text", "spec: expected a mapping with the keys models and dag, got 'just text'"),
        ("model: {}\ndag: {f: []}", "spec: unknown key model, did you mean models?"),
        ("models: {}\ndags: {f: []}", "spec: unknown key dags, did you mean dag?"),
        ("models: {}", "dag: expected a mapping of names to lists of names, but there is no key dag"),
        ("models:\ndag: {f: []}", "models: expected a mapping of settings and models, got null"),
        ("models: []\ndag: {f: []}", "models: expected a mapping of settings and models, got a list"),
        ("models: {max-worker: 2}\ndag: {f: []}", "models: unknown key max-worker, did you mean max-workers?"),
        ("models: {'a\\n': 2}\ndag: {f: []}", r"models: unknown key a\n"),
        ('models: {"a\\n": 2}\ndag: {f: []}', r"models: unknown key 'a\n'"),
        (
            "models: {m1: }\ndag: {m1: []}",
            "models.m1: expected a mapping with the url and settings of a model, got null",
        ),
        (
            "models: {m1: []}\ndag: {m1: []}",
            "models.m1: expected a mapping with the url and settings of a model, got a list",
        ),
        ("models: {m1: {}}\ndag: {m1: []}", f"models.m1.url: expected {MAR}, but there is no key url"),
        ("models: {m2: {}}\ndag: {f: []}", f"models.m2.url: expected {MAR}, but there is no key url"),
        ("models: {m1: {url: }}\ndag: {m1: []}", f"models.m1.url: expected {MAR}, got null"),
        ("models: {m1: {url: 1}}\ndag: {m1: []}", f"models.m1.url: expected {MAR}, got 1"),
        ("models: {m1: {url: ' '}}\ndag: {m1: []}", f"models.m1.url: expected {MAR}, got ' '"),
        (
            'models: {m1: {url: "a\\0"}}\ndag: {m1: []}',
            f"models.m1.url: expected {MAR}, got text with control characters",
        ),
        ("models: {a/b: {url: u}}\ndag: {f: []}", f"models: expected {NAME}, got 'a/b'"),
        ("dag:", "dag: expected a mapping of names to lists of names, got null"),
        ("dag: [a, b]", "dag: expected a mapping of names to lists of names, got a list"),
        ("dag: {a: }", "dag.a: expected a list of names, got null"),
        ("dag: {a: b}", "dag.a: expected a list of names, got 'b'"),
        ("dag: {a: {b: c}}", "dag.a: expected a list of names, got a mapping"),
        ("dag: {a: [b, 1]}", "dag.a[1]: expected a name, got 1; put it in quotes if it is one"),
        ("dag: {a: [yes]}", "dag.a[0]: expected a name, got true; put it in quotes if it is one"),
        ("dag: {a: [[b]]}", "dag.a[0]: expected a name, got a list"),
        ("dag: {a: ['b:c']}", f"dag.a[0]: expected {NAME}, got 'b:c'"),
        ("dag: {'': []}", f"dag: expected {NAME}, got ''"),
        ("dag: {a: [", None),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_spec_is_refused_when_its_shape_is_wrong(text: str, message: str | None) -> None:
    """Each message gives the key path and what belongs there."""
    with pytest.raises(InvalidWorkflow) as caught:
        parse(text)
    assert str(caught.value) == message or (message is None and "Failed to parse yaml." in str(caught.value))


@pytest.mark.parametrize("dag", ["{}", "{a: [a]}", "{a: [b, b]}", "{a: [b], b: [a]}", "{a: [c], b: [c]}"], ids=str)
def test_spec_is_refused_when_its_graph_is_wrong(dag: str) -> None:
    """Faults of the graph come out as InvalidDag."""
    with pytest.raises(InvalidDag):
        parse(f"dag: {dag}")


def test_spec_warns_of_unknown_keys_and_unused_models() -> None:
    """What TorchServe ignores is taken with a warning, and models that nothing uses are no nodes."""
    spec = parse_models("  m1: {url: m1.mar, max-worker: 2, colour: red}\n  m2: {url: m2.mar}")
    assert spec.warnings == (
        "models.m1: unknown key max-worker, did you mean max-workers?",
        "models.m1: unknown key colour",
        "models.m2: not used in the dag, so it is not loaded",
    )
    assert [node.name for node in spec.nodes] == ["m1"]


def test_spec_takes_other_keys_at_the_top_with_a_warning() -> None:
    """TorchServe ignores them, and anchors stand there; nothing is said of those that begin with `x-`."""
    spec = parse(
        "x-defaults: &d {batch-size: 4}\nname: flow\nversion: 1.0\nmodel: [1]\n"
        "models:\n  m1: {<<: *d, url: m.mar, x-note: mine}\ndag: {m1: []}"
    )
    assert [node.settings.batch_size for node in spec.nodes] == [4]
    assert spec.warnings == (
        "spec: unknown key name",
        "spec: unknown key version",
        "spec: unknown key model, did you mean models?",
    )


def test_spec_gives_nodes_threads_under_a_key_of_our_own() -> None:
    """TorchServe ignores the key; models and functions may have some, and need not."""
    spec = parse(
        "x-wfmgmt: {nodes: {m1: {threads: 2}, f: {threads: 1}, m2: {}}}\n"
        "models: {m1: {url: m.mar}, m2: {url: m.mar}}\ndag: {f: [m1], m1: [m2]}"
    )
    assert {node.name: node.threads for node in spec.nodes} == {"f": 1, "m1": 2, "m2": None}
    assert spec.warnings == ()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("", "x-wfmgmt: expected a mapping with nodes, got null"),
        ("{node: {}}", "x-wfmgmt: unknown key node, did you mean nodes?"),
        ("{nodes: [f]}", "x-wfmgmt.nodes: expected a mapping of nodes to their settings, got a list"),
        ("{nodes: {first: {}}}", "x-wfmgmt.nodes: first is not a node of the dag"),
        ("{nodes: {ff: {}}}", "x-wfmgmt.nodes: ff is not a node of the dag, did you mean f?"),
        ("{nodes: {f: 2}}", "x-wfmgmt.nodes.f: expected a mapping with threads, got 2"),
        ("{nodes: {f: {thread: 2}}}", "x-wfmgmt.nodes.f: unknown key thread, did you mean threads?"),
        ("{nodes: {f: {threads: 0}}}", "x-wfmgmt.nodes.f.threads: expected a whole number from 1 to 1000, got 0"),
        ("{nodes: {f: {threads: all}}}", "x-wfmgmt.nodes.f.threads: expected a whole number from 1 to 1000, got 'all'"),
    ],
)
def test_spec_is_refused_when_our_own_key_is_wrong(own: str, message: str) -> None:
    """Nothing of it is ignored."""
    with pytest.raises(InvalidWorkflow) as caught:
        parse(f"x-wfmgmt: {own}\ndag: {{f: []}}")
    assert str(caught.value) == message


def test_spec_limits_its_warnings_when_there_are_very_many() -> None:
    """Ten thousand odd keys are found quickly and answered with a hundred of them."""
    keys = ", ".join(f"max-worker{number}: 1" for number in range(10_000))
    began = time.process_time()
    spec = parse_models(f"  m1: {{url: m1.mar, {keys}}}")
    assert len(spec.warnings) == 101
    assert spec.warnings[-1] == "9900 more warnings are not shown"
    assert time.process_time() - began < 20


def test_spec_takes_aliases_and_merge_keys() -> None:
    """Specs share settings between models this way."""
    spec = parse(
        "models:\n  m1: &model {url: m.mar, batch-size: 4}\n  m2:\n    <<: *model\n    url: m2.mar\ndag: {m1: [m2]}"
    )
    assert [(node.url, node.settings.batch_size) for node in spec.nodes] == [("m.mar", 4), ("m2.mar", 4)]


plain_values = st.recursive(
    st.sampled_from(["m1", "url", "''", "1", "-1", "2.5", "yes", "~", "m1.mar"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from(["m1", "f", "url", "min-workers", "max-workers"]), inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}"
        )
    ),
    max_leaves=8,
)


@given(plain_values, plain_values)
def test_spec_raises_nothing_but_invalid_workflow(models: str, dag: str) -> None:
    """Any values under models and dag give a spec that keeps its promises, or the one error."""
    try:
        spec = parse(f"models: {models}\ndag: {dag}\n")
    except InvalidWorkflow:
        return
    assert all(0 <= node.settings.min_workers <= node.settings.max_workers for node in spec.nodes)
    assert tuple(node.name for node in spec.nodes) == spec.dag.nodes
