"""Operations as values: what is kept of them, and what becomes of those whose process died."""

from dataclasses import asdict, dataclass

from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome
from wfmgmt.domain.operations import HOLDER, Operation, OperationError, OperationKind
from wfmgmt.errors import WfmgmtError

#: In what was asked of a release: what the audit trail calls it.
ACTION = "action"
#: How often the work of an operation is begun that was accepted for later: it may be what kills its processes.
MAX_ATTEMPTS = 2
#: What operations of a kind are called.
NOUNS = {
    OperationKind.REGISTER: "registration",
    OperationKind.SCALE: "scaling",
    OperationKind.RELEASE: "release",
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
    return OperationError(type=type(error).__name__, message=message)


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
    if operation.kind is OperationKind.RELEASE:
        action = AuditAction(operation.request[ACTION])
        detail = {"version": operation.version} if operation.version else {}
    return AuditEvent(
        origin=operation.origin,
        action=action,
        workflow=operation.workflow,
        outcome=AuditOutcome.FAILED,
        detail={**detail, "error": asdict(error)},
    )


def recovery_of(operation: Operation) -> str:
    """Say what is done about an operation whose process died."""
    what = "begin again with" if begins_again(operation) else "end"
    return f"{what} the interrupted {NOUNS[operation.kind]} of {operation.workflow or operation.url}"
