"""The endpoints about operations: what is under way, how far it is, and how it ended."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request

from wfmgmt.api.access import caller
from wfmgmt.api.answers import json_response
from wfmgmt.api.parameters import query_parameters
from wfmgmt.api.write_rules import CANCEL, NAME_OR_EMPTY
from wfmgmt.api.writes import Call, Writes
from wfmgmt.domain.names import is_workflow_name, shortened
from wfmgmt.domain.operations import Operation, OperationError, OperationKind, OperationState
from wfmgmt.domain.plans import Plan
from wfmgmt.errors import BadRequest, OperationNotFound
from wfmgmt.http.answers import json_body, named_status_and_type
from wfmgmt.registry.kept_answers import Answer
from wfmgmt.services.cancellation import Cancellation
from wfmgmt.services.operation_records import Accepted
from wfmgmt.services.operations import MAX_WAIT_S, Operations

#: Of the identity of an operation.
UID_FORM = "[0-9a-f]{32}"
DEFAULT_OPERATIONS, MAX_OPERATIONS, MAX_NUMBER = 100, 1000, 2**31 - 1
LISTING: Mapping[str, Mapping[str, Any]] = {
    "state": {"type": "string", "enum": [state.value for state in OperationState]},
    "kind": {"type": "string", "enum": [kind.value for kind in OperationKind]},
    "workflow": {**NAME_OR_EMPTY, "description": "List operations on this workflow"},
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_OPERATIONS, "default": DEFAULT_OPERATIONS},
    "after": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_NUMBER,
        "description": "The nextAfter of the page before",
    },
}
WAITING: Mapping[str, Mapping[str, Any]] = {
    "wait": {
        "type": "integer",
        "minimum": 0,
        "maximum": MAX_WAIT_S,
        "default": 0,
        "description": "Answer when it is done, or after so many seconds; at once while too many requests wait",
    }
}


def add_operation_routes(writes: Writes, *, cancellation: Cancellation) -> None:
    """Add the route that cancels an operation."""

    @writes.route("POST", "/operations/<uid>/cancel", CANCEL, render=_cancelling)
    def cancel(call: Call, uid: str) -> Operation | Plan:
        """Cancel an operation."""
        check_uid(uid)
        return cancellation.plan(uid, call.change) if call.change.dry_run else cancellation.cancel(uid, call.change)


def operations_blueprint(operations: Operations) -> Blueprint:
    """Return the blueprint over the operations."""
    blueprint = Blueprint("operations", __name__)

    @blueprint.get("/operations")
    def list_operations() -> Response:
        """List operations, the newest first."""
        parameters = query_parameters(request, LISTING)
        limit = parameters.integer("limit") or DEFAULT_OPERATIONS
        state, kind, workflow = (parameters.text(name) for name in ("state", "kind", "workflow"))
        if workflow and not is_workflow_name(workflow):
            raise BadRequest("Parameter workflow: expected the name of a workflow.")
        found = operations.page(
            limit=limit + 1,
            before=parameters.integer("after"),
            state=OperationState(state) if state else None,
            kind=OperationKind(kind) if kind else None,
            workflow=workflow or None,
            scope=caller().scope,
            actor=caller().actor,
        )
        more = {"nextAfter": found[limit - 1].number} if len(found) > limit else {}
        return json_response({**more, "operations": [operation_json(each) for each in found[:limit]]})

    @blueprint.get("/operations/<uid>")
    def show_operation(uid: str) -> Response:
        """Show one operation, once it is done if that is asked for."""
        check_uid(uid)
        wait_s = query_parameters(request, WAITING).integer("wait") or 0
        return json_response(operation_json(operations.wait(uid, wait_s, scope=caller().scope, actor=caller().actor)))

    return blueprint


def check_uid(uid: str) -> None:
    """Look whether there can be such an operation, before a database is asked that does not take every text."""
    if re.fullmatch(UID_FORM, uid) is None:
        raise OperationNotFound(shortened(uid))


def _cancelling(operation: Operation) -> Answer:
    return accepted_answer("Cancelling the operation...", operation.uid)


def accepted_answer(status: str, uid: str) -> Answer:
    """Return the answer to a request that an operation carries out."""
    path = operation_path(uid)
    return Answer(
        body=json_body({"status": status, "operation": path}),
        status=HTTPStatus.ACCEPTED,
        headers=accepted_headers(path),
    )


def accepted_headers(path: str) -> dict[str, str]:
    """Return the headers of the answer to a request that the operation with this path carries out."""
    return {"Location": path, "Retry-After": "1"}


def operation_answer(result: Accepted | OperationError, status: str) -> Answer:
    """Return the answer about an operation that is not done, with this status, or has failed."""
    if isinstance(result, Accepted):
        return accepted_answer(status, result.uid)
    error = error_json(result)
    return Answer(body=json_body(error), status=error["code"])


def operation_path(uid: str) -> str:
    """Return where an operation is."""
    return f"/operations/{uid}"


def operation_json(operation: Operation) -> dict[str, Any]:
    """Return an operation as answers show it."""
    progress = operation.progress
    return {
        "id": operation.uid,
        "kind": operation.kind.value,
        "workflow": operation.workflow,
        "version": operation.version,
        "url": operation.url,
        "state": operation.state.value,
        "done": operation.state.is_done,
        "phase": None if progress.phase is None else progress.phase.value,
        "progress": {
            "bytes": progress.done_bytes,
            "totalBytes": progress.total_bytes,
            "nodes": {name: {"ready": node.ready, "wanted": node.wanted} for name, node in progress.nodes.items()},
        },
        "error": None if operation.error is None else error_json(operation.error),
        "result": _result(operation),
        "actor": operation.origin.actor,
        "requestId": operation.origin.request_id,
        "createdAt": operation.created_at,
        "startedAt": operation.started_at,
        "endedAt": operation.ended_at,
        "cancelledBy": operation.cancelled_by,
        "receipt": None if operation.receipt is None else str(operation.receipt),
    }


def error_json(error: OperationError) -> dict[str, Any]:
    """Return why an operation failed, as a client that waited for it is answered."""
    code, error_type = named_status_and_type(error.type)
    return {"code": code, "type": error_type, "message": error.message}


def _result(operation: Operation) -> dict[str, Any] | None:
    if operation.result is None or operation.state is not OperationState.SUCCEEDED:
        return None
    return {name: value for name, value in operation.result.items() if name != "further"}
