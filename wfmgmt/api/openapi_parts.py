"""Parts of the description of the management address: what all reads of one workflow and all writes share."""

from collections.abc import Collection
from http import HTTPStatus
from typing import Any

from wfmgmt.api.idempotency import REPLAYED
from wfmgmt.api.write_rules import HEADERS, VERSION_PATTERN, WriteRule
from wfmgmt.domain.plans import ArchiveSource, PlanAction
from wfmgmt.http.openapi import errors, nullable, object_of, ref

VERSION_IN_PATH: dict[str, Any] = {
    "name": "version",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": VERSION_PATTERN},
}
#: Errors of writes beside those of every path.
WRITE_ERRORS = (
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.INSUFFICIENT_STORAGE,
)
WRITE_HEADERS: dict[str, Any] = {
    "EntityTag": {
        "description": "The revision of the workflow, for `If-Match` and `If-None-Match`; not with a plan",
        "schema": {"type": "string"},
    },
    "EntityTagOfRest": {
        "description": "The revision of what is left of the workflow, if anything is",
        "schema": {"type": "string"},
    },
    "LocationOfOperation": {"description": "The operation", "schema": {"type": "string"}},
    "Location": {"description": "The version, when the request named it", "schema": {"type": "string"}},
    "Replayed": {
        "description": "`true` when this is the kept answer to an earlier request with the same `Idempotency-Key`",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The `ETag` that the client has; 304 when it is still right",
}


def header_ref(name: str) -> dict[str, str]:
    """Return a reference to a header of the description."""
    return {"$ref": f"#/components/headers/{name}"}


ETAG = header_ref("EntityTag")


def either(schema: str) -> dict[str, Any]:
    """Return the schema of the answer to a write: the result, or the plan of a dry run."""
    return {"anyOf": [ref(schema), ref("Plan")]}


def read(
    operation: str,
    summary: str,
    found: dict[str, Any],
    parameters: dict[str, Any] | None = None,
    required: Collection[str] = (),
) -> dict[str, Any]:
    """Return the operation of a GET of something of one workflow."""
    query = [
        {"name": name, "in": "query", "schema": schema, "required": name in required}
        for name, schema in (parameters or {}).items()
    ]
    not_modified = {"description": "The client has it already", "headers": {**found["headers"]}}
    return {
        "operationId": operation,
        "summary": summary,
        "parameters": [*query, _IF_NONE_MATCH],
        "responses": {"200": found, "304": not_modified, **errors(HTTPStatus.NOT_FOUND)},
    }


def write(
    rule: WriteRule, operation: str, summary: str, answers: dict[str, Any], *statuses: HTTPStatus
) -> dict[str, Any]:
    """Return the operation of a write.

    Args:
        rule: What it takes.
        operation: Its name.
        summary: What it does.
        answers: Its answers that are not errors, by status.
        statuses: Errors beside those of all writes.
    """
    body = {"schema": {"type": "object", "additionalProperties": False, "properties": dict(rule.schemas)}}
    query = [
        {"name": name, "in": "query", "schema": schema}
        for name, schema in rule.schemas.items()
        if schema["type"] not in ("object", "array")
    ]
    headers = [{"name": name, "in": "header", "schema": schema} for name, schema in HEADERS.items()]
    replayed = {REPLAYED: header_ref("Replayed")}
    return {
        "operationId": operation,
        "summary": summary,
        "description": "Parameters come in the query, in a JSON object or as a form; a body wins over the query.",
        "parameters": [*query, *headers],
        "requestBody": {"content": {"application/json": body, "application/x-www-form-urlencoded": body}},
        "responses": {
            **{status: {**each, "headers": each["headers"] | replayed} for status, each in answers.items()},
            **errors(*WRITE_ERRORS, *statuses),
        },
    }


_COUNT = {"type": "integer"}
_TEXT = {"type": "string"}
_THREADS = {
    "type": "integer",
    "nullable": True,
    "description": "Threads that libraries in each worker will use; null when they decide",
}
_MISSING_TEXT = {"type": "string", "nullable": True}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_SHARES = {"type": "object", "additionalProperties": _COUNT, "description": "Percent of the requests, by version"}
#: Any JSON value.
_VALUE: dict[str, Any] = {"nullable": True}
WRITE_SCHEMAS: dict[str, Any] = {
    "PlannedArchive": object_of(
        {
            "url": _TEXT,
            "sha256": _TEXT,
            "bytes": _COUNT,
            "source": {"type": "string", "enum": [source.value for source in ArchiveSource]},
            "sameAs": {**_MISSING_TEXT, "description": "A registered version that has the same archive"},
        }
    ),
    "Change": object_of(
        {"path": {**_TEXT, "example": "nodes.sentiment.maxWorkers"}, "before": _VALUE, "after": _VALUE}
    ),
    "Plan": object_of(
        {
            "action": {"type": "string", "enum": [action.value for action in PlanAction]},
            "workflow": _TEXT,
            "version": _MISSING_TEXT,
            "fingerprint": {**_TEXT, "description": "For the parameter `plan` of the call that carries it out"},
            "archive": nullable("PlannedArchive"),
            "changes": _list(ref("Change")),
            "models": _list(
                object_of({"node": _TEXT, "url": _TEXT, "sha256": _TEXT, "bytes": _COUNT, "threads": _THREADS})
            ),
            "functions": _list(object_of({"name": _TEXT, "line": _COUNT, "threads": _THREADS})),
            "workers": object_of({"now": _COUNT, "after": _COUNT}),
            "routes": object_of({"before": _SHARES, "after": _SHARES}),
            "unknown": {**_list(_TEXT), "description": "What only doing it would show"},
            "warnings": _list(_TEXT),
        }
    ),
}
