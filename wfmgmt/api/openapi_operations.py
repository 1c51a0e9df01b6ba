"""The description of the endpoints about operations."""

from http import HTTPStatus
from typing import Any

from wfmgmt.api.openapi_parts import header_ref, write
from wfmgmt.api.operations import LISTING, UID_FORM, WAITING
from wfmgmt.api.write_rules import CANCEL
from wfmgmt.domain.operations import OperationKind, OperationPhase, OperationState
from wfmgmt.http.openapi import MOMENT, errors, json_answer, nullable, object_of, ref

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_NODE = {"ready": {**_COUNT, "description": "Workers that are up"}, "wanted": _COUNT}
_PROGRESS = {
    "bytes": {**_COUNT, "description": "Downloaded and read so far"},
    "totalBytes": {
        **_COUNT,
        "nullable": True,
        "description": "Of the files begun so far; null while that is not known",
    },
    "nodes": {
        "type": "object",
        "additionalProperties": ref("NodeProgress"),
        "description": "Nodes whose workers come up",
    },
}
_RESULT = {
    "revision": {"type": "integer", "description": "The workflow's revision then; not of what was applied"},
    "version": {**_TEXT, "description": "Of a registration and of scaling"},
    "default": {"type": "boolean", "description": "Of a registration: whether it had the largest share then"},
    "warnings": {"type": "array", "items": _TEXT, "description": "Of a registration"},
    "release": {**ref("Release"), "description": "Of a release"},
    "changed": {"type": "boolean", "description": "Of a release: whether it is new"},
    "results": {"type": "array", "items": ref("Applied"), "description": "Of what was applied"},
}
_OPERATION: dict[str, Any] = {
    "id": {"type": "string", "pattern": f"^{UID_FORM}$"},
    "kind": {"type": "string", "enum": [kind.value for kind in OperationKind]},
    "workflow": {**_TEXT, "description": "Empty while it is not known, as the archive has it"},
    "version": {**_TEXT, "description": "Empty for a release of several"},
    "url": {**_TEXT, "description": "The archive, without credentials and query; empty unless one is registered"},
    "state": {"type": "string", "enum": [state.value for state in OperationState]},
    "done": {"type": "boolean", "description": "Whether its state is final"},
    "phase": {
        "type": "string",
        "nullable": True,
        "enum": [*(phase.value for phase in OperationPhase), None],
        "description": "What it is at, or was at when it ended",
    },
    "progress": ref("Progress"),
    "error": nullable("Error"),
    "result": nullable("OperationResult"),
    "actor": _TEXT,
    "requestId": _TEXT,
    "createdAt": MOMENT,
    "startedAt": {**MOMENT, "nullable": True},
    "endedAt": {**MOMENT, "nullable": True},
    "cancelledBy": {**_TEXT, "nullable": True, "description": "Who asked for its end"},
    "receipt": {**_TEXT, "nullable": True, "description": "Of the last row about it in the audit trail"},
}


ACCEPTED = json_answer(
    "Accepted; the operation tells how far it is",
    ref("Accepted"),
    Location=header_ref("LocationOfOperation"),
    **{"Retry-After": {"$ref": "#/components/headers/RetryAfter"}},
)
OPERATION_SCHEMAS: dict[str, Any] = {
    "Operation": object_of(_OPERATION),
    "OperationResult": {"type": "object", "properties": _RESULT},
    "Progress": object_of(_PROGRESS),
    "NodeProgress": object_of(_NODE),
    "Operations": {
        "type": "object",
        "required": ["operations"],
        "properties": {
            "nextAfter": {"type": "integer", "description": "There unless this is the last page"},
            "operations": {"type": "array", "items": ref("Operation")},
        },
    },
}


def _query(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "allowEmptyValue": True, "schema": schema} for name, schema in parameters.items()
    ]


_FOUND = {
    **json_answer("One page", ref("Operations")),
    "links": {
        "next": {"operationId": "listOperations", "parameters": {"after": "$response.body#/nextAfter"}},
        "show": {"operationId": "showOperation", "parameters": {"uid": "$response.body#/operations/0/id"}},
    },
}
_UID_IN_PATH = {
    "name": "uid",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": f"^{UID_FORM}$"},
}
OPERATION_PATHS: dict[str, Any] = {
    "/operations": {
        "get": {
            "operationId": "listOperations",
            "summary": "List operations, the newest first",
            "parameters": _query(dict(LISTING)),
            "responses": {"200": _FOUND, **errors()},
        }
    },
    "/operations/{uid}": {
        "parameters": [_UID_IN_PATH],
        "get": {
            "operationId": "showOperation",
            "summary": "Show one operation: how far it is, or how it ended",
            "parameters": _query(dict(WAITING)),
            "responses": {"200": json_answer("The operation", ref("Operation")), **errors(HTTPStatus.NOT_FOUND)},
        },
    },
    "/operations/{uid}/cancel": {
        "parameters": [_UID_IN_PATH],
        "post": write(
            CANCEL,
            "cancelOperation",
            "Cancel an operation: nothing of it is left then",
            {"202": ACCEPTED, "200": json_answer("The plan of that", ref("Plan"))},
        ),
    },
}
