"""The one place that makes releases: for operators, for guards, and for the steps of rollouts.

It knows the registry and the domain only, so that the runtime can use it, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome, Origin
from wfmgmt.domain.releases import Release, ReleaseKind, RoutingTable
from wfmgmt.domain.traffic import table_json
from wfmgmt.errors import WorkflowNotFound
from wfmgmt.registry.writing import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """A release that was made, or need not be.

    Attributes:
        name: Of the workflow.
        release: Its current release.
        revision: Its revision.
        is_changed: Whether the release is new; the table that is wanted may have held already.
    """

    name: str
    release: Release
    revision: int
    is_changed: bool


def make_release(
    writer: Writer,
    name: str,
    table: RoutingTable,
    *,
    kind: ReleaseKind,
    origin: Origin,
    reason: str = "",
    previous: int | None = None,
    detail: Mapping[str, Any] | None = None,
    operation: str = "",
) -> Released:
    """Put a routing table in force, unless it is already: release, revision and audit event, in one transaction.

    Args:
        writer: The transaction.
        name: Of a workflow of which all versions that the table names are ready.
        table: With at least one route.
        kind: What makes the release.
        origin: Who makes it.
        reason: Why; empty when not given.
        previous: For a rollback, the number of the release before the one that it repeats.
        detail: More for the audit event.
        operation: The operation that makes it; empty when none does.

    Raises:
        WorkflowNotFound: No ready workflow has the name.
    """
    before = writer.release(name)
    if before is None:
        raise WorkflowNotFound(name)
    if before.table == table:
        return Released(name=name, release=before, revision=writer.revision(name) or 0, is_changed=False)
    made = writer.add_release(name, table, kind=kind, actor=origin.actor, reason=reason, previous=previous)
    facts = {"release": made.number, "before": table_json(before.table), "after": table_json(table)}
    writer.record(
        AuditEvent(
            origin=origin,
            action=AuditAction(kind.value),
            workflow=name,
            outcome=AuditOutcome.SUCCEEDED,
            detail={**facts, **({"reason": reason} if reason else {}), **(detail or {})},
            operation=operation,
        )
    )
    return Released(name=name, release=made, revision=writer.revision(name) or 0, is_changed=True)
