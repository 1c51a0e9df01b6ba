"""Changes to the registry; each `Registry.write` makes its changes and their audit event together or not at all."""

import uuid
from dataclasses import asdict

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from wfmgmt.domain.audit import AuditEvent
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.domain.workflow import Node
from wfmgmt.errors import WorkflowBusy, WorkflowExists
from wfmgmt.registry import audit
from wfmgmt.registry.reading import MAX_REMOVALS, Reader
from wfmgmt.registry.records import NewWorkflow
from wfmgmt.registry.tables import edge, installation, node, removal, revision_counter, workflow

_NEXT_REVISION = update(revision_counter).values(last=revision_counter.c.last + 1).returning(revision_counter.c.last)


class Writer(Reader):
    """The changes and queries of one transaction; made by `Registry.write` and valid only inside it."""

    def __init__(self, connection: Connection, now: str) -> None:
        super().__init__(connection)
        self._now = now

    def claim_name(self, new: NewWorkflow) -> None:
        """Record a workflow as `registering`; the unique name decides between clients that want the same.

        Raises:
            WorkflowExists: The name is registered, or another registration has claimed it.
            WorkflowBusy: The workflow of that name is being unregistered.
        """
        taken = self.status(new.name)
        if taken is WorkflowStatus.UNREGISTERING:
            raise WorkflowBusy(new.name, "being unregistered")
        if taken is not None:
            raise WorkflowExists(new.name)
        workflow_id, target = self._insert_workflow(new), new.target
        ids = {each.name: self._insert_node(workflow_id, position, each) for position, each in enumerate(target.nodes)}
        if target.edges:
            self._connection.execute(
                insert(edge),
                [
                    {"workflow_id": workflow_id, "source_id": ids[parent], "target_id": ids[child], "position": at}
                    for at, (parent, child) in enumerate(target.edges)
                ],
            )

    def _insert_workflow(self, new: NewWorkflow) -> int:
        target = new.target
        values = {
            "uid": target.uid,
            "name": target.workflow,
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
            **self._change(),
        }
        try:
            inserted = self._connection.execute(insert(workflow).values(values).returning(workflow.c.id))
            workflow_id: int = inserted.scalar_one()
        except IntegrityError as error:
            raise WorkflowExists(new.name) from error
        return workflow_id

    def _insert_node(self, workflow_id: int, position: int, new: Node) -> int:
        inserted = self._connection.execute(
            insert(node).returning(node.c.id),
            {
                "workflow_id": workflow_id,
                "position": position,
                "name": new.name,
                "kind": new.kind.value,
                "model_url": new.model_url,
                "model_file": new.model_file,
                "model_downloaded": int(new.model_downloaded),
                "model_sha256": new.model_sha256,
                **asdict(new.settings),
            },
        )
        node_id: int = inserted.scalar_one()
        return node_id

    def mark_ready(self, uid: str) -> bool:
        """Finish a registration; False when its claim is gone."""
        return self._move(uid, WorkflowStatus.READY, {"lease": None, "registered_at": self._now})

    def mark_unregistering(self, uid: str, lease: str) -> bool:
        """Claim a ready workflow for its removal; False when another request was faster."""
        return self._move(uid, WorkflowStatus.UNREGISTERING, {"lease": lease})

    def _move(self, uid: str, to: WorkflowStatus, values: dict[str, str | None]) -> bool:
        moved = self._connection.execute(
            update(workflow)
            .where(workflow.c.uid == uid, workflow.c.status == to.predecessor().value)
            .values(status=to.value, **self._change(), **values)
        )
        return moved.rowcount == 1

    def take_over(self, uid: str, *, old_lease: str, new_lease: str) -> bool:
        """Take over unfinished work; False when another process took it first."""
        taken = self._connection.execute(
            update(workflow)
            .where(workflow.c.uid == uid, workflow.c.lease == old_lease)
            .values(lease=new_lease, **self._change())
        )
        return taken.rowcount == 1

    def remove(self, uid: str) -> bool:
        """Delete a workflow that is not ready, with its nodes and edges; False when it is gone already.

        Its removal is kept under a revision, for those who follow the changes.
        """
        unfinished = delete(workflow).where(workflow.c.uid == uid, workflow.c.status != WorkflowStatus.READY.value)
        if self._connection.execute(unfinished).rowcount != 1:
            return False
        revision = self._next_revision()
        self._connection.execute(insert(removal).values(revision=revision, uid=uid))
        self._connection.execute(delete(removal).where(removal.c.revision <= revision - MAX_REMOVALS))
        return True

    def _change(self) -> dict[str, str | int]:
        """Return what every change of a workflow's row records."""
        return {"updated_at": self._now, "revision": self._next_revision()}

    def _next_revision(self) -> int:
        """Return a number that is larger than those of all changes before.

        The counter's row stays locked until the transaction ends, so revisions become visible in their order: who has
        seen one will not miss a smaller one that is committed later.
        """
        revision: int = self._connection.execute(_NEXT_REVISION).scalar_one()
        return revision

    def identity(self) -> str:
        """Return the identity of this installation, twelve hexadecimal digits that are drawn when first needed."""
        known = self._connection.execute(select(installation.c.identity)).scalar_one_or_none()
        if known is not None:
            return str(known)
        identity = uuid.uuid4().hex[:12]
        self._connection.execute(insert(installation).values(id=1, identity=identity, created_at=self._now))
        return identity

    def record(self, event: AuditEvent) -> None:
        """Append one audit event."""
        audit.append(self._connection, self._now, event)
