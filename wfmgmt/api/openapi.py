"""The OpenAPI description of the management address; a test holds it against the routes that are really served."""

from typing import Any

from wfmgmt import __version__
from wfmgmt.api.parameters import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    MAX_TIMEOUT_S,
    MAX_TOKEN,
)
from wfmgmt.domain.workflow import SETTINGS, WORKFLOW_SETTINGS
from wfmgmt.http.openapi import ERROR_ANSWER, SHARED_PATHS, SHARED_SCHEMAS, json_answer
from wfmgmt.services.registration import DEFAULT_TIMEOUT_S

_TIMEOUT = {"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_S, "default": DEFAULT_TIMEOUT_S}
_REGISTRATION: dict[str, dict[str, Any]] = {
    "url": {"type": "string", "description": "Name of a .war in the workflow store, or an http(s) URL"},
    "workflow_name": {"type": "string", "description": "The name to register; the archive's own unless given"},
    "response_timeout": {**_TIMEOUT, "description": "Seconds in which the workflow has to answer a request"},
    "startup_timeout": {
        **_TIMEOUT,
        "description": "Seconds in which all workers have to be up, and the wait for a runtime that starts",
    },
    "synchronous": {"type": "boolean", "enum": [True], "description": "Answered when all workers are up"},
    "s3_sse_kms": {"type": "boolean", "enum": [False], "description": "Downloads from S3 are not supported"},
}
_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_LISTING = [
    {
        "name": "limit",
        "in": "query",
        "description": "Workflows wanted",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    },
    {
        "name": "next_page_token",
        "in": "query",
        "description": "The nextPageToken of the page before",
        "schema": {"type": "integer", "minimum": 0, "maximum": MAX_TOKEN},
    },
    {
        "name": "after",
        "in": "query",
        "description": "List what follows this name, which loses nothing to deletions. Empty: from the start",
        "schema": {"type": "string"},
    },
]


def _ref(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _listing(operation: str) -> dict[str, Any]:
    return {
        "get": {
            "operationId": operation,
            "summary": "List the workflows in name order",
            "parameters": _LISTING,
            "responses": {"200": json_answer("One page", _ref("Page")), "default": ERROR_ANSWER},
        }
    }


def _register() -> dict[str, Any]:
    body = {"schema": {"type": "object", "additionalProperties": False, "properties": _REGISTRATION}}
    return {
        "operationId": "registerWorkflow",
        "summary": "Register a workflow; answered when all its workers are up",
        "description": "Parameters come in the query, in a JSON object or as a form; a body wins over the query.",
        "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in _REGISTRATION.items()],
        "requestBody": {"content": {"application/json": body, "application/x-www-form-urlencoded": body}},
        "responses": {"200": json_answer("Registered", _ref("Registered")), "default": ERROR_ANSWER},
    }


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
            "parameters": [_NAME],
            "get": {
                "operationId": "describeWorkflow",
                "summary": "Describe one workflow",
                "responses": {
                    "200": json_answer("A list of one", {"type": "array", "items": _ref("Workflow")}),
                    "default": ERROR_ANSWER,
                },
            },
            "delete": {
                "operationId": "unregisterWorkflow",
                "summary": "Unregister one workflow; answered when its workers are gone",
                "responses": {"200": json_answer("Unregistered", _ref("Status")), "default": ERROR_ANSWER},
            },
        },
        **SHARED_PATHS,
    },
    "components": {
        "schemas": {
            **SHARED_SCHEMAS,
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
        }
    },
}
