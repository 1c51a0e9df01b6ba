"""What lists, explanations and archives read of the registry, on SQLite and PostgreSQL."""

from dataclasses import replace
from typing import Any

from tests.support.operations import make_operation
from tests.support.records import make_event, make_node, make_workflow, register
from wfmgmt.domain.archives import ArchiveKind, ArchiveUse
from wfmgmt.domain.audit import AuditAction, AuditOutcome
from wfmgmt.domain.operations import OperationError, OperationState
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.registry.registry import Registry

ALL = tuple(WorkflowStatus)


def listed(registry: Registry, **patterns: Any) -> list[tuple[str, str]]:
    """Return name and status of what is listed."""
    with registry.read() as reader:
        return [(each.name, each.status.value) for each in reader.listed(ALL, **patterns)]


def test_workflows_are_found_by_the_names_of_their_nodes(registry: Registry) -> None:
    """Also those of a registration once they are claimed; names of nodes have characters of any language."""
    register(registry, "a", "b")
    names = ("Übersetzer 1", "übersetzer")
    nodes = tuple(make_node(name, model_file="m.mar") for name in names)
    new = make_workflow("c", nodes=nodes, edges=(names,))
    with registry.write() as writer:
        writer.operations.begin(make_operation("waiting", key=None), "lease")
        writer.operations.begin(make_operation("c", key=None), "lease")
        writer.claim_name(new)
    assert listed(registry, node_name="m1") == [("a", "ready"), ("b", "ready")]
    assert listed(registry, node_name="m1", name="b*") == [("b", "ready")]
    assert listed(registry, node_name="p*") == [("a", "ready"), ("b", "ready")]
    assert listed(registry, node_name="Über*") == [("c", "registering")]
    for nothing in ("m", "Übersetzer", "m1 ", "%", "über_*"):
        assert listed(registry, node_name=nothing) == [], nothing
    assert [name for name, _ in listed(registry, node_name="*")] == ["a", "b", "c"]
    with registry.write() as writer:
        assert writer.mark_ready(new.uid)
    assert sorted(listed(registry, node_name="übersetzer")) == [("c", "ready"), ("c", "registering")]


def record(registry: Registry, *events: Any) -> None:
    """Record events in the audit trail, each in a transaction of its own."""
    for event in events:
        with registry.write() as writer:
            writer.record(event)


def test_drift_stands_until_it_is_repaired(registry: Registry) -> None:
    """What was found last counts, and only of that workflow."""
    register(registry, "seq", "other")
    found = make_event(
        action=AuditAction.RECONCILE, outcome=AuditOutcome.FAILED, detail={"server": "http://t", "found": "missing"}
    )
    repaired = replace(found, outcome=AuditOutcome.SUCCEEDED)

    def standing(name: str = "seq") -> Any:
        with registry.read() as reader:
            drift = reader.standing_drift(name)
        return drift if drift is None else (drift.actor, drift.action, drift.detail)

    assert standing() is None
    record(registry, found)
    assert standing() == ("anonymous", "reconcile", {"server": "http://t", "found": "missing"})
    record(registry, make_event(action=AuditAction.SCALE))
    assert standing() is not None, "another change repairs nothing"
    record(registry, replace(repaired, workflow="other"))
    assert standing() is not None
    assert standing("other") is None
    record(registry, repaired)
    assert standing() is None
    record(registry, replace(found, detail={"server": "http://u", "found": "other"}))
    assert standing() == ("anonymous", "reconcile", {"server": "http://u", "found": "other"})


def test_explanation_finds_the_last_change_and_operations(registry: Registry) -> None:
    """A change that was refused is none."""
    register(registry, "seq")
    record(registry, make_event(action=AuditAction.SCALE), make_event(outcome=AuditOutcome.FAILED))
    new = make_operation("seq", key=None)
    error = OperationError(type="InvalidArchive", message="no manifest")
    with registry.write() as writer:
        writer.operations.begin(new, "lease")
        writer.operations.end(new.uid, OperationState.FAILED, error=error)
    with registry.read() as reader:
        change = reader.last_change("seq")
        assert change is not None
        assert (change.action, change.detail) == ("scale", {"archive_sha256": "a" * 64})
        (operation,) = reader.operations.page(limit=20, workflow="seq")
        assert (operation.error, operation.ended_at is None) == (error, False)
        assert reader.last_change("other") is None


def test_archives_have_their_users(registry: Registry) -> None:
    """Versions with their nodes, and registrations that wait."""
    register(registry, "a")
    with registry.write() as writer:
        writer.operations.begin(make_operation("late", key=None), "lease")
    with registry.read() as reader:
        uses = reader.archive_uses(ArchiveKind.WORKFLOW, ["a.war", "late.war", "no.war"])
        assert uses == {
            "a.war": [ArchiveUse("a", "1.0", None)],
            "late.war": [ArchiveUse("late", "1.0", None)],
            "no.war": [],
        }
        assert reader.users_of(ArchiveKind.MODEL, "m1.mar") == [ArchiveUse("a", "1.0", "m1")]
