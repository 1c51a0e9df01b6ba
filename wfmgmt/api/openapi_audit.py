"""The description of the endpoints of the audit trail."""

from http import HTTPStatus
from typing import Any

from wfmgmt.api.answers import JSON
from wfmgmt.api.audit import CSV, LINES, LISTING
from wfmgmt.http.openapi import MOMENT, answer, errors, json_answer, object_of, ref
from wfmgmt.registry.audit_reading import MAX_NUMBER

_TEXT = {"type": "string"}
_NUMBER = {"type": "integer"}
_EVENT = {
    "id": _NUMBER,
    "at": MOMENT,
    "actor": _TEXT,
    "address": _TEXT,
    "requestId": _TEXT,
    "action": _TEXT,
    "workflow": _TEXT,
    "outcome": {"type": "string", "enum": ["succeeded", "failed"]},
    "detail": {"type": "object", "additionalProperties": True},
    "previousHash": _TEXT,
    "hash": _TEXT,
}


AUDIT_SCHEMAS: dict[str, Any] = {
    "AuditEvent": object_of(_EVENT),
    "AuditPage": object_of(
        {
            "total": {**_NUMBER, "nullable": True, "description": "In all; null when it takes too long to count"},
            "nextBeforeId": {
                **_NUMBER,
                "nullable": True,
                "description": "For the next page; null with the last one. A page may have fewer events than wanted",
            },
            "archived": {**_NUMBER, "description": "Events 1 to this one are in files, and on no page; 0 for none"},
            "events": {"type": "array", "items": ref("AuditEvent")},
        }
    ),
    "AuditHead": object_of(
        {
            "id": {**_NUMBER, "description": "0 before the first event"},
            "hash": {**_TEXT, "nullable": True},
            "at": {**MOMENT, "nullable": True},
        }
    ),
}
_ARCHIVED = {
    "x-wfmgmt-archived": {
        "schema": _NUMBER,
        "description": "With CSV and lines: the last event that was archived, and is not there",
    }
}
_PAGE = {
    JSON: {"schema": ref("AuditPage")},
    CSV: {"schema": _TEXT},
    LINES: {"schema": _TEXT},
}
AUDIT_PATHS: dict[str, Any] = {
    "/audit": {
        "get": {
            "operationId": "listEvents",
            "summary": "List events of the audit trail: a page of JSON, or all of them as CSV or as lines of JSON",
            "parameters": [
                {"name": name, "in": "query", "allowEmptyValue": True, "schema": schema}
                for name, schema in LISTING.items()
            ],
            "responses": {
                "200": answer("What `Accept` asks for", _PAGE, Vary={"schema": _TEXT}, **_ARCHIVED),
                **errors(),
            },
        }
    },
    "/audit/{number}": {
        "parameters": [
            {
                "name": "number",
                "in": "path",
                "required": True,
                "schema": {"type": "integer", "minimum": 0, "maximum": MAX_NUMBER},
            }
        ],
        "get": {
            "operationId": "showEvent",
            "summary": "Show one event; of one that was archived, the 404 names the file",
            "responses": {"200": json_answer("The event", ref("AuditEvent")), **errors(HTTPStatus.NOT_FOUND)},
        },
    },
    "/audit/head": {
        "get": {
            "operationId": "showHead",
            "summary": "Show the newest event, by whose hash a cut tail is noticed later",
            "responses": {"200": json_answer("Its number, hash and time", ref("AuditHead")), **errors()},
        }
    },
}
