"""Changes to the registry; each `Registry.write` makes its changes and their audit event together or not at all."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from wfmgmt.domain.access import ANONYMOUS
from wfmgmt.domain.audit import AuditEvent, Receipt
from wfmgmt.domain.releases import Release, ReleaseKind, RoutingTable
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.domain.workflow import Node
from wfmgmt.errors import VersionExists, WorkflowBusy, WorkflowExists
from wfmgmt.registry import audit, releases
from wfmgmt.registry.declarations import DeclarationWriter
from wfmgmt.registry.kept_answers import KeptAnswers
from wfmgmt.registry.operations import OperationWriter
from wfmgmt.registry.reading import Reader
from wfmgmt.registry.records import NewWorkflow
from wfmgmt.registry.segments import SegmentWriter
from wfmgmt.registry.tables import (
    change_counter,
    edge,
    installation,
    node,
    node_override,
    removal,
    workflow,
    workflow_version,
)
from wfmgmt.registry.targets import MAX_REMOVALS
from wfmgmt.registry.tokens import TokenWriter

_NEXT_CHANGE = update(change_counter).values(last=change_counter.c.last + 1).returning(change_counter.c.last)


class Writer(Reader):
    """The changes and queries of one transaction; made by `Registry.write` and valid only inside it.

    Attributes:
        recorded: The audit events that it has appended.
        receipt: That of the last of them; None before.
        receipts: That of the last one of each request, by its id.
    """

    def __init__(self, connection: Connection, now: str) -> None:
        super().__init__(connection)
        self.recorded: list[AuditEvent] = []
        self.receipt: Receipt | None = None
        self.receipts: dict[str, Receipt] = {}
        self._now = now

    def claim_name(self, new: NewWorkflow) -> None:
        """Record the first version of a workflow as `registering`.

        The unique name decides between clients that want the same.

        Raises:
            WorkflowExists: The name is registered.
            WorkflowBusy: The workflow of that name is being registered or unregistered.
        """
        taken = self.status(new.name)
        if taken is WorkflowStatus.UNREGISTERING:
            raise WorkflowBusy(new.name, "being unregistered")
        if taken is WorkflowStatus.REGISTERING:
            raise WorkflowBusy(new.name, "being registered")
        if taken is not None:
            raise WorkflowExists(new.name)
        values = {
            "uid": new.uid,
            "name": new.name,
            "revision": 0,
            "change": self._next_change(),
            "created_at": self._now,
            "updated_at": self._now,
        }
        try:
            inserted = self._connection.execute(insert(workflow).values(values).returning(workflow.c.id))
            workflow_id: int = inserted.scalar_one()
        except IntegrityError as error:
            raise WorkflowExists(new.name) from error
        self._insert_version(workflow_id, new)

    def claim_version(self, new: NewWorkflow) -> bool:
        """Record a further version of a workflow as `registering`; False when nothing of the workflow is ready.

        Raises:
            VersionExists: It has that version already, or it is being registered or unregistered.
        """
        row = self._pointers(new.name)
        if row is None:
            return False
        self._insert_version(row.id, new)
        self._touch(row.id)
        return True

    def _insert_version(self, workflow_id: int, new: NewWorkflow) -> None:
        target = new.target
        values = {
            "uid": target.uid,
            "workflow_id": workflow_id,
            "version": target.version,
            "url": new.url,
            "archive_file": target.archive_file,
            "archive_downloaded": int(new.archive_downloaded),
            "archive_sha256": target.archive_sha256,
            "handler": target.handler,
            "spec": new.spec,
            "dag": new.dag,
            "status": WorkflowStatus.REGISTERING.value,
            "lease": new.lease,
            **asdict(new.defaults),
            "response_timeout_s": target.response_timeout_s,
            "startup_timeout_s": target.startup_timeout_s,
            "created_at": self._now,
            "updated_at": self._now,
        }
        try:
            inserted = self._connection.execute(
                insert(workflow_version).values(values).returning(workflow_version.c.id)
            )
            version_id: int = inserted.scalar_one()
        except IntegrityError as error:
            raise VersionExists(new.name, target.version) from error
        ids = {each.name: self._insert_node(version_id, position, each) for position, each in enumerate(target.nodes)}
        if target.edges:
            self._connection.execute(
                insert(edge),
                [
                    {"version_id": version_id, "source_id": ids[parent], "target_id": ids[child], "position": at}
                    for at, (parent, child) in enumerate(target.edges)
                ],
            )

    def _insert_node(self, version_id: int, position: int, new: Node) -> int:
        inserted = self._connection.execute(
            insert(node).returning(node.c.id),
            {
                "version_id": version_id,
                "position": position,
                "name": new.name,
                "kind": new.kind.value,
                "model_url": new.model_url,
                "model_file": new.model_file,
                "model_downloaded": int(new.model_downloaded),
                "model_sha256": new.model_sha256,
                **asdict(new.settings),
                "threads": new.threads,
            },
        )
        node_id: int = inserted.scalar_one()
        return node_id

    def mark_ready(
        self, uid: str, *, actor: str = ANONYMOUS, reason: str = "", table: RoutingTable | None = None
    ) -> bool:
        """Finish a registration; False when its claim is gone.

        The first version of a workflow is released with it; a further one gets no share of the requests.

        Args:
            uid: Identity of the registration.
            actor: Who makes it.
            reason: Why; empty when not given.
            table: What to release with a further version, in the same revision.
        """
        if not self._move(uid, WorkflowStatus.READY, {"lease": None, "registered_at": self._now}):
            return False
        row = self._workflow_of(uid)
        if row.release_id is None:
            table = RoutingTable.all_to(row.version)
        if table is not None:
            self.add_release(row.name, table, kind=ReleaseKind.REGISTER, actor=actor, reason=reason)
        else:
            self._touch(row.id, is_revised=True)
        return True

    def mark_unregistering(self, uid: str, lease: str) -> bool:
        """Claim a ready version for its removal; False when another request was faster.

        A workflow whose default version is claimed is not listed, described and served any more.
        """
        if not self._move(uid, WorkflowStatus.UNREGISTERING, {"lease": lease}):
            return False
        self._touch(self._workflow_of(uid).id, is_revised=True)
        self._connection.execute(
            update(workflow)
            .where(
                workflow.c.default_version_id
                == select(workflow_version.c.id).where(workflow_version.c.uid == uid).scalar_subquery()
            )
            .values(default_version_id=None)
        )
        return True

    def _move(self, uid: str, to: WorkflowStatus, values: dict[str, str | None]) -> bool:
        moved = self._connection.execute(
            update(workflow_version)
            .where(workflow_version.c.uid == uid, workflow_version.c.status == to.predecessor().value)
            .values(status=to.value, updated_at=self._now, **values)
        )
        return moved.rowcount == 1

    def take_over(self, uid: str, *, old_lease: str, new_lease: str) -> bool:
        """Take over unfinished work; False when another process took it first."""
        taken = self._connection.execute(
            update(workflow_version)
            .where(workflow_version.c.uid == uid, workflow_version.c.lease == old_lease)
            .values(lease=new_lease, updated_at=self._now)
        )
        if taken.rowcount != 1:
            return False
        self.operations.take_over(old_lease=old_lease, new_lease=new_lease)
        self._touch(self._workflow_of(uid).id)
        return True

    def remove(self, uid: str, *, actor: str = ANONYMOUS) -> bool:
        """Delete a version that is not ready, with its nodes and edges; False when it is gone already.

        With its last version a workflow goes, too: a release without routes ends its serving history, and its removal
        is kept under the number of the change, for those who follow the changes.
        """
        row = self._connection.execute(
            select(workflow)
            .join(workflow_version, workflow_version.c.workflow_id == workflow.c.id)
            .where(workflow_version.c.uid == uid, workflow_version.c.status != WorkflowStatus.READY.value)
        ).one_or_none()
        if row is None:
            return False
        self._connection.execute(delete(workflow_version).where(workflow_version.c.uid == uid))
        left = select(func.count()).where(workflow_version.c.workflow_id == row.id)
        if self._connection.execute(left).scalar_one():
            self._touch(row.id)
            return True
        if row.release_id is not None:
            self._insert_release(row, RoutingTable(), {}, kind=ReleaseKind.UNREGISTER, actor=actor)
        self._connection.execute(delete(workflow).where(workflow.c.id == row.id))
        change = self._next_change()
        self._connection.execute(insert(removal).values(change=change, uid=row.uid))
        self._connection.execute(delete(removal).where(removal.c.change <= change - MAX_REMOVALS))
        return True

    def add_release(
        self,
        name: str,
        table: RoutingTable,
        *,
        kind: ReleaseKind,
        actor: str,
        reason: str = "",
        previous: int | None = None,
    ) -> Release:
        """Put a routing table in force: add the release, and move the workflow's pointers to it.

        Args:
            name: Of a workflow of which all versions that the table names are ready.
            table: With at least one route.
            kind: What makes the release.
            actor: Who makes it.
            reason: Why; empty when not given.
            previous: Which release a rollback from this one repeats, when it is not the one before.

        Raises:
            KeyError: A version is not ready.
        """
        row = self._connection.execute(select(workflow).where(workflow.c.name == name)).one()
        ready = select(workflow_version.c.version, workflow_version.c.uid, workflow_version.c.id).where(
            workflow_version.c.workflow_id == row.id, workflow_version.c.status == WorkflowStatus.READY.value
        )
        rows = {each.version: each for each in self._connection.execute(ready)}
        uids = {version: rows[version].uid for version in table.versions}
        release_id, made = self._insert_release(
            row, table, uids, kind=kind, actor=actor, reason=reason, previous=previous
        )
        default = None if table.default is None else rows[table.default].id
        self._touch(row.id, is_revised=True, release_id=release_id, default_version_id=default)
        return made

    def _insert_release(
        self,
        row: Row[Any],
        table: RoutingTable,
        uids: Mapping[str, str],
        *,
        kind: ReleaseKind,
        actor: str,
        reason: str = "",
        previous: int | None = None,
    ) -> tuple[int, Release]:
        before = None if row.release_id is None else releases.current(self._connection, row.release_id).number
        made = Release(
            number=(before or 0) + 1,
            at=self._now,
            actor=actor,
            reason=reason,
            kind=kind,
            previous=previous if kind is ReleaseKind.ROLLBACK else before,
            table=table,
        )
        release_id = releases.add(self._connection, made, workflow_uid=row.uid, workflow=row.name, uids=uids)
        return release_id, made

    def override(self, node_id: int, settings: Mapping[str, int | None], *, actor: str) -> None:
        """Change settings of a node of a version; None gives one the spec's value back."""
        self._connection.execute(
            delete(node_override).where(node_override.c.node_id == node_id, node_override.c.setting.in_(settings))
        )
        rows = [
            {"node_id": node_id, "setting": setting, "value": value, "at": self._now, "actor": actor}
            for setting, value in settings.items()
            if value is not None
        ]
        if rows:
            self._connection.execute(insert(node_override), rows)

    def node_ids(self, uid: str) -> dict[str, int]:
        """Return the numbers of the rows of a version's nodes, by their names."""
        rows = self._connection.execute(
            select(node.c.name, node.c.id).join(workflow_version).where(workflow_version.c.uid == uid)
        )
        return {row.name: row.id for row in rows}

    def revise(self, name: str) -> int:
        """Count a change of a workflow, and return its new revision."""
        row = self._connection.execute(select(workflow.c.id).where(workflow.c.name == name)).one()
        self._touch(row.id, is_revised=True)
        return self.revision(name) or 0

    def _workflow_of(self, uid: str) -> Row[Any, Any, Any, Any]:
        """Return the row of the workflow of a registration, and which version that is."""
        return self._connection.execute(
            select(workflow.c.id, workflow.c.name, workflow.c.release_id, workflow_version.c.version)
            .join(workflow_version, workflow_version.c.workflow_id == workflow.c.id)
            .where(workflow_version.c.uid == uid)
        ).one()

    def _touch(self, workflow_id: int, *, is_revised: bool = False, **pointers: int | None) -> None:
        """Let those who follow the changes see a workflow.

        Args:
            workflow_id: Number of its row.
            is_revised: Whether its revision counts this change.
            pointers: Columns that are set with it.
        """
        values: dict[str, Any] = {"change": self._next_change(), "updated_at": self._now, **pointers}
        if is_revised:
            values["revision"] = workflow.c.revision + 1
        self._connection.execute(update(workflow).where(workflow.c.id == workflow_id).values(values))

    def _next_change(self) -> int:
        """Return a number that is larger than those of all changes before.

        The counter's row stays locked until the transaction ends, so changes become visible in their order: who has
        seen one will not miss a smaller one that is committed later.
        """
        change: int = self._connection.execute(_NEXT_CHANGE).scalar_one()
        return change

    @property
    def operations(self) -> OperationWriter:
        """The operations."""
        return OperationWriter(self._connection, self._now)

    @property
    def segments(self) -> SegmentWriter:
        """What was archived of the audit trail."""
        return SegmentWriter(self._connection, self._now)

    @property
    def declarations(self) -> DeclarationWriter:
        """What files declare."""
        return DeclarationWriter(self._connection, self._now)

    @property
    def tokens(self) -> TokenWriter:
        """The tokens."""
        return TokenWriter(self._connection, self._now)

    def record_change(self) -> None:
        """Let those who follow the registry know that something changed which is no workflow."""
        self._next_change()

    @property
    def kept_answers(self) -> KeptAnswers:
        """The answers that are kept under idempotency keys."""
        return KeptAnswers(self._connection, self._now)

    def identity(self) -> str:
        """Return the identity of this installation, twelve hexadecimal digits that are drawn when first needed."""
        known = self.known_identity()
        if known is not None:
            return known
        identity = uuid.uuid4().hex[:12]
        self._connection.execute(insert(installation).values(id=1, identity=identity, created_at=self._now))
        return identity

    def record(self, event: AuditEvent) -> None:
        """Append one audit event, and give its receipt to the operation that it is about."""
        self.receipt = audit.append(self._connection, self._now, event)
        self.receipts[event.origin.request_id] = self.receipt
        if event.operation:
            self.operations.attest(event.operation, self.receipt)
        self.recorded.append(event)
