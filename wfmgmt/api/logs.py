"""The endpoints that show the last lines of the log about a version of a workflow."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request

from wfmgmt.api.answers import json_response
from wfmgmt.api.openapi_parts import VERSION_IN_PATH
from wfmgmt.api.parameters import query_parameters
from wfmgmt.http.openapi import MOMENT, NAME_IN_PATH, errors, json_answer, ref
from wfmgmt.services.inspection import Inspection

DEFAULT_LINES, MAX_LINES = 100, 1000
_QUERY = {
    "node": {"type": "string", "minLength": 1, "description": "Lines about this node only"},
    "lines": {"type": "integer", "minimum": 1, "maximum": MAX_LINES, "default": DEFAULT_LINES},
}
_LINE = {
    "at": MOMENT,
    "node": {"type": "string"},
    "pid": {"type": "integer", "nullable": True, "description": "The worker's process"},
    "level": {"type": "string"},
    "text": {"type": "string", "description": "The message, and its traceback on further lines"},
}
LOG_SCHEMAS: dict[str, Any] = {
    "LogLine": {"type": "object", "required": list(_LINE), "properties": _LINE},
    "Log": {
        "type": "object",
        "required": ["lines"],
        "properties": {"lines": {"type": "array", "items": ref("LogLine")}},
    },
}


def _operation(operation: str, what: str) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": f"Show the last lines of the log about the nodes of {what}, the oldest first",
        "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in _QUERY.items()],
        "responses": {"200": json_answer("The lines", ref("Log")), **errors(HTTPStatus.NOT_FOUND)},
    }


LOG_PATHS: dict[str, Any] = {
    "/workflows/{name}/logs": {
        "parameters": [NAME_IN_PATH],
        "get": _operation("showLog", "the default version"),
    },
    "/workflows/{name}/{version}/logs": {
        "parameters": [NAME_IN_PATH, VERSION_IN_PATH],
        "get": _operation("showLogOfVersion", "a version"),
    },
}


def add_log_views(blueprint: Blueprint, *, inspection: Inspection) -> None:
    """Add the routes to a blueprint."""

    @blueprint.get("/workflows/<workflow:name>/logs")
    @blueprint.get("/workflows/<workflow:name>/<version:version>/logs", endpoint="logs_of_version")
    def logs(name: str, version: str | None = None) -> Response:
        """Show the last lines about one version of a workflow, its default one unless named."""
        parameters = query_parameters(request, _QUERY)
        lines = parameters.integer("lines") or DEFAULT_LINES
        found = inspection.log(name, version, node=parameters.text("node") or None, lines=lines)
        return json_response({"lines": [asdict(line) for line in found]})
