"""Operations as values: what is kept of them, and what becomes of those whose process died."""

from dataclasses import asdict, dataclass

from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome
from wfmgmt.domain.operations import HOLDER, Operation, OperationError, OperationKind, OperationPhase, OperationState
from wfmgmt.errors import Interrupted, WfmgmtError
from wfmgmt.registry.writing import Writer

#: In what was asked of a release: what the audit trail calls it.
ACTION = "action"
#: How often the work of an operation is begun that was accepted for later: it may be what kills its processes.
MAX_ATTEMPTS = 2
#: What operations of a kind are called.
NOUNS = {
    OperationKind.REGISTER: "registration",
    OperationKind.SCALE: "scaling",
    OperationKind.RELEASE: "release",
    OperationKind.APPLY: "application",
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that is carried out later.

    Attributes:
        uid: Identity of its operation.
    """

    uid: str


def described_error(error: Exception) -> OperationError:
    """Return what a record says of an error; the text of one that was not foreseen is for the log only."""
    message = str(error) if isinstance(error, WfmgmtError) else "Internal error; the log has the details."
    return OperationError(type=type(error).__name__, message=message, results=getattr(error, "results", None))


def begins_again(operation: Operation) -> bool:
    """Return whether an operation whose process died is to be carried out by another one.

    Scaling only looks at what the runtime does, which cannot be what kills.
    """
    if operation.cancelled_by is not None or HOLDER in operation.request:
        return False
    return operation.kind is OperationKind.SCALE or 0 < operation.attempts < MAX_ATTEMPTS


def failure_of(operation: Operation, error: OperationError, *, is_further: bool = False) -> AuditEvent:
    """Return the event of a registration or release that failed.

    Args:
        operation: The operation.
        error: Why.
        is_further: Whether the workflow was there before.
    """
    action = AuditAction.REGISTER_VERSION if is_further else AuditAction.REGISTER
    detail: dict[str, object] = {"url": operation.url, "version": operation.version}
    if operation.kind is OperationKind.APPLY:
        action, detail = AuditAction.APPLY, {"source": operation.request["source"]}
    if operation.kind is OperationKind.RELEASE:
        action = AuditAction(operation.request[ACTION])
        detail = {"version": operation.version} if operation.version else {}
    return AuditEvent(
        origin=operation.origin,
        action=action,
        workflow=operation.workflow,
        outcome=AuditOutcome.FAILED,
        detail={**detail, "error": asdict(error)},
        operation=operation.uid,
    )


def recovery_of(operation: Operation) -> str:
    """Say what is done about an operation whose process died."""
    what = "begin again with" if begins_again(operation) else "end"
    return f"{what} the interrupted {NOUNS[operation.kind]} of {operation.workflow or operation.url}"


def end_abandoned(writer: Writer, operation: Operation) -> OperationState | None:
    """End an operation whose process died before it had claimed a version, or let it begin again; return how it ended.

    A request that has no event in the audit trail yet gets one.
    """
    if operation.progress.phase is OperationPhase.SWITCHING:  # What it has registered or released is there.
        writer.operations.end(operation.uid, OperationState.SUCCEEDED)
        return OperationState.SUCCEEDED
    ended = end_interrupted(writer, operation)
    if ended is not None and operation.kind is not OperationKind.SCALE and not writer.operations.is_audited(operation):
        is_further = bool(operation.workflow) and writer.uid(operation.workflow) is not None
        writer.record(failure_of(operation, _interrupted(operation), is_further=is_further))
    return ended


def end_interrupted(writer: Writer, operation: Operation) -> OperationState | None:
    """End an operation whose process died, or let it begin again; return how it ended."""
    if begins_again(operation):
        writer.operations.requeue(operation.uid, is_counted=True)
        return None
    if operation.cancelled_by is not None:
        writer.operations.end(operation.uid, OperationState.CANCELLED)
        return OperationState.CANCELLED
    writer.operations.end(operation.uid, OperationState.FAILED, error=_interrupted(operation))
    return OperationState.FAILED


def _interrupted(operation: Operation) -> OperationError:
    return described_error(Interrupted(operation.attempts))
