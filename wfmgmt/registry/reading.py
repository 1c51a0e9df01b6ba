"""Queries over the registry; each sees a single consistent state."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, literal, select, union

from wfmgmt.domain.changes import Changes, RegistrySlice
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.domain.workflow import SETTINGS, LoadRequest, Node, NodeKind, NodeSettings
from wfmgmt.registry.records import (
    Claim,
    Page,
    RegisteredArchive,
    WorkflowDetail,
    WorkflowKey,
)
from wfmgmt.registry.tables import audit_event, edge, node, removal, revision_counter, workflow

#: Revisions, at most, during which a removal is remembered; who is further behind has to compare everything.
MAX_REMOVALS = 10_000
_READY = WorkflowStatus.READY.value
#: Many are read at a time, and the look-up in the enumeration is slow.
_STATUSES = {status.value: status for status in WorkflowStatus}

# Statements are built once: SQLAlchemy then finds them in its cache without walking them again.
_PAGE = (
    select(workflow.c.name, workflow.c.url)
    .where(workflow.c.status == _READY)
    .order_by(workflow.c.name)
    .limit(bindparam("rows"))
)
_PAGE_BY_OFFSET = _PAGE.offset(bindparam("skip"))
_PAGE_BY_NAME = _PAGE.where(workflow.c.name > bindparam("after"))
_KEY = select(workflow.c.uid, workflow.c.revision).where(
    workflow.c.name == bindparam("name"), workflow.c.status == _READY
)
_DESCRIBED = select(workflow).where(workflow.c.name == bindparam("name"), workflow.c.status == _READY)
_NODES = select(node).where(node.c.workflow_id == bindparam("workflow_id")).order_by(node.c.position)
_STATUS = select(workflow.c.status).where(workflow.c.name == bindparam("name"))
_REVISION = select(revision_counter.c.last)
_CHANGED = select(workflow.c.uid, workflow.c.status).where(workflow.c.revision > bindparam("since"))
_REMOVED = select(removal.c.uid).where(removal.c.revision > bindparam("since"))
_UIDS = select(workflow.c.uid)
_SLICE = (
    select(workflow.c.id, workflow.c.uid, workflow.c.status)
    .where(workflow.c.id > bindparam("after"))
    .order_by(workflow.c.id)
    .limit(bindparam("rows"))
)
_LAST_EVENT = (
    select(audit_event.c.at, audit_event.c.detail)
    .where(audit_event.c.workflow == bindparam("name"), audit_event.c.outcome == "succeeded")
    .order_by(audit_event.c.id.desc())
    .limit(1)
)


def _settings(row: Row[Any]) -> NodeSettings:
    return NodeSettings(**{setting.field: getattr(row, setting.field) for setting in SETTINGS})


def _node(row: Row[Any]) -> Node:
    return Node(
        name=row.name,
        kind=NodeKind(row.kind),
        model_url=row.model_url,
        model_file=row.model_file,
        model_downloaded=bool(row.model_downloaded),
        model_sha256=row.model_sha256,
        settings=_settings(row),
    )


class Reader:
    """The queries of one transaction; made by `Registry.read` and valid only inside it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def page(self, *, limit: int, offset: int) -> Page:
        """Return one page of ready workflows in name order.

        Args:
            limit: Workflows wanted, >= 1.
            offset: Workflows to skip from the start of the order, >= 0.

        Source:
            TorchServe 0.12.0, workflow management API, "List workflows".
        """
        return self._page(_PAGE_BY_OFFSET, limit, skip=offset)

    def page_after(self, name: str, *, limit: int) -> Page:
        """Return the ready workflows whose names follow `name`, which need not exist."""
        return self._page(_PAGE_BY_NAME, limit, after=name)

    def _page(self, statement: Select[Any], limit: int, **parameters: object) -> Page:
        rows = self._connection.execute(statement, {"rows": limit + 1, **parameters}).all()
        return Page(workflows=tuple([(name, url) for name, url in rows[:limit]]), more=len(rows) > limit)

    def uid(self, name: str) -> str | None:
        """Return which registration of that name is ready, None when there is none."""
        key = self.key(name)
        return None if key is None else key.uid

    def key(self, name: str) -> WorkflowKey | None:
        """Return which registration of that name is ready, in which revision; None when there is none."""
        row = self._connection.execute(_KEY, {"name": name}).one_or_none()
        return None if row is None else WorkflowKey(*row)

    def describe(self, name: str) -> WorkflowDetail | None:
        """Return all that an answer to describe shows, None when no ready workflow has the name."""
        row = self._connection.execute(_DESCRIBED, {"name": name}).one_or_none()
        if row is None:
            return None
        nodes = self._connection.execute(_NODES, {"workflow_id": row.id}).all()
        return WorkflowDetail(
            key=WorkflowKey(row.uid, row.revision),
            name=row.name,
            url=row.url,
            dag=row.dag,
            archive_sha256=row.archive_sha256,
            registered_at=row.registered_at,
            defaults=_settings(row),
            nodes=tuple(map(_node, nodes)),
        )

    def status(self, name: str) -> WorkflowStatus | None:
        """Return where the workflow stands, None when the name is free."""
        status = self._connection.execute(_STATUS, {"name": name}).scalar()
        return None if status is None else WorkflowStatus(status)

    def last_change(self, name: str) -> tuple[str, Mapping[str, Any]]:
        """Return time and detail of the last change of that name in the audit trail; both empty without one."""
        row = self._connection.execute(_LAST_EVENT, {"name": name}).one_or_none()
        return ("", {}) if row is None else (row.at, json.loads(row.detail))

    def counts(self) -> dict[WorkflowStatus, int]:
        """Return how many workflows stand where."""
        rows = self._connection.execute(select(workflow.c.status, func.count()).group_by(workflow.c.status))
        return {**dict.fromkeys(WorkflowStatus, 0), **{WorkflowStatus(status): count for status, count in rows}}

    def claims(self) -> list[Claim]:
        """Return every workflow that is not ready, oldest first."""
        rows = self._connection.execute(select(workflow).where(workflow.c.status != _READY).order_by(workflow.c.id))
        return [self._claim(row) for row in rows.all()]

    def claim(self, uid: str) -> Claim | None:
        """Return one workflow of any status with its downloads; None when it is gone."""
        row = self._connection.execute(select(workflow).where(workflow.c.uid == uid)).one_or_none()
        return None if row is None else self._claim(row)

    def _claim(self, row: Row[Any]) -> Claim:
        files = [("workflow", row.archive_file)] if row.archive_downloaded else []
        models = self._connection.execute(_NODES, {"workflow_id": row.id}).all()
        files += [("model", each.model_file) for each in models if each.model_downloaded]
        return Claim(
            uid=row.uid,
            name=row.name,
            status=WorkflowStatus(row.status),
            lease=row.lease or "",
            archive_sha256=row.archive_sha256,
            downloads=tuple(dict.fromkeys(files)),
        )

    def archives(self) -> list[RegisteredArchive]:
        """Return the archives of all ready workflows, each once."""
        ready = workflow.c.status == _READY
        rows = self._connection.execute(
            union(
                select(literal("workflow").label("store"), workflow.c.archive_file, workflow.c.archive_sha256).where(
                    ready
                ),
                select(literal("model"), node.c.model_file, node.c.model_sha256)
                .join(workflow)
                .where(ready, node.c.model_file.is_not(None)),
            )
        )
        return [RegisteredArchive(*row) for row in rows]

    def is_file_used(self, store: str, file: str, *, except_uid: str = "") -> bool:
        """Return whether a workflow other than `except_uid` needs that file of the `workflow` or `model` store.

        One that is being unregistered does not: its removal may have deleted its file already, and another
        download may have got the name. If it counted, each of the two could leave the file to the other.
        """
        if store == "workflow":
            users = select(workflow.c.id).where(workflow.c.archive_file == file)
        else:
            users = select(workflow.c.id).join(node).where(node.c.model_file == file)
        needed = users.where(workflow.c.uid != except_uid, workflow.c.status != WorkflowStatus.UNREGISTERING.value)
        return self._connection.execute(needed.limit(1)).first() is not None

    def uids(self) -> set[str]:
        """Return every registration, finished or not."""
        return set(self._connection.execute(_UIDS).scalars())

    def changes(self, since: int) -> Changes:
        """Return what changed after a revision."""
        revision: int = self._connection.execute(_REVISION).scalar_one()
        has_gap = not revision - MAX_REMOVALS <= since <= revision
        if has_gap or revision == since:
            return Changes(revision=revision, statuses={}, removed=(), has_gap=has_gap)
        changed = self._connection.execute(_CHANGED, {"since": since})
        removed = self._connection.execute(_REMOVED, {"since": since})
        return Changes(
            revision=revision,
            statuses={uid: WorkflowStatus(status) for uid, status in changed},
            removed=tuple(removed.scalars()),
        )

    def slice_after(self, last: int, *, limit: int) -> RegistrySlice:
        """Return the registrations that follow where another slice ended, the first ones after 0.

        One that is there while all slices are read, one after another, is in exactly one of them.
        """
        rows = self._connection.execute(_SLICE, {"after": last, "rows": limit}).all()
        return RegistrySlice(
            statuses={uid: _STATUSES[status] for _, uid, status in rows},
            last=rows[-1].id if len(rows) == limit else None,
        )

    def load_requests(self, uids: Iterator[str] | list[str]) -> Iterator[LoadRequest]:
        """Yield what the runtime needs to load each of these ready workflows; those that are gone are left out."""
        for uid in uids:
            row = self._connection.execute(
                select(workflow).where(workflow.c.uid == uid, workflow.c.status == _READY)
            ).one_or_none()
            if row is not None:
                yield self._load_request(row)

    def _load_request(self, row: Row[Any]) -> LoadRequest:
        nodes = self._connection.execute(_NODES, {"workflow_id": row.id}).all()
        names = {each.id: each.name for each in nodes}
        edges = self._connection.execute(
            select(edge.c.source_id, edge.c.target_id).where(edge.c.workflow_id == row.id).order_by(edge.c.position)
        )
        return LoadRequest(
            uid=row.uid,
            workflow=row.name,
            archive_file=row.archive_file,
            archive_sha256=row.archive_sha256,
            handler=row.handler,
            startup_timeout_s=row.startup_timeout_s,
            response_timeout_s=row.response_timeout_s,
            nodes=tuple(map(_node, nodes)),
            edges=tuple((names[source], names[target]) for source, target in edges),
        )
