"""Cancelling operations: those that wait end at once, those that run are broken off and undone."""

from typing import Any

from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome
from wfmgmt.domain.operations import Operation, OperationKind, OperationPhase
from wfmgmt.domain.plans import Plan, PlanAction
from wfmgmt.errors import OperationDone, OperationNotFound
from wfmgmt.registry.reading import Reader
from wfmgmt.registry.registry import Registry
from wfmgmt.services.changes import Change
from wfmgmt.services.operations import Operations
from wfmgmt.services.worker_counts import TakingBack


class Cancellation:
    """Cancels operations. Thread-safe.

    Args:
        registry: The registry.
        operations: Records and counts them.
    """

    def __init__(self, registry: Registry, operations: Operations) -> None:
        self._registry = registry
        self._operations = operations

    def cancel(self, uid: str, change: Change) -> Operation:
        """Record that an operation is to end: at once if it waits, else as if it had failed, within a second or two.

        Returns:
            The operation as it was.

        Raises:
            OperationNotFound: There is no such operation.
            OperationDone: It has ended, or what it was to make is made.
            PreconditionFailed: The workflow has another revision than expected.
        """
        with self._registry.write() as writer:
            operation = _unfinished(writer, uid, change)
            if operation.cancelled_by is None:
                self._operations.cancel(writer, operation, change.origin.actor)
                undone = _undone(writer, operation)
                if undone is not None:
                    undone.write(writer, operation, actor=change.origin.actor)
                writer.record(_event(operation, change, undone))
            change.on_made(writer, operation)
        return operation

    def plan(self, uid: str, change: Change) -> Plan:
        """Return what `cancel` would do.

        Raises:
            WfmgmtError: What that would raise.
        """
        with self._registry.read() as reader:
            operation = _unfinished(reader, uid, change)
            undone = _undone(reader, operation)
        plan = Plan(
            action=PlanAction.REMOVE if undone is None else PlanAction.UPDATE,
            workflow=operation.workflow,
            version=operation.version,
            uid=uid,
            changes=() if undone is None else undone.changes,
            routes_before={},
            routes_after={},
        )
        change.check_plan(plan)
        return plan


def _unfinished(reader: Reader, uid: str, change: Change) -> Operation:
    operation = reader.operations.get(uid)
    if operation is None or not operation.is_visible(change.scope, change.origin.actor):
        raise OperationNotFound(uid)
    if operation.state.is_done:
        raise OperationDone(uid, operation.state)
    if operation.progress.phase is OperationPhase.SWITCHING:
        raise OperationDone(uid, OperationPhase.SWITCHING)
    change.check(reader, operation.workflow)
    return operation


def _undone(reader: Reader, operation: Operation) -> TakingBack | None:
    """Return what an operation has written already, which is taken back; others undo their work themselves."""
    return TakingBack.of_operation(reader, operation) if operation.kind is OperationKind.SCALE else None


def _event(operation: Operation, change: Change, undone: TakingBack | None) -> AuditEvent:
    facts = {"operation": operation.uid, "url": operation.url, "version": operation.version}
    detail: dict[str, Any] = {name: value for name, value in facts.items() if value}
    if undone is not None:
        detail["changes"] = [each.json() for each in undone.changes]
    return AuditEvent(
        origin=change.origin,
        action=AuditAction.CANCEL,
        workflow=operation.workflow,
        outcome=AuditOutcome.SUCCEEDED,
        detail=detail | change.stated_reason,
        operation=operation.uid,
    )
