"""The list of workflows in all their states: those that serve, and what is being registered and unregistered."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Text, func, literal, select, union_all

from wfmgmt.domain.access import EVERYTHING, Scope
from wfmgmt.domain.operations import UNFINISHED, OperationKind
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.registry.records import ListedVersion
from wfmgmt.registry.scopes import within
from wfmgmt.registry.tables import node, operation, workflow, workflow_version

#: Follows every character that a name may have.
_LAST = "\x7f"
_ROWS_AT_ONCE = 1000
_VERSIONS = select(
    workflow.c.name.label("name"),
    workflow_version.c.url,
    workflow_version.c.version,
    workflow_version.c.uid,
    workflow_version.c.status,
).select_from(workflow)
_PARTS: Mapping[WorkflowStatus, tuple[Select[Any], ColumnElement[str]]] = {
    WorkflowStatus.READY: (
        _VERSIONS.join(workflow_version, workflow_version.c.id == workflow.c.default_version_id),
        workflow.c.name,
    ),
    WorkflowStatus.REGISTERING: (
        select(
            operation.c.workflow.label("name"),
            operation.c.url,
            operation.c.version,
            operation.c.uid,
            literal(WorkflowStatus.REGISTERING, Text),
        ).where(operation.c.state.in_(UNFINISHED), operation.c.kind == OperationKind.REGISTER),
        operation.c.workflow,
    ),
    WorkflowStatus.UNREGISTERING: (
        _VERSIONS.join(workflow_version, workflow_version.c.workflow_id == workflow.c.id).where(
            workflow_version.c.status == WorkflowStatus.UNREGISTERING
        ),
        workflow.c.name,
    ),
}


def listed_versions(
    connection: Connection,
    statuses: Collection[WorkflowStatus],
    *,
    name: str = "",
    node_name: str = "",
    scope: Scope = EVERYTHING,
) -> Iterator[ListedVersion]:
    """Yield the versions in these statuses in the order of their workflows' names; of ready ones the default versions.

    Args:
        connection: In a transaction, in which all of them are read.
        statuses: One at least.
        name: Name of a workflow, or the beginning of names with a `*` behind it; empty for all.
        node_name: The same of a node that they have. A registration has none before its archive was read.
        scope: Of those that exist.
    """
    parts = []
    for status in statuses:
        part, column = _PARTS[status]
        part = _with_node(_named(part, column, name), status, node_name)
        parts.append(part.where(*within(connection, column, scope)))
    statement = union_all(*parts).order_by("name", "version")
    rows = connection.execute(statement, execution_options={"yield_per": _ROWS_AT_ONCE})
    for workflow_name, url, version, uid, status in rows:
        yield ListedVersion(workflow_name, url, version, uid, WorkflowStatus(status))


def _named(part: Select[Any], name: ColumnElement[str], pattern: str) -> Select[Any]:
    if not pattern:
        return part
    prefix, star, _ = pattern.partition("*")
    if not star:
        return part.where(name == prefix)
    return part.where(name >= prefix, name <= prefix + _LAST)  # PostgreSQL takes no collation within BETWEEN.


def _with_node(part: Select[Any], status: WorkflowStatus, pattern: str) -> Select[Any]:
    """Keep the versions with such a node. Names of nodes sort by the database's language, so no range finds them."""
    if not pattern:
        return part
    prefix, star, _ = pattern.partition("*")
    begins = func.substr(node.c.name, 1, len(prefix)) == prefix
    nodes = select(node.c.id).where(begins if star else node.c.name == prefix)
    if status is not WorkflowStatus.REGISTERING:
        return part.where(nodes.where(node.c.version_id == workflow_version.c.id).exists())
    claimed = (
        nodes.join(workflow_version, workflow_version.c.id == node.c.version_id)
        .join(workflow, workflow.c.id == workflow_version.c.workflow_id)
        .where(workflow.c.name == operation.c.workflow, workflow_version.c.version == operation.c.version)
    )
    return part.where(claimed.correlate(operation).exists())
