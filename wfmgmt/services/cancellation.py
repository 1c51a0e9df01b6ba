"""Cancelling operations: those that wait end at once, those that run are broken off and undone."""

from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome
from wfmgmt.domain.operations import Operation, OperationState
from wfmgmt.domain.plans import Plan, PlanAction
from wfmgmt.errors import OperationDone, OperationNotFound
from wfmgmt.registry.reading import Reader
from wfmgmt.registry.registry import Registry
from wfmgmt.services.changes import Change


class Cancellation:
    """Cancels operations. Thread-safe.

    Args:
        registry: The registry.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def cancel(self, uid: str, change: Change) -> Operation:
        """Record that an operation is to end: at once if it waits, else as if it had failed, within a second or two.

        Returns:
            The operation as it was.

        Raises:
            OperationNotFound: There is no such operation.
            OperationDone: It has ended.
            PreconditionFailed: The workflow has another revision than expected.
        """
        with self._registry.write() as writer:
            operation = _unfinished(writer, uid, change)
            if operation.cancelled_by is None:
                writer.operations.cancel(uid, change.origin.actor)
                if operation.state is OperationState.QUEUED:
                    writer.operations.end(uid, OperationState.CANCELLED)
                writer.record(_event(operation, change))
            change.on_made(writer, operation)
        return operation

    def plan(self, uid: str, change: Change) -> Plan:
        """Return what `cancel` would do.

        Raises:
            WfmgmtError: What that would raise.
        """
        with self._registry.read() as reader:
            operation = _unfinished(reader, uid, change)
        plan = Plan(
            action=PlanAction.REMOVE,
            workflow=operation.workflow,
            version=operation.version,
            uid=uid,
            routes_before={},
            routes_after={},
        )
        change.check_plan(plan)
        return plan


def _unfinished(reader: Reader, uid: str, change: Change) -> Operation:
    operation = reader.operations.get(uid)
    if operation is None or operation.workflow not in change.scope:
        raise OperationNotFound(uid)
    if operation.state.is_done:
        raise OperationDone(uid, operation.state)
    change.check(reader, operation.workflow)
    return operation


def _event(operation: Operation, change: Change) -> AuditEvent:
    detail = {"operation": operation.uid, "url": operation.url, "version": operation.version}
    return AuditEvent(
        origin=change.origin,
        action=AuditAction.CANCEL,
        workflow=operation.workflow,
        outcome=AuditOutcome.SUCCEEDED,
        detail=detail | change.stated_reason,
    )
