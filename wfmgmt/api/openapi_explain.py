"""The description of the endpoints that explain."""

from http import HTTPStatus
from typing import Any

from wfmgmt.api.openapi_parts import VERSION_IN_PATH
from wfmgmt.domain.explaining.facts import ExplainedState
from wfmgmt.http.openapi import MOMENT, NAME_IN_PATH, answer, errors, nullable, object_of, ref

_TEXT: dict[str, Any] = {"type": "string"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}


def _null(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {**schema, "nullable": True, "description": description}


def _list(items: dict[str, Any], description: str) -> dict[str, Any]:
    return {"type": "array", "items": items, "description": description}


_UNKNOWN = "null while the runtime does not say, or it is not loaded"
EXPLAIN_SCHEMAS: dict[str, Any] = {
    "Problem": object_of(
        {
            "node": _null(_TEXT, "The node that it is about; null when it is about the version"),
            "what": {**_TEXT, "description": "What is so"},
            "since": _null(MOMENT, "As far as is known"),
            "hint": {**_TEXT, "description": "What to do, with the exact command or setting"},
        }
    ),
    "ExplainedNode": object_of(
        {
            "name": _TEXT,
            "kind": {"type": "string", "enum": ["model", "function"]},
            "readyWorkers": _COUNT,
            "wantedWorkers": _COUNT,
            "error": _null(_TEXT, "Why workers are missing"),
            "saturation": _null(_TEXT, f"How busy it is, in words; {_UNKNOWN}"),
            "queued": _null(_COUNT, f"Requests that no worker has begun; {_UNKNOWN}"),
            "requests": _null(_COUNT, f"Attempts of the last minute; {_UNKNOWN}"),
            "failures": _null(_COUNT, f"Those that failed; {_UNKNOWN}"),
            "p50Ms": _null({"type": "number"}, "Milliseconds that half of them took at most; null without any"),
            "p99Ms": _null({"type": "number"}, "The same of 99 of 100"),
            "lines": _list(ref("LogLine"), "The last lines of the log about it, and its last warning and error"),
        }
    ),
    "LastChange": object_of({"at": MOMENT, "actor": _TEXT, "action": _TEXT}),
    "Explanation": object_of(
        {
            "workflow": _TEXT,
            "version": _TEXT,
            "state": {"type": "string", "enum": [state.value for state in ExplainedState]},
            "summary": {**_TEXT, "description": "All of it in one sentence"},
            "problems": _list(ref("Problem"), "What is wrong, the most important first"),
            "nodes": _list(ref("ExplainedNode"), "In the order of the graph"),
            "lastChange": nullable("LastChange"),
            "operations": _list(_TEXT, "Paths of the operations on the workflow that are not done"),
            "diff": nullable("Diff"),
        }
    ),
}
_EXPLAINED = answer(
    "The explanation; text for people with `Accept: text/plain`",
    {"application/json": {"schema": ref("Explanation")}, "text/plain": {"schema": _TEXT}},
    Vary={"description": "`Accept`, since that chooses the form", "required": True, "schema": _TEXT},
)


def _operation(operation: str, what: str) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": f"Explain why {what} is not ready or slow, and what to do",
        "responses": {"200": _EXPLAINED, **errors(HTTPStatus.NOT_FOUND)},
    }


EXPLAIN_PATHS: dict[str, Any] = {
    "/workflows/{name}/explain": {
        "parameters": [NAME_IN_PATH],
        "get": _operation("explainWorkflow", "the default version of a workflow"),
    },
    "/workflows/{name}/{version}/explain": {
        "parameters": [NAME_IN_PATH, VERSION_IN_PATH],
        "get": _operation("explainVersion", "a version"),
    },
}
