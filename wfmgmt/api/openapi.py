"""The OpenAPI description of the management address; a test holds it against the routes that are really served."""

import re
from http import HTTPStatus
from typing import Any

from wfmgmt import __version__
from wfmgmt.api.access import ROLES
from wfmgmt.api.graph import GRAPH_PATHS
from wfmgmt.api.logs import LOG_PATHS, LOG_SCHEMAS
from wfmgmt.api.multipart import MULTIPART
from wfmgmt.api.openapi_apply import APPLY_PATHS, APPLY_SCHEMAS
from wfmgmt.api.openapi_archives import ARCHIVE_PATHS, ARCHIVE_SCHEMAS
from wfmgmt.api.openapi_audit import AUDIT_PATHS, AUDIT_SCHEMAS
from wfmgmt.api.openapi_explain import EXPLAIN_PATHS, EXPLAIN_SCHEMAS
from wfmgmt.api.openapi_operations import ACCEPTED, OPERATION_PATHS, OPERATION_SCHEMAS
from wfmgmt.api.openapi_parts import (
    ETAG,
    VERSION_IN_PATH,
    WRITE_ERRORS,
    WRITE_HEADERS,
    WRITE_SCHEMAS,
    either,
    header_ref,
    read,
    write,
)
from wfmgmt.api.openapi_releases import NODE_PATHS, RELEASE_PATHS, RELEASE_SCHEMAS, SCALING
from wfmgmt.api.openapi_tokens import TOKEN_PATHS, TOKEN_SCHEMAS
from wfmgmt.api.openapi_uploads import UPLOAD_ERRORS, UPLOAD_SCHEMAS, form_schema
from wfmgmt.api.parameters import ALL_STATES, DEFAULT_LIMIT, MAX_LIMIT, MAX_TOKEN, NAME_PATTERN, NODE_NAME_PATTERN
from wfmgmt.api.write_rules import NAME_OR_EMPTY, REGISTER, UNREGISTER, UNREGISTER_VERSION
from wfmgmt.control.messages import VersionState
from wfmgmt.domain.status import WorkflowState
from wfmgmt.domain.workflow import SETTINGS, WORKFLOW_SETTINGS
from wfmgmt.http.openapi import MOMENT, NAME_IN_PATH, SHARED_PATHS, components, errors, json_answer, ref, secured
from wfmgmt.services.store_files import StoreFileState

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
        "schema": NAME_OR_EMPTY,
    },
    {
        "name": "state",
        "in": "query",
        "description": "List what is in this state, also what is under way; 400 together with `after`",
        "allowEmptyValue": True,
        "schema": {"type": "string", "enum": [*(state.value for state in WorkflowState), ALL_STATES]},
    },
    {
        "name": "name",
        "in": "query",
        "description": "List the workflow of this name, or those whose names begin so (`seq*`); as `state` otherwise",
        "allowEmptyValue": True,
        "schema": {"type": "string", "pattern": f"^{NAME_PATTERN}$"},
    },
    {
        "name": "node",
        "in": "query",
        "description": (
            "List the workflows that have a node of this name, or one whose name begins so; as `state` otherwise. A "
            "registration has none before its archive was read"
        ),
        "allowEmptyValue": True,
        "schema": {"type": "string", "pattern": f"^{NODE_NAME_PATTERN}$"},
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
    links = {
        f"{verb}{what}": _link(f"{verb}Workflow", "name", f"$request.{place}")
        for verb in ("describe", "unregister")
        for what, place in (("Named", "query.workflow_name"), ("NamedInBody", "body#/workflow_name"))
    }
    registered = json_answer(
        "Registered, or the plan of that", either("Registered"), ETag=ETAG, Location=header_ref("Location")
    )
    described = write(
        REGISTER,
        "registerWorkflow",
        "Register a version of a workflow; answered when all its workers are up",
        {"200": {**registered, "links": links}, "202": ACCEPTED},
        *UPLOAD_ERRORS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.GATEWAY_TIMEOUT,
    )
    content = {**described["requestBody"]["content"], MULTIPART: {"schema": form_schema(REGISTER)}}
    return {**described, "requestBody": {"content": content}}


_SETTINGS = {
    setting.api_name: {"type": "integer"} | ({"description": "Milliseconds"} if setting.field.endswith("_ms") else {})
    for setting in SETTINGS
}
_WORKER = {
    "pid": {"type": "integer"},
    "startedAt": MOMENT,
    "pssBytes": {
        "type": "integer",
        "nullable": True,
        "description": "Its memory, with its part of what it shares with other processes",
    },
    "threads": {"type": "integer", "nullable": True},
}


def _measured(kind: str, what: str) -> dict[str, Any]:
    return {"type": kind, "nullable": True, "description": f"{what}; null while the node is not loaded"}


_STORE_FILE = {
    "type": "string",
    "enum": [state.value for state in StoreFileState],
    "description": (
        "How the file in the store compares with what was registered from it, which runs in any case; another file is "
        "registered as a new version"
    ),
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
    "overridden": {
        "type": "array",
        "items": {"type": "string"},
        "description": "Settings that are not those of the spec any more",
    },
    "threads": {
        "type": "integer",
        "nullable": True,
        "description": "Threads that libraries in each new worker use; null when they decide",
    },
    "workers": {
        "type": "array",
        "items": {"type": "object", "required": list(_WORKER), "properties": _WORKER},
        "description": "Worker processes that are ready, unless they are a TorchServe's; at most a second ago",
    },
    "requests": _measured("integer", "Attempts of the last minute to have it answer"),
    "failures": _measured("integer", "Those that failed"),
    "queued": _measured("integer", "Requests that no worker has begun"),
    "p50Ms": _measured("number", "Milliseconds that half of the attempts took at most, likewise without any"),
    "p99Ms": _measured("number", "Milliseconds that 99 of 100 took at most, likewise without any"),
    "storeFile": {**_STORE_FILE, "nullable": True, "enum": [*_STORE_FILE["enum"], None]},
}
_WORKFLOW = {
    "workflowName": {"type": "string"},
    "workflowUrl": {"type": "string"},
    **{name: _SETTINGS[name] for name in WORKFLOW_SETTINGS},
    "workflowDag": {"type": "string", "example": "{pre_processing=[m1], m1=[post_processing]}"},
    "nodes": {"type": "array", "items": {"type": "object", "required": list(_NODE), "properties": _NODE}},
    "registeredAt": MOMENT,
    "archiveSha256": {"type": "string"},
    "version": {"type": "string"},
    "default": {"type": "boolean", "description": "Whether it has the largest share of the requests"},
    "revision": {"type": "integer", "description": "How many changes the workflow has had; its entity tag"},
    "release": {"type": "integer", "description": "Number of the current release"},
    "routes": {"type": "array", "items": ref("Route")},
    "state": {"type": "string", "enum": [state.value for state in VersionState]},
    "storeFile": _STORE_FILE,
}
_DESCRIBED = json_answer(
    "A list of one", {"type": "array", "minItems": 1, "maxItems": 1, "items": ref("Workflow")}, ETag=ETAG
)
_UNREGISTERED = json_answer("Unregistered, or the plan of that", either("Status"), ETag=header_ref("EntityTagOfRest"))
_LISTED = {
    "workflowName": {"type": "string", "description": "Empty while a registration has not found it out"},
    "workflowUrl": {"type": "string"},
    "version": {"type": "string", "description": "In a list by state or name, as the next two"},
    "state": {"type": "string", "enum": [state.value for state in WorkflowState]},
    "operation": {"type": "string", "description": "The path of the operation that registers it"},
}


def _secured(paths: dict[str, Any]) -> dict[str, Any]:
    """Return the paths with the roles that their operations take, as the table of roles has them."""
    roles = {re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", route): role for route, role in ROLES.items()}
    return {
        path: {
            key: value if key == "parameters" else secured(value, roles[f"{key.upper()} {path}"])
            for key, value in item.items()
        }
        for path, item in paths.items()
    }


MANAGEMENT_API: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "wfmgmt management API", "version": __version__},
    "paths": _secured(
        {
            "/workflows": {**_listing("listWorkflows"), "post": _register()},
            "/models": _listing("listWorkflowsAsModels"),
            "/workflows/{name}": {
                "parameters": [NAME_IN_PATH],
                "get": read("describeWorkflow", "Describe the default version of a workflow", _DESCRIBED),
                "put": SCALING["scaleWorkflow"],
                "delete": write(
                    UNREGISTER,
                    "unregisterWorkflow",
                    "Unregister one workflow with all its versions; answered when its workers are gone",
                    {"200": _UNREGISTERED},
                ),
            },
            "/workflows/{name}/all": {
                "parameters": [NAME_IN_PATH],
                "get": read(
                    "describeAllVersions",
                    "Describe all versions of a workflow, in the order of their registration",
                    json_answer("All versions", {"type": "array", "minItems": 1, "items": ref("Workflow")}, ETag=ETAG),
                ),
            },
            "/workflows/{name}/{version}": {
                "parameters": [NAME_IN_PATH, VERSION_IN_PATH],
                "get": read("describeVersion", "Describe one version of a workflow", _DESCRIBED),
                "put": SCALING["scaleVersion"],
                "delete": write(
                    UNREGISTER_VERSION,
                    "unregisterVersion",
                    "Unregister one version of a workflow; the only one with the workflow",
                    {"200": _UNREGISTERED},
                ),
            },
            **RELEASE_PATHS,
            **GRAPH_PATHS,
            **LOG_PATHS,
            **EXPLAIN_PATHS,
            **NODE_PATHS,
            **OPERATION_PATHS,
            **ARCHIVE_PATHS,
            **APPLY_PATHS,
            **TOKEN_PATHS,
            **AUDIT_PATHS,
            **SHARED_PATHS,
        }
    ),
    "components": components(
        {
            "Status": {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}},
            "Registered": {
                "type": "object",
                "required": ["status"],
                "properties": {
                    "status": {"type": "string"},
                    "version": {"type": "string", "description": "There when the request named one"},
                    "default": {"type": "boolean", "description": "Whether it has the largest share; likewise"},
                    "warnings": {
                        "type": "array",
                        "description": "Settings of the spec and of models' configuration files that have no effect",
                        "items": {"type": "string"},
                    },
                },
            },
            "Accepted": {
                "type": "object",
                "required": ["status", "operation"],
                "properties": {
                    "status": {"type": "string"},
                    "operation": {"type": "string", "description": "The path of the operation"},
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
                        "items": {"type": "object", "required": list(_LISTED)[:2], "properties": _LISTED},
                    },
                },
            },
            "Workflow": {"type": "object", "required": list(_WORKFLOW), "properties": _WORKFLOW},
            **RELEASE_SCHEMAS,
            **LOG_SCHEMAS,
            **EXPLAIN_SCHEMAS,
            **OPERATION_SCHEMAS,
            **ARCHIVE_SCHEMAS,
            **UPLOAD_SCHEMAS,
            **APPLY_SCHEMAS,
            **TOKEN_SCHEMAS,
            **AUDIT_SCHEMAS,
            **WRITE_SCHEMAS,
        },
        (*WRITE_ERRORS, *UPLOAD_ERRORS, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT),
        WRITE_HEADERS,
    ),
}
