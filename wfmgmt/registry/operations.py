"""Operations in the database; rows of those that are done are kept for a while."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, delete, func, insert, or_, select, update

from wfmgmt.domain.access import EVERYTHING, Scope
from wfmgmt.domain.audit import Origin, Receipt, bounded, canonical_json
from wfmgmt.domain.operations import (
    HOLDER,
    UNFINISHED,
    NewOperation,
    NodeProgress,
    Operation,
    OperationError,
    OperationKind,
    OperationPhase,
    OperationState,
    Progress,
)
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.registry.scopes import within
from wfmgmt.registry.tables import audit_event, workflow_version
from wfmgmt.registry.tables import operation as table

_ROWS_AT_ONCE = 16
_UNFINISHED = table.c.state.in_(UNFINISHED)
_IS_CLAIMED = (
    select(workflow_version.c.id)
    .where(workflow_version.c.status == WorkflowStatus.REGISTERING, workflow_version.c.lease == table.c.lease)
    .exists()
)
_BY_UID = select(table).where(table.c.uid == bindparam("uid"))
_BY_KEY = select(table).where(table.c.key == bindparam("key"))
_BY_LEASE = select(table).where(table.c.lease == bindparam("lease"))
_ABANDONED = select(table).where(table.c.state == OperationState.RUNNING, ~_IS_CLAIMED).order_by(table.c.id)
_UNDER_WAY = (
    select(table.c.uid)
    .where(_UNFINISHED, table.c.kind == OperationKind.REGISTER, table.c.workflow == bindparam("workflow"))
    .order_by(table.c.id.desc())
    .limit(1)
)
_SCALING = (
    select(table)
    .where(
        _UNFINISHED,
        table.c.kind == OperationKind.SCALE,
        table.c.workflow == bindparam("workflow"),
        table.c.version == bindparam("version"),
        table.c.cancelled_by.is_(None),
    )
    .order_by(table.c.id)
)
_OF_ONE = table.c.uid == bindparam("of")
# Read as they are needed, which is mostly the first ones.
_NEXT = (
    select(table)
    .where(table.c.state == OperationState.QUEUED, table.c.kind.in_(bindparam("kinds", expanding=True)))
    .order_by(table.c.id)
    .execution_options(yield_per=_ROWS_AT_ONCE)
)
# So that not all that wait are parsed for the few that have a key with this name.
_HELD = _NEXT.where(table.c.request.contains(f'"{HOLDER}":'))
#: Columns of an operation that waits.
_QUEUED: Mapping[str, Any] = {"state": OperationState.QUEUED, "phase": None, "done_bytes": 0, "nodes": "{}"}
_CANCELLED = select(table.c.uid).where(table.c.state == OperationState.RUNNING, table.c.cancelled_by.is_not(None))
_BEGIN = insert(table)
_ADVANCE = update(table).where(_OF_ONE, table.c.state == OperationState.RUNNING)


class OperationReader:
    """The operations as one transaction sees them; made by `Reader.operations` and valid only inside it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, uid: str) -> Operation | None:
        """Return an operation by its identity, None when there is none or it is not kept any more."""
        return self._one(_BY_UID, uid=uid)

    def with_key(self, key: str) -> Operation | None:
        """Return the operation that is at work on something, None when none is."""
        return self._one(_BY_KEY, key=key)

    def with_lease(self, lease: str) -> Operation | None:
        """Return the operation that is under way with a lease, None when none is."""
        return self._one(_BY_LEASE, lease=lease)

    def _one(self, statement: Select[Any], **parameters: str) -> Operation | None:
        row = self._connection.execute(statement, parameters).one_or_none()
        return None if row is None else _operation(row)

    def page(
        self,
        *,
        limit: int,
        before: int | None = None,
        state: OperationState | None = None,
        kind: OperationKind | None = None,
        workflow: str | None = None,
        scope: Scope = EVERYTHING,
        actor: str = "",
    ) -> list[Operation]:
        """Return operations, the newest first: those before the number of a row, and with these values, if given.

        Args:
            limit: Operations at most.
            before: Number of a row.
            state: Of those wanted.
            kind: Of those wanted.
            workflow: Which they work on.
            scope: The workflows that exist for the client.
            actor: The client, whose own operations it sees before the name of their workflow is known.
        """
        given = {table.c.state: state, table.c.kind: kind, table.c.workflow: workflow}
        conditions = [column == value for column, value in given.items() if value is not None]
        if (narrowed := within(self._connection, table.c.workflow, scope)) and actor:
            narrowed = [or_(*narrowed, (table.c.workflow == "") & (table.c.actor == actor))]
        conditions += narrowed
        if before is not None:
            conditions.append(table.c.id < before)
        rows = self._connection.execute(select(table).where(*conditions).order_by(table.c.id.desc()).limit(limit))
        return [_operation(row) for row in rows]

    def under_way(self, workflow: str, version: str | None = None) -> str:
        """Return the newest unfinished registration of a workflow, or of one version of it; empty without one."""
        statement = _UNDER_WAY if version is None else _UNDER_WAY.where(table.c.version == version)
        return self._connection.execute(statement, {"workflow": workflow}).scalar_one_or_none() or ""

    def scaling(self, workflow: str, version: str) -> list[Operation]:
        """Return the unfinished operations that scale nodes of a version, the oldest first."""
        rows = self._connection.execute(_SCALING, {"workflow": workflow, "version": version})
        return [_operation(row) for row in rows]

    def queued(self, kinds: Collection[OperationKind] = tuple(OperationKind)) -> Iterator[Operation]:
        """Yield the operations of some kinds that wait, in the order in which they were accepted."""
        with self._connection.execute(_NEXT, {"kinds": list(kinds)}) as rows:  # Few are read of many.
            yield from map(_operation, rows)

    def held(self) -> Iterator[Operation]:
        """Yield those of them that only the process can carry out that has accepted them."""
        return map(_operation, self._connection.execute(_HELD, {"kinds": list(OperationKind)}))

    def ended(self, uids: Collection[str]) -> set[str]:
        """Return those of some operations that are done."""
        done = select(table.c.uid).where(table.c.uid.in_(uids), table.c.ended_at.is_not(None))
        return set(self._connection.execute(done).scalars())

    def cancelled(self) -> set[str]:
        """Return the operations that run and are to end."""
        return set(self._connection.execute(_CANCELLED).scalars())

    def running(self) -> list[Operation]:
        """Return the operations that run and have claimed no version, oldest first."""
        return [_operation(row) for row in self._connection.execute(_ABANDONED)]

    def count_queued(self, kind: OperationKind) -> int:
        """Return how many operations of a kind wait."""
        waiting = table.c.state == OperationState.QUEUED, table.c.kind == kind
        return self._connection.execute(select(func.count()).where(*waiting)).scalar_one()

    def counts(self) -> dict[OperationState, int]:
        """Return how many unfinished operations there are in each state that such have."""
        counted = select(table.c.state, func.count()).where(_UNFINISHED).group_by(table.c.state)
        found = {OperationState(state): count for state, count in self._connection.execute(counted)}
        return {**dict.fromkeys(UNFINISHED, 0), **found}


class OperationWriter(OperationReader):
    """The same in a transaction that writes; made by `Writer.operations`.

    Args:
        connection: In a transaction that holds the write lock.
        now: Its time.
    """

    def __init__(self, connection: Connection, now: str) -> None:
        super().__init__(connection)
        self._now = now

    def begin(self, new: NewOperation, lease: str | None) -> bool:
        """Record an operation that is accepted; False when another one is at work on the same.

        Args:
            new: The operation.
            lease: Of the process that carries it out from now on; None when it is queued.
        """
        values = {
            "uid": new.uid,
            "key": new.key,
            "kind": new.kind,
            "workflow": new.workflow,
            "version": new.version,
            "url": new.url,
            **(_QUEUED if lease is None else _started(new.kind)),
            "request": canonical_json(new.request),
            "actor": new.origin.actor,
            "address": new.origin.address,
            "request_id": new.origin.request_id,
            "lease": lease,
            "created_at": self._now,
            "started_at": None if lease is None else self._now,
        }
        if new.key is not None and self.with_key(new.key) is not None:
            return False
        self._connection.execute(_BEGIN, values)
        return True

    def take_next(
        self,
        lease: str,
        may_take: Callable[[Operation], bool],
        kinds: Collection[OperationKind] = tuple(OperationKind),
    ) -> Operation | None:
        """Give the first queued operation that may be taken to a process, and return it; None without one."""
        found = next((each for each in self.queued(kinds) if may_take(each)), None)
        if found is not None:
            values = {**_started(found.kind), "lease": lease, "started_at": self._now, "attempts": found.attempts + 1}
            self._connection.execute(update(table).where(_OF_ONE).values(values), {"of": found.uid})
        return found

    def cancel(self, operation: Operation, actor: str) -> None:
        """Record that somebody wants an operation to end, which it does at once if it waits."""
        self._connection.execute(update(table).where(_OF_ONE).values(cancelled_by=actor), {"of": operation.uid})
        if operation.state is OperationState.QUEUED:
            self.end(operation.uid, OperationState.CANCELLED)

    def requeue(self, uid: str, *, is_counted: bool) -> bool:
        """Let an operation that runs begin again later; False when it still has a version that it has claimed.

        Args:
            uid: The operation.
            is_counted: Whether it has begun once more, as nothing but the work itself may be why it was interrupted.
        """
        waits = update(table).where(_OF_ONE, table.c.state == OperationState.RUNNING, ~_IS_CLAIMED)
        values = {**_QUEUED, "lease": None, "started_at": None, "total_bytes": None}
        if not is_counted:
            values["attempts"] = table.c.attempts - 1
        return self._connection.execute(waits.values(values), {"of": uid}).rowcount == 1

    def advance(self, uid: str, progress: Progress, *, workflow: str, result: Mapping[str, Any] | None = None) -> None:
        """Record how far an operation that runs is; nothing happens when it is done.

        Args:
            uid: The operation.
            progress: How far it is.
            workflow: Name of the workflow, as far as is known.
            result: What will have come of it when it succeeds, once that is known.
        """
        values: dict[str, Any] = {
            "workflow": workflow,
            "phase": progress.phase,
            "done_bytes": progress.done_bytes,
            "total_bytes": progress.total_bytes,
            "nodes": _nodes_json(progress.nodes),
        }
        if result is not None:
            values["result"] = canonical_json(result)
        self._connection.execute(_ADVANCE.values(values), {"of": uid})

    def end(
        self,
        uid: str,
        state: OperationState,
        *,
        error: OperationError | None = None,
    ) -> None:
        """Record how an operation ended; nothing happens when it is done already.

        Args:
            uid: The operation.
            state: How it ended.
            error: Why it failed, if it did.
        """
        values: dict[str, Any] = {"state": state, "key": None, "lease": None, "ended_at": self._now}
        if error is not None:
            values |= {"error": canonical_json(bounded(asdict(error))), "result": None}
        ended = update(table).where(_OF_ONE, table.c.state.in_(state.predecessors())).values(values)
        self._connection.execute(ended, {"of": uid})

    def succeed(self, uid: str, nodes: Mapping[str, NodeProgress], result: Mapping[str, Any]) -> Operation | None:
        """Record that what an operation waits for is there; return the operation as it was, None if it is done."""
        found = self.get(uid)
        if found is None or found.state.is_done or found.cancelled_by is not None:
            return None
        values = {
            "phase": found.kind.first_phase,
            "nodes": _nodes_json(nodes),
            "result": canonical_json(result),
            "started_at": found.started_at or self._now,
        }
        self._connection.execute(update(table).where(_OF_ONE).values(values), {"of": uid})
        self.end(uid, OperationState.SUCCEEDED)
        return found

    def attest(self, uid: str, receipt: Receipt) -> None:
        """Record the receipt of an event about an operation."""
        self._connection.execute(update(table).where(_OF_ONE).values(receipt=str(receipt)), {"of": uid})

    def take_over(self, *, old_lease: str, new_lease: str) -> None:
        """Give the operation with a lease, if there is one, to another process."""
        self._connection.execute(update(table).where(table.c.lease == old_lease).values(lease=new_lease))

    def is_audited(self, operation: Operation) -> bool:
        """Return whether the audit trail has an event about the request that an operation carries out."""
        events = select(audit_event.c.id).where(
            audit_event.c.request_id == operation.origin.request_id, audit_event.c.at >= operation.created_at
        )
        return self._connection.execute(events.limit(1)).first() is not None

    def forget_older(self, at: str, *, most: int) -> None:
        """Remove operations that ended before a time, and the oldest ones of those that are too many."""
        first_kept = select(table.c.id).order_by(table.c.id.desc()).offset(most - 1).limit(1).scalar_subquery()
        self._connection.execute(
            delete(table).where(table.c.ended_at.is_not(None), or_(table.c.ended_at < at, table.c.id < first_kept))
        )


def _nodes_json(nodes: Mapping[str, NodeProgress]) -> str:
    return canonical_json({name: asdict(node) for name, node in nodes.items()})


def _started(kind: OperationKind) -> dict[str, Any]:
    """Return the columns of an operation that has just begun."""
    return {**_QUEUED, "state": OperationState.RUNNING, "phase": kind.first_phase}


def _operation(row: Row[Any]) -> Operation:
    nodes = json.loads(row.nodes)
    return Operation(
        number=row.id,
        uid=row.uid,
        kind=OperationKind(row.kind),
        workflow=row.workflow,
        version=row.version,
        url=row.url,
        request=json.loads(row.request),
        state=OperationState(row.state),
        progress=Progress(
            phase=None if row.phase is None else OperationPhase(row.phase),
            done_bytes=row.done_bytes,
            total_bytes=row.total_bytes,
            nodes={name: NodeProgress(**node) for name, node in nodes.items()},
        ),
        result=None if row.result is None else json.loads(row.result),
        error=None if row.error is None else OperationError(**json.loads(row.error)),
        origin=Origin(actor=row.actor, address=row.address, request_id=row.request_id),
        lease=row.lease,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        cancelled_by=row.cancelled_by,
        attempts=row.attempts,
        receipt=None if row.receipt is None else Receipt.parse(row.receipt),
    )
