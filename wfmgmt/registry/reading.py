"""Queries over the registry; each sees a single consistent state."""

import json
from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import BindParameter, Row, Select, bindparam, func, literal, null, select, union

from wfmgmt.domain.access import EVERYTHING, Scope
from wfmgmt.domain.archives import ArchiveKind, ArchiveUse
from wfmgmt.domain.audit import AuditAction, AuditOutcome
from wfmgmt.domain.operations import UNFINISHED, OperationKind
from wfmgmt.domain.releases import Release, WorkflowTarget
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.registry import releases
from wfmgmt.registry.audit_reading import EventReader
from wfmgmt.registry.declarations import DeclarationReader
from wfmgmt.registry.operations import OperationReader
from wfmgmt.registry.overview import listed_versions
from wfmgmt.registry.records import (
    Claim,
    LastChange,
    ListedVersion,
    Page,
    RegisteredArchive,
    WorkflowDetail,
    WorkflowKey,
)
from wfmgmt.registry.scopes import within
from wfmgmt.registry.segments import SegmentReader
from wfmgmt.registry.tables import audit_event, installation, node, operation, workflow, workflow_version
from wfmgmt.registry.targets import NODES, READY, REGISTRATIONS, TargetReader, settings_of
from wfmgmt.registry.tokens import TokenReader

# Statements are built once: SQLAlchemy then finds them in its cache without walking them again.
_LISTED = (
    select(workflow.c.name, workflow.c.default_version_id)
    .where(workflow.c.default_version_id.is_not(None))
    .order_by(workflow.c.name)
    .limit(bindparam("rows"))
)


def _with_urls(listed: Select[Any]) -> Select[Any]:
    """Return a page's statement; the page is cut first, so that versions are looked up for its own rows only."""
    page = listed.subquery()
    return (
        select(page.c.name, workflow_version.c.url)
        .join(workflow_version, workflow_version.c.id == page.c.default_version_id)
        .order_by(page.c.name)
    )


_LISTED_BY_OFFSET = _LISTED.offset(bindparam("skip"))
_LISTED_BY_NAME = _LISTED.where(workflow.c.name > bindparam("after"))
_PAGES = {listed: _with_urls(listed) for listed in (_LISTED_BY_OFFSET, _LISTED_BY_NAME)}
_DEFAULT = workflow_version.c.id == workflow.c.default_version_id
_NAMED = (workflow.c.name == bindparam("name"), workflow_version.c.status == READY)
_KEYS = select(workflow_version.c.uid, workflow.c.revision, workflow.c.change).select_from(workflow).where(*_NAMED)
_KEY = _KEYS.join(workflow_version, _DEFAULT)
_VERSIONS = _KEYS.join(workflow_version, workflow_version.c.workflow_id == workflow.c.id)
_KEY_OF_VERSION = _VERSIONS.where(workflow_version.c.version == bindparam("version"))
_DESCRIBED = (
    select(
        workflow_version,
        workflow.c.name,
        workflow.c.uid.label("workflow_uid"),
        workflow.c.revision,
        workflow.c.change,
        workflow.c.release_id,
        workflow.c.default_version_id,
    )
    .join(workflow, workflow.c.id == workflow_version.c.workflow_id)
    .where(workflow_version.c.uid == bindparam("uid"), workflow_version.c.status == READY)
)
_STATUS = (
    select(workflow_version.c.status)
    .join(workflow, workflow.c.id == workflow_version.c.workflow_id)
    .where(workflow.c.name == bindparam("name"))
)
_REVISION = select(workflow.c.revision).where(
    workflow.c.name == bindparam("name"), workflow.c.default_version_id.is_not(None)
)
_DIGESTS = union(
    select(workflow_version.c.archive_sha256), select(node.c.model_sha256).where(node.c.model_sha256.is_not(None))
)
_UIDS = select(workflow_version.c.uid)
_UIDS_OF_WORKFLOWS = select(workflow.c.uid).where(workflow.c.name.in_(bindparam("names", expanding=True)))
_FILES: BindParameter[Any] = bindparam("files", expanding=True)
#: Versions that have certain files, which the caller bounds to fewer than a statement can have parameters.
_USES = {
    ArchiveKind.WORKFLOW: select(
        workflow_version.c.archive_file.label("file"), workflow.c.name, workflow_version.c.version, null().label("node")
    )
    .join(workflow, workflow.c.id == workflow_version.c.workflow_id)
    .where(workflow_version.c.archive_file.in_(_FILES))
    .order_by(workflow.c.name, workflow_version.c.id),
    ArchiveKind.MODEL: select(
        node.c.model_file.label("file"), workflow.c.name, workflow_version.c.version, node.c.name.label("node")
    )
    .select_from(node)
    .join(workflow_version, workflow_version.c.id == node.c.version_id)
    .join(workflow, workflow.c.id == workflow_version.c.workflow_id)
    .where(node.c.model_file.in_(_FILES))
    .order_by(workflow.c.name, workflow_version.c.id, node.c.position),
}
_WANTED = select(operation.c.url, operation.c.workflow, operation.c.version).where(
    operation.c.kind == OperationKind.REGISTER, operation.c.state.in_(UNFINISHED), operation.c.url.in_(_FILES)
)
_LAST_EVENT = (
    select(audit_event.c.at, audit_event.c.actor, audit_event.c.action, audit_event.c.detail)
    .where(audit_event.c.workflow == bindparam("name"), audit_event.c.outcome == "succeeded")
    .order_by(audit_event.c.id.desc())
    .limit(1)
)

_LAST_DRIFT = (
    select(audit_event.c.at, audit_event.c.actor, audit_event.c.action, audit_event.c.detail, audit_event.c.outcome)
    .where(audit_event.c.workflow == bindparam("name"), audit_event.c.action == AuditAction.RECONCILE.value)
    .order_by(audit_event.c.id.desc())
    .limit(1)
)


class Reader(TargetReader):
    """The queries of one transaction; made by `Registry.read` and valid only inside it."""

    @property
    def operations(self) -> OperationReader:
        """The operations."""
        return OperationReader(self._connection)

    @property
    def events(self) -> EventReader:
        """The audit trail."""
        return EventReader(self._connection)

    def known_identity(self) -> str | None:
        """Return the identity of this installation, None when it has none yet."""
        return self._connection.execute(select(installation.c.identity)).scalar_one_or_none()

    @property
    def segments(self) -> SegmentReader:
        """What was archived of the audit trail."""
        return SegmentReader(self._connection)

    @property
    def declarations(self) -> DeclarationReader:
        """What files declare."""
        return DeclarationReader(self._connection)

    @property
    def tokens(self) -> TokenReader:
        """The tokens."""
        return TokenReader(self._connection)

    def page(self, *, limit: int, offset: int, scope: Scope = EVERYTHING) -> Page:
        """Return one page of ready workflows in name order.

        Args:
            limit: Workflows wanted, >= 1.
            offset: Workflows to skip from the start of the order, >= 0.
            scope: Of those that exist.

        Source:
            TorchServe 0.12.0, workflow management API, "List workflows".
        """
        return self._page(_LISTED_BY_OFFSET, limit, scope, skip=offset)

    def page_after(self, name: str, *, limit: int, scope: Scope = EVERYTHING) -> Page:
        """Return the ready workflows whose names follow `name`, which need not exist."""
        return self._page(_LISTED_BY_NAME, limit, scope, after=name)

    def _page(self, listed: Select[Any], limit: int, scope: Scope, **parameters: object) -> Page:
        narrowed = within(self._connection, workflow.c.name, scope)
        statement = _with_urls(listed.where(*narrowed)) if narrowed else _PAGES[listed]
        rows = self._connection.execute(statement, {"rows": limit + 1, **parameters}).all()
        return Page(workflows=tuple([(name, url) for name, url in rows[:limit]]), more=len(rows) > limit)

    def listed(
        self,
        statuses: Collection[WorkflowStatus],
        *,
        name: str = "",
        node_name: str = "",
        scope: Scope = EVERYTHING,
    ) -> Iterator[ListedVersion]:
        """Yield versions in these statuses in the order of names, as `listed_versions` does."""
        return listed_versions(self._connection, statuses, name=name, node_name=node_name, scope=scope)

    def uid(self, name: str) -> str | None:
        """Return the registration of the default version of that name, None when nothing of it is ready."""
        key = self.key(name)
        return None if key is None else key.uid

    def key(self, name: str, version: str | None = None) -> WorkflowKey | None:
        """Return the key of a version that is ready, of the default one unless given; None when there is none."""
        if version is None:
            row = self._connection.execute(_KEY, {"name": name}).one_or_none()
        else:
            row = self._connection.execute(_KEY_OF_VERSION, {"name": name, "version": version}).one_or_none()
        return None if row is None else WorkflowKey(*row)

    def keys(self, name: str) -> list[WorkflowKey]:
        """Return the keys of all versions of a workflow that are ready, in the order of their registration."""
        rows = self._connection.execute(_VERSIONS.order_by(workflow_version.c.id), {"name": name})
        return [WorkflowKey(*row) for row in rows]

    def revision(self, name: str) -> int | None:
        """Return how many changes a workflow has had, None when nothing of it is ready."""
        revision: int | None = self._connection.execute(_REVISION, {"name": name}).scalar()
        return revision

    def describe(self, name: str, version: str | None = None) -> WorkflowDetail | None:
        """Return a version that is ready, the default one unless given; None when there is none."""
        key = self.key(name, version)
        return None if key is None else self.detail(key)

    def detail(self, key: WorkflowKey) -> WorkflowDetail | None:
        """Return all that an answer to describe shows of a version, None when it is not ready any more."""
        row = self._connection.execute(_DESCRIBED, {"uid": key.uid}).one_or_none()
        if row is None or row.release_id is None:
            return None
        nodes, edges = self.graph(row.id)
        return WorkflowDetail(
            key=WorkflowKey(row.uid, row.revision, row.change),
            workflow_uid=row.workflow_uid,
            name=row.name,
            version=row.version,
            is_default=row.default_version_id == row.id,
            release=releases.current(self._connection, row.release_id),
            url=row.url,
            dag=row.dag,
            archive=RegisteredArchive("workflow", row.archive_file, row.archive_sha256),
            registered_at=row.registered_at,
            defaults=settings_of(row),
            nodes=nodes,
            edges=edges,
        )

    def release(self, name: str, number: int | None = None) -> Release | None:
        """Return a release of a ready workflow, its current one unless given; None when there is none."""
        row = self._pointers(name)
        if row is None:
            return None
        if number is None:
            return releases.current(self._connection, row.release_id)
        return releases.numbered(self._connection, row.uid, number)

    def releases(self, name: str, *, limit: int, before: int | None = None) -> list[Release]:
        """Return releases of a ready workflow, the newest first, those below a number if given."""
        row = self._pointers(name)
        return [] if row is None else releases.page(self._connection, row.uid, limit=limit, before=before)

    def released_uids(self, name: str, number: int) -> dict[str, str]:
        """Return which registration each version that a release names was; nothing without that release."""
        row = self._pointers(name)
        return {} if row is None else releases.uids(self._connection, row.uid, number)

    def repeatable_release(self, name: str, before: int) -> int | None:
        """Return the newest release before a number of which every version is still registered; None without one."""
        row = self._pointers(name)
        return None if row is None else releases.repeatable(self._connection, row.uid, before)

    def target(self, name: str) -> WorkflowTarget | None:
        """Return versions and current release of a ready workflow, None when there is none of that name."""
        row = self._pointers(name)
        return None if row is None else self.targets([row.uid])[0]

    def targets_named(self, names: Collection[str]) -> dict[str, WorkflowTarget]:
        """Return the same for several names, which the caller bounds to fewer than a statement can have parameters."""
        uids = self._connection.execute(_UIDS_OF_WORKFLOWS, {"names": list(names)}).scalars().all()
        return {target.name: target for target in self.targets(uids)}

    def _pointers(self, name: str) -> Row[Any] | None:
        """Return the row of a workflow of which something is ready."""
        statement = select(workflow).where(workflow.c.name == name, workflow.c.default_version_id.is_not(None))
        return self._connection.execute(statement).one_or_none()

    def status(self, name: str) -> WorkflowStatus | None:
        """Return how far the furthest version of a workflow is, None when the name is free."""
        found = set(self._connection.execute(_STATUS, {"name": name}).scalars())
        order = (WorkflowStatus.READY, WorkflowStatus.REGISTERING, WorkflowStatus.UNREGISTERING)
        return next((status for status in order if status.value in found), None)

    def last_change(self, name: str) -> LastChange | None:
        """Return the last change of that name in the audit trail, None without one."""
        row = self._connection.execute(_LAST_EVENT, {"name": name}).one_or_none()
        return None if row is None else LastChange(row.at, row.actor, row.action, json.loads(row.detail))

    def standing_drift(self, name: str) -> LastChange | None:
        """Return how a model server was last found to differ about a workflow; None unless it could not be repaired."""
        row = self._connection.execute(_LAST_DRIFT, {"name": name}).one_or_none()
        if row is None or row.outcome == AuditOutcome.SUCCEEDED:
            return None
        return LastChange(row.at, row.actor, row.action, json.loads(row.detail))

    def counts(self) -> dict[WorkflowStatus, int]:
        """Return how many workflows have a version of each status."""
        counted = func.count(workflow_version.c.workflow_id.distinct())
        rows = self._connection.execute(select(workflow_version.c.status, counted).group_by(workflow_version.c.status))
        return {**dict.fromkeys(WorkflowStatus, 0), **{WorkflowStatus(status): count for status, count in rows}}

    def claims(self) -> list[Claim]:
        """Return every version that is not ready, oldest first."""
        unfinished = REGISTRATIONS.where(workflow_version.c.status != READY).order_by(workflow_version.c.id)
        return [self._claim(row) for row in self._connection.execute(unfinished).all()]

    def claim(self, uid: str) -> Claim | None:
        """Return one version of any status with its downloads; None when it is gone."""
        row = self._connection.execute(REGISTRATIONS.where(workflow_version.c.uid == uid)).one_or_none()
        return None if row is None else self._claim(row)

    def _claim(self, row: Row[Any]) -> Claim:
        files = [("workflow", row.archive_file)] if row.archive_downloaded else []
        models = self._connection.execute(NODES, {"version_id": row.id}).all()
        files += [("model", each.model_file) for each in models if each.model_downloaded]
        return Claim(
            uid=row.uid,
            name=row.name,
            version=row.version,
            status=WorkflowStatus(row.status),
            lease=row.lease or "",
            archive_sha256=row.archive_sha256,
            digests=frozenset({row.archive_sha256, *(each.model_sha256 for each in models)} - {None}),
            downloads=tuple(dict.fromkeys(files)),
        )

    def archives(self) -> list[RegisteredArchive]:
        """Return the archives of all ready versions, each once."""
        ready = workflow_version.c.status == READY
        own = (workflow_version.c.archive_file, workflow_version.c.archive_sha256)
        rows = self._connection.execute(
            union(
                select(literal("workflow").label("store"), *own).where(ready),
                select(literal("model"), node.c.model_file, node.c.model_sha256)
                .join(workflow_version)
                .where(ready, node.c.model_file.is_not(None)),
            )
        )
        return [RegisteredArchive(*row) for row in rows]

    def digests(self) -> set[str]:
        """Return the digests of the archives of all versions, finished or not."""
        rows = self._connection.execute(_DIGESTS)
        return set(rows.scalars())

    def is_file_used(self, store: str, file: str, *, except_uid: str = "") -> bool:
        """Return whether a version other than `except_uid` needs that file of the `workflow` or `model` store.

        One that is being unregistered does not: its removal may have deleted its file already, and another
        download may have got the name. If it counted, each of the two could leave the file to the other.
        """
        version = workflow_version.c
        if store == "workflow":
            users = select(version.id).where(version.archive_file == file)
        else:
            users = select(version.id).join(node).where(node.c.model_file == file)
        needed = users.where(version.uid != except_uid, version.status != WorkflowStatus.UNREGISTERING.value)
        return self._connection.execute(needed.limit(1)).first() is not None

    def users_of(self, kind: ArchiveKind, file: str) -> list[ArchiveUse]:
        """Return which versions have that archive, finished or not, in the order of their workflows' names."""
        return self.archive_uses(kind, [file])[file]

    def archive_uses(self, kind: ArchiveKind, files: Collection[str]) -> dict[str, list[ArchiveUse]]:
        """Return the same for several files."""
        uses: dict[str, list[ArchiveUse]] = {file: [] for file in files}
        for row in self._connection.execute(_USES[kind], {"files": list(files)}):
            uses[row.file].append(ArchiveUse(row.name, row.version, row.node))
        if kind is ArchiveKind.WORKFLOW:
            for row in self._connection.execute(_WANTED, {"files": list(files)}):
                wanted = ArchiveUse(row.workflow, row.version, None)
                if wanted not in uses[row.url]:
                    uses[row.url].append(wanted)
        return uses

    def uids(self) -> set[str]:
        """Return every registration, finished or not."""
        return set(self._connection.execute(_UIDS).scalars())
