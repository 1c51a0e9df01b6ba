"""Plans of changes, and what differs between versions."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from wfmgmt.domain.plans import (
    ArchiveSource,
    Change,
    Plan,
    PlanAction,
    PlannedArchive,
    PlannedFunction,
    PlannedModel,
    changes,
    version_diff,
)
from wfmgmt.domain.workflow import LoadRequest, Node, NodeKind, NodeSettings

ARCHIVE = PlannedArchive(url="seq.war", sha256="ab" * 32, size_bytes=1000, source=ArchiveSource.DOWNLOAD, same_as="1.0")
PLAN = Plan(
    action=PlanAction.ADD_VERSION,
    workflow="seq",
    version="2.0",
    uid="u1",
    revision=17,
    archive=ARCHIVE,
    changes=(Change(path="nodes.m1.maxWorkers", before=2, after=4),),
    models=(PlannedModel(node="m1", url="m1.mar", sha256="cd" * 32, size_bytes=500, threads=2),),
    functions=(PlannedFunction(name="pre", line=3, threads=None),),
    workers_now=6,
    workers_after=9,
    routes_before={"1.0": 100},
    routes_after={"2.0": 10, "1.0": 90},
    unknown=("u",),
    warnings=("w",),
)


def test_plan_is_shown_with_all_its_parts() -> None:
    """What the API shows of it, in its order."""
    assert list(PLAN.json().items()) == [
        ("action", "add-version"),
        ("workflow", "seq"),
        ("version", "2.0"),
        ("fingerprint", PLAN.fingerprint),
        (
            "archive",
            {"url": "seq.war", "sha256": "ab" * 32, "bytes": 1000, "source": "download", "sameAs": "1.0"},
        ),
        ("changes", [{"path": "nodes.m1.maxWorkers", "before": 2, "after": 4}]),
        ("models", [{"node": "m1", "url": "m1.mar", "sha256": "cd" * 32, "bytes": 500, "threads": 2}]),
        ("functions", [{"name": "pre", "line": 3, "threads": None}]),
        ("workers", {"now": 6, "after": 9}),
        ("routes", {"before": {"1.0": 100}, "after": {"2.0": 10, "1.0": 90}}),
        ("unknown", ["u"]),
        ("warnings", ["w"]),
    ]


def test_plan_of_nothing_is_shown() -> None:
    """Parts that it does not have are null or empty."""
    plan = Plan(action=PlanAction.NONE, workflow="seq", routes_before={}, routes_after={})
    assert plan.json() == {
        "action": "none",
        "workflow": "seq",
        "version": None,
        "fingerprint": plan.fingerprint,
        "archive": None,
        "changes": [],
        "models": [],
        "functions": [],
        "workers": {"now": 0, "after": 0},
        "routes": {"before": {}, "after": {}},
        "unknown": [],
        "warnings": [],
    }


def test_fingerprint_stays_between_processes() -> None:
    """The one of a dry run is compared with that of the real call in another process, so it is pinned here."""
    assert PLAN.fingerprint == "p-2bcf4008a1bfe02c"


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: replace(plan, action=PlanAction.UPDATE),
        lambda plan: replace(plan, workflow="other"),
        lambda plan: replace(plan, version="3.0"),
        lambda plan: replace(plan, uid="u2"),
        lambda plan: replace(plan, revision=18),
        lambda plan: replace(plan, archive=replace(ARCHIVE, sha256="ef" * 32)),
        lambda plan: replace(plan, archive=None),
        lambda plan: replace(plan, changes=()),
        lambda plan: replace(plan, models=(replace(plan.models[0], sha256="ef" * 32),)),
        lambda plan: replace(plan, routes_after={"1.0": 100}),
    ],
    ids=["action", "workflow", "version", "uid", "revision", "digest", "archive", "changes", "model", "routes"],
)
def test_fingerprint_is_another_when_something_moves(change: Callable[[Plan], Plan]) -> None:
    """Whatever the plan rests on, and whatever it would do."""
    assert change(PLAN).fingerprint != PLAN.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: replace(plan, workers_now=5),
        lambda plan: replace(plan, archive=replace(ARCHIVE, source=ArchiveSource.STORE)),
        lambda plan: replace(plan, warnings=()),
        lambda plan: replace(plan, routes_after={"1.0": 90, "2.0": 10}),
    ],
    ids=["workers that are up", "source", "warnings", "order of routes"],
)
def test_fingerprint_stays_when_nothing_moves_that_matters(change: Callable[[Plan], Plan]) -> None:
    """A worker that ended meanwhile, or an archive that is in the store by now, makes no plan stale."""
    assert change(PLAN).fingerprint == PLAN.fingerprint


def test_changes_are_found_at_any_depth() -> None:
    """What is equal is left out; what is missing on one side is null there; lists are compared as a whole."""
    before = {"same": 1, "nodes": {"m1": {"maxWorkers": 2, "batchSize": 1}, "gone": {"maxWorkers": 1}}, "list": [1, 2]}
    after = {"same": 1, "nodes": {"m1": {"maxWorkers": 4, "batchSize": 1}}, "list": [1], "new": {"x": True}}
    assert changes(before, after) == (
        Change(path="nodes.m1.maxWorkers", before=2, after=4),
        Change(path="nodes.gone.maxWorkers", before=1, after=None),
        Change(path="list", before=[1, 2], after=[1]),
        Change(path="new.x", before=None, after=True),
    )


def test_change_from_a_mapping_to_another_value_is_one_change() -> None:
    """There is nothing to compare inside."""
    assert changes({"a": {"b": 1}}, {"a": 5}) == (Change(path="a", before={"b": 1}, after=5),)


def test_path_of_a_change_has_brackets_around_names_with_dots() -> None:
    """Else nobody could see where the name ends."""
    assert changes({"nodes": {"m.1": {"x": 1}}, "1.0": 1, "größe": 1}, {"größe": 2}) == (
        Change(path="nodes[m.1].x", before=1, after=None),
        Change(path="[1.0]", before=1, after=None),
        Change(path="größe", before=1, after=2),
    )


def model(name: str, sha256: str = "cd" * 32, **settings: int) -> Node:
    """Return a model."""
    return Node(
        name=name,
        kind=NodeKind.MODEL,
        model_url=f"{name}.mar",
        model_file=f"{name}.mar",
        model_sha256=sha256,
        settings=replace(NodeSettings(), **settings),
    )


OLD = LoadRequest(
    uid="u1",
    workflow="seq",
    archive_file="seq.war",
    archive_sha256="ab" * 32,
    handler="handler.py",
    startup_timeout_s=120,
    response_timeout_s=120,
    nodes=(Node(name="pre", kind=NodeKind.FUNCTION, settings=NodeSettings()), model("m1"), model("m2")),
    edges=(("pre", "m1"), ("pre", "m2")),
)


def test_version_does_not_differ_from_itself() -> None:
    """Nor from another registration of the same."""
    assert version_diff(OLD, replace(OLD, uid="u2")) == {
        "nodes": {"added": [], "removed": []},
        "edges": {"added": [], "removed": []},
        "changes": [],
    }


def test_versions_differ_in_nodes_edges_settings_and_digests() -> None:
    """A node that only one has is named; of one that both have it is said what differs."""
    new = replace(
        OLD,
        archive_sha256="ef" * 32,
        response_timeout_s=60,
        nodes=(OLD.nodes[0], model("m1", sha256="01" * 32, max_workers=4), model("m3")),
        edges=(("pre", "m1"), ("m1", "m3")),
    )
    assert version_diff(OLD, new) == {
        "nodes": {"added": ["m3"], "removed": ["m2"]},
        "edges": {"added": [["m1", "m3"]], "removed": [["pre", "m2"]]},
        "changes": [
            {"path": "archive.sha256", "before": "ab" * 32, "after": "ef" * 32},
            {"path": "responseTimeout", "before": 120, "after": 60},
            {"path": "nodes.m1.model.sha256", "before": "cd" * 32, "after": "01" * 32},
            {"path": "nodes.m1.maxWorkers", "before": 1, "after": 4},
        ],
    }
