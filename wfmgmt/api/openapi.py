"""The OpenAPI description of the management address; a test holds it against the routes that are really served."""

from http import HTTPStatus
from typing import Any

from wfmgmt import __version__
from wfmgmt.api.parameters import DEFAULT_LIMIT, MAX_LIMIT, MAX_TIMEOUT_S, MAX_TOKEN
from wfmgmt.domain.names import WORKFLOW_NAME_FORM
from wfmgmt.domain.workflow import SETTINGS, WORKFLOW_SETTINGS
from wfmgmt.http.openapi import NAME_IN_PATH, SHARED_PATHS, components, errors, json_answer, ref
from wfmgmt.services.registration import DEFAULT_TIMEOUT_S

_NAME_OR_EMPTY: dict[str, Any] = {"type": "string", "pattern": f"^({WORKFLOW_NAME_FORM})?$"}
_TIMEOUT = {"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_S, "default": DEFAULT_TIMEOUT_S}
_REGISTRATION: dict[str, dict[str, Any]] = {
    "url": {
        "type": "string",
        "pattern": r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
        "description": "Name of a .war in the workflow store, or an http(s) URL; needed, here or there",
    },
    "workflow_name": {**_NAME_OR_EMPTY, "description": "The name to register; the archive's own unless given"},
    "response_timeout": {**_TIMEOUT, "description": "Seconds in which the workflow has to answer a request"},
    "startup_timeout": {
        **_TIMEOUT,
        "description": "Seconds in which all workers have to be up, and the wait for a runtime that starts",
    },
    "synchronous": {"type": "boolean", "enum": [True], "description": "Answered when all workers are up"},
    "s3_sse_kms": {"type": "boolean", "enum": [False], "description": "Downloads from S3 are not supported"},
}
_LISTING = [
    {
        "name": "limit",
        "in": "query",
        "description": "Workflows wanted",
        "allowEmptyValue": True,
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    },
    {
        "name": "next_page_token",
        "in": "query",
        "description": "The nextPageToken of the page before; 400 together with `after`",
        "allowEmptyValue": True,
        "schema": {"type": "integer", "minimum": 0, "maximum": MAX_TOKEN},
    },
    {
        "name": "after",
        "in": "query",
        "description": "List what follows this name, which loses nothing to deletions. Empty: from the start",
        "schema": _NAME_OR_EMPTY,
    },
]


def _link(operation: str, parameter: str, value: str) -> dict[str, Any]:
    return {"operationId": operation, "parameters": {parameter: value}}


def _listing(operation: str) -> dict[str, Any]:
    links = {
        "nextPage": _link(operation, "next_page_token", "$response.body#/nextPageToken"),
        "next": _link(operation, "after", "$response.body#/nextAfter"),
        "describe": _link("describeWorkflow", "name", "$response.body#/workflows/0/workflowName"),
    }
    return {
        "get": {
            "operationId": operation,
            "summary": "List the workflows in name order",
            "parameters": _LISTING,
            "responses": {"200": {**json_answer("One page", ref("Page")), "links": links}, **errors()},
        }
    }


def _register() -> dict[str, Any]:
    body = {"schema": {"type": "object", "additionalProperties": False, "properties": _REGISTRATION}}
    links = {
        f"{verb}{what}": _link(f"{verb}Workflow", "name", f"$request.{place}")
        for verb in ("describe", "unregister")
        for what, place in (("Named", "query.workflow_name"), ("NamedInBody", "body#/workflow_name"))
    }
    return {
        "operationId": "registerWorkflow",
        "summary": "Register a workflow; answered when all its workers are up",
        "description": "Parameters come in the query, in a JSON object or as a form; a body wins over the query.",
        "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in _REGISTRATION.items()],
        "requestBody": {"content": {"application/json": body, "application/x-www-form-urlencoded": body}},
        "responses": {
            "200": {**json_answer("Registered", ref("Registered")), "links": links},
            **errors(*_REGISTERING),
        },
    }


_REGISTERING = (
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.GATEWAY_TIMEOUT,
    HTTPStatus.INSUFFICIENT_STORAGE,
)
_SETTINGS = {
    setting.api_name: {"type": "integer"} | ({"description": "Milliseconds"} if setting.field.endswith("_ms") else {})
    for setting in SETTINGS
}
_NODE = {
    "name": {"type": "string"},
    "kind": {"type": "string", "enum": ["model", "function"]},
    "url": {
        "type": "string",
        "nullable": True,
        "description": "The model's archive: its name in the model store, or its address without credentials and query",
    },
    "digest": {"type": "string", "nullable": True, "description": "SHA-256 of the model's archive"},
    **_SETTINGS,
    "readyWorkers": {"type": "integer", "description": "As the runtime reported, at most a second ago"},
    "error": {"type": "string", "nullable": True, "description": "Why workers are missing"},
}
_WORKFLOW = {
    "workflowName": {"type": "string"},
    "workflowUrl": {"type": "string"},
    **{name: _SETTINGS[name] for name in WORKFLOW_SETTINGS},
    "workflowDag": {"type": "string", "example": "{pre_processing=[m1], m1=[post_processing]}"},
    "nodes": {"type": "array", "items": {"type": "object", "required": list(_NODE), "properties": _NODE}},
    "registeredAt": {"type": "string", "format": "date-time"},
    "archiveSha256": {"type": "string"},
}
_LISTED = {"workflowName": {"type": "string"}, "workflowUrl": {"type": "string"}}

MANAGEMENT_API: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "wfmgmt management API", "version": __version__},
    "paths": {
        "/workflows": {**_listing("listWorkflows"), "post": _register()},
        "/models": _listing("listWorkflowsAsModels"),
        "/workflows/{name}": {
            "parameters": [NAME_IN_PATH],
            "get": {
                "operationId": "describeWorkflow",
                "summary": "Describe one workflow",
                "responses": {
                    "200": json_answer(
                        "A list of one", {"type": "array", "minItems": 1, "maxItems": 1, "items": ref("Workflow")}
                    ),
                    **errors(HTTPStatus.NOT_FOUND),
                },
            },
            "delete": {
                "operationId": "unregisterWorkflow",
                "summary": "Unregister one workflow; answered when its workers are gone",
                "responses": {
                    "200": json_answer("Unregistered", ref("Status")),
                    **errors(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.INSUFFICIENT_STORAGE),
                },
            },
        },
        **SHARED_PATHS,
    },
    "components": components(
        {
            "Status": {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}},
            "Registered": {
                "type": "object",
                "required": ["status"],
                "properties": {
                    "status": {"type": "string"},
                    "warnings": {
                        "type": "array",
                        "description": "Settings of the spec and of models' configuration files that have no effect",
                        "items": {"type": "string"},
                    },
                },
            },
            "Page": {
                "type": "object",
                "required": ["workflows"],
                "properties": {
                    "nextPageToken": {"type": "string", "description": "There unless this is the last page"},
                    "nextAfter": {"type": "string", "description": "The same for a walk by name"},
                    "workflows": {
                        "type": "array",
                        "items": {"type": "object", "required": list(_LISTED), "properties": _LISTED},
                    },
                },
            },
            "Workflow": {"type": "object", "required": list(_WORKFLOW), "properties": _WORKFLOW},
        },
        _REGISTERING,
    ),
}
