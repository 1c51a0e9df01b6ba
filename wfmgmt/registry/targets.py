"""Queries for those who follow the registry: what changed, and what has to run."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from wfmgmt.domain.changes import Changes, RegistrySlice
from wfmgmt.domain.releases import WorkflowTarget
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.domain.workflow import SETTINGS, LoadRequest, Node, NodeKind, NodeSettings
from wfmgmt.registry import releases
from wfmgmt.registry.tables import change_counter, edge, node, node_override, removal, workflow, workflow_version

#: Changes, at most, during which a removal is remembered; who is further behind has to compare everything.
MAX_REMOVALS = 10_000
#: Rows that one statement names, at most.
_MAX_NAMED = 500
READY = WorkflowStatus.READY.value
#: Many are read at a time, and the look-up in the enumeration is slow.
_STATUSES = {status.value: status for status in WorkflowStatus}

REGISTRATIONS = select(workflow_version, workflow.c.name).join(
    workflow, workflow.c.id == workflow_version.c.workflow_id
)
NODES = select(node).where(node.c.version_id == bindparam("version_id")).order_by(node.c.position)
_EDGES = (
    select(edge.c.source_id, edge.c.target_id)
    .where(edge.c.version_id == bindparam("version_id"))
    .order_by(edge.c.position)
)
_OVERRIDES = (
    select(node_override.c.node_id, node_override.c.setting, node_override.c.value)
    .join(node)
    .where(node.c.version_id == bindparam("version_id"))
)
_LAST_CHANGE = select(change_counter.c.last)
_CHANGED = select(workflow.c.uid).where(workflow.c.change > bindparam("since"))
_REMOVED = select(removal.c.uid).where(removal.c.change > bindparam("since"))
_SLICE = (
    select(workflow.c.id, workflow.c.uid, workflow.c.change)
    .where(workflow.c.id > bindparam("after"))
    .order_by(workflow.c.id)
    .limit(bindparam("rows"))
)


def settings_of(row: Row[Any]) -> NodeSettings:
    """Return the worker settings in a row of a version or a node."""
    return NodeSettings(**{setting.field: getattr(row, setting.field) for setting in SETTINGS})


def _node(row: Row[Any], overrides: Mapping[str, int]) -> Node:
    return Node(
        name=row.name,
        kind=NodeKind(row.kind),
        model_url=row.model_url,
        model_file=row.model_file,
        model_downloaded=bool(row.model_downloaded),
        model_sha256=row.model_sha256,
        settings=replace(settings_of(row), **overrides),
        overridden=tuple(setting.field for setting in SETTINGS if setting.field in overrides),
        threads=row.threads,
    )


class TargetReader:
    """Queries over what has to run, in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def last_change_number(self) -> int:
        """Return the number of the last change."""
        number: int = self._connection.execute(_LAST_CHANGE).scalar_one()
        return number

    def changes(self, since: int) -> Changes:
        """Return which workflows changed after a change of the registry."""
        number: int = self._connection.execute(_LAST_CHANGE).scalar_one()
        has_gap = not number - MAX_REMOVALS <= since <= number
        if has_gap or number == since:
            return Changes(number=number, workflows=(), removed=(), has_gap=has_gap)
        changed = self._connection.execute(_CHANGED, {"since": since}).scalars()
        removed = self._connection.execute(_REMOVED, {"since": since}).scalars()
        return Changes(number=number, workflows=tuple(changed), removed=tuple(removed))

    def slice_after(self, last: int, *, limit: int) -> RegistrySlice:
        """Return the workflows that follow where another slice ended, the first ones after 0.

        One that is there while all slices are read, one after another, is in exactly one of them.
        """
        rows = self._connection.execute(_SLICE, {"after": last, "rows": limit}).all()
        return RegistrySlice(
            changes={uid: change for _, uid, change in rows}, last=rows[-1].id if len(rows) == limit else None
        )

    def targets(self, uids: Sequence[str]) -> list[WorkflowTarget]:
        """Return what a runtime has to do for each of these workflows; those that are gone are left out."""
        return [
            target for start in range(0, len(uids), _MAX_NAMED) for target in self._targets(uids[start:][:_MAX_NAMED])
        ]

    def _targets(self, uids: Sequence[str]) -> Iterator[WorkflowTarget]:
        workflows = self._connection.execute(select(workflow).where(workflow.c.uid.in_(uids))).all()
        versions: dict[int, list[Row[Any, Any, Any, Any]]] = defaultdict(list)
        registrations = select(
            *(
                workflow_version.c.workflow_id,
                workflow_version.c.uid,
                workflow_version.c.version,
                workflow_version.c.status,
            )
        ).order_by(workflow_version.c.id)
        ids = [row.id for row in workflows]
        for row in self._connection.execute(registrations.where(workflow_version.c.workflow_id.in_(ids))):
            versions[row.workflow_id].append(row)
        current = releases.by_ids(self._connection, [row.release_id for row in workflows if row.release_id is not None])
        for row in workflows:
            yield WorkflowTarget(
                uid=row.uid,
                name=row.name,
                change=row.change,
                revision=row.revision,
                statuses={each.uid: _STATUSES[each.status] for each in versions[row.id]},
                versions={each.version: each.uid for each in versions[row.id] if each.status == READY},
                release=None if row.release_id is None else current[row.release_id],
            )

    def load_requests(self, uids: Iterable[str]) -> Iterator[LoadRequest]:
        """Yield what the runtime needs to load each of these ready versions; those that are gone are left out."""
        for uid in uids:
            row = self._connection.execute(
                REGISTRATIONS.where(workflow_version.c.uid == uid, workflow_version.c.status == READY)
            ).one_or_none()
            if row is not None:
                yield self._load_request(row)

    def _load_request(self, row: Row[Any]) -> LoadRequest:
        nodes, edges = self.graph(row.id)
        return LoadRequest(
            uid=row.uid,
            workflow=row.name,
            version=row.version,
            archive_file=row.archive_file,
            archive_sha256=row.archive_sha256,
            handler=row.handler,
            startup_timeout_s=row.startup_timeout_s,
            response_timeout_s=row.response_timeout_s,
            nodes=nodes,
            edges=edges,
        )

    def spec_settings(self, uid: str) -> dict[str, NodeSettings]:
        """Return the settings that the spec of a version gives its nodes, by their names."""
        rows = self._connection.execute(select(node).join(workflow_version).where(workflow_version.c.uid == uid))
        return {row.name: settings_of(row) for row in rows}

    def all_spec_settings(self, uids: Sequence[str]) -> dict[str, dict[str, NodeSettings]]:
        """Return the same for several versions, by their uids."""
        found: dict[str, dict[str, NodeSettings]] = {uid: {} for uid in uids}
        for start in range(0, len(uids), _MAX_NAMED):
            wanted = select(node, workflow_version.c.uid).join(workflow_version)
            for row in self._connection.execute(wanted.where(workflow_version.c.uid.in_(uids[start:][:_MAX_NAMED]))):
                found[row.uid][row.name] = settings_of(row)
        return found

    def graph(self, version_id: int) -> tuple[tuple[Node, ...], tuple[tuple[str, str], ...]]:
        """Return nodes and edges of a version."""
        overrides: dict[int, dict[str, int]] = defaultdict(dict)
        for node_id, setting, value in self._connection.execute(_OVERRIDES, {"version_id": version_id}):
            overrides[node_id][setting] = value
        rows = self._connection.execute(NODES, {"version_id": version_id}).all()
        names = {row.id: row.name for row in rows}
        edges = self._connection.execute(_EDGES, {"version_id": version_id})
        return (
            tuple(_node(row, overrides[row.id]) for row in rows),
            tuple((names[source], names[target]) for source, target in edges),
        )
