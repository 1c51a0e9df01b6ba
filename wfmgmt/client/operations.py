"""Operations as the service shows them, as frozen values."""

from datetime import datetime
from http import HTTPStatus
from typing import Literal

from pydantic.dataclasses import dataclass

from wfmgmt.client.answers import Registered
from wfmgmt.client.call import CAMEL_CASE
from wfmgmt.client.declared import Applied, ApplyResults
from wfmgmt.client.errors import ConflictStatus, MalformedAnswer, Refused
from wfmgmt.client.traffic import Release, Released

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Phase = Literal["fetching", "checking", "loading", "switching"]


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class NodeProgress:
    """How many workers of a node are up, and how many have to be."""

    ready: int
    wanted: int


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an operation is.

    Attributes:
        bytes: Downloaded and read so far.
        total_bytes: Of the files begun so far; None while that is not known.
        nodes: Nodes that are being loaded, by name.
    """

    bytes: int
    total_bytes: int | None
    nodes: dict[str, NodeProgress]


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class OperationError:
    """Why an operation failed, as the service would have answered it."""

    code: int
    type: str
    message: str


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class OperationResult:
    """What came of an operation.

    Attributes:
        revision: The workflow's revision then.
        version: The version that was registered or scaled.
        default: Whether the registered version had the largest share of the requests then.
        warnings: Settings of the registered spec and of models' configuration files that have no effect.
        release: The release that was made.
        changed: Whether the release is new; the table that is wanted may have held already.
        results: What became of each workflow that a declaration is about.
    """

    revision: int = 0
    version: str = ""
    default: bool = False
    warnings: tuple[str, ...] = ()
    release: Release | None = None
    changed: bool = True
    results: tuple[Applied, ...] | None = None


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Operation:
    """Long work on a workflow.

    Attributes:
        id: By which it is found again.
        kind: What it does: `register`, `scale`, `release` or `apply`.
        workflow: Name of the workflow; empty while that is not known.
        version: The version; empty for a release of several.
        url: The archive, without credentials and query; empty unless one is registered.
        state: Where it stands.
        done: Whether its state is final.
        phase: What it is at, or was at when it ended; None while it is queued.
        progress: How far it is.
        error: Why it failed, if it did.
        result: What came of it, if it succeeded.
        actor: Who asked for it.
        request_id: Under which the service has logged that request.
        created_at: When it was accepted.
        started_at: When the work began.
        ended_at: When it ended.
        cancelled_by: Who asked for its end, if somebody did.
        receipt: Of the last row about it in the audit trail, if there is one.
    """

    id: str
    kind: str
    workflow: str
    version: str
    url: str
    state: State
    done: bool
    phase: Phase | None
    progress: Progress
    error: OperationError | None
    result: OperationResult | None
    actor: str
    request_id: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    cancelled_by: str | None
    receipt: str | None


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Operations:
    """A part of the list of operations.

    Attributes:
        operations: The newest first.
        next_after: There unless this is the last page.
    """

    operations: tuple[Operation, ...]
    next_after: int | None = None


def registered(operation: Operation, *, is_named: bool) -> Registered:
    """Return the answer to a registration that the service has carried out as an operation.

    Args:
        operation: It is done.
        is_named: Whether the request named the version.

    Raises:
        Refused: It failed, or was cancelled.
    """
    result = _result(operation)
    return Registered(
        status=f"Workflow {operation.workflow} has been registered and scaled successfully.",
        version=operation.version if is_named else None,
        default=result.default if is_named else None,
        warnings=result.warnings,
    )


def released(operation: Operation) -> Released:
    """Return the answer to a release that the service has made as an operation.

    Raises:
        Refused: It failed, or was cancelled.
        MalformedAnswer: It is no release.
    """
    result = _result(operation)
    if result.release is None:
        raise MalformedAnswer(f"Operation {operation.id} is no release.")
    verb = "is in force" if result.changed else "was in force already"
    return Released(
        status=f'Release {result.release.number} {verb} for workflow "{operation.workflow}"',
        release=result.release,
        changed=result.changed,
    )


def applied(operation: Operation) -> ApplyResults:
    """Return the answer to an application that the service has carried out as an operation.

    Raises:
        Refused: It failed, or was cancelled.
        MalformedAnswer: It is no application.
    """
    results = _result(operation).results
    if results is None:
        raise MalformedAnswer(f"Operation {operation.id} is no application.")
    return ApplyResults(results=results)


def _result(operation: Operation) -> OperationResult:
    """Return what came of an operation that is done."""
    path = f"/operations/{operation.id}"
    if (error := operation.error) is not None:
        kind = Refused.classes.get(error.type, Refused)
        raise kind(status=error.code, type_=error.type, message=error.message, operation=path)
    if operation.result is None:
        raise ConflictStatus(
            status=HTTPStatus.CONFLICT, message=f"The operation was {operation.state}.", operation=path
        )
    return operation.result
