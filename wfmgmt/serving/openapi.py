"""The OpenAPI description of the inference address; a test holds it against the routes that are really served."""

from typing import Any

from wfmgmt import __version__
from wfmgmt.http.openapi import ERROR_ANSWER, SHARED_PATHS, SHARED_SCHEMAS

_ANYTHING: dict[str, Any] = {
    "description": "The bytes of the leaf, with the content type that its handler set; several leaves: one JSON object",
    "content": {"application/json": {"schema": {}}, "*/*": {"schema": {"type": "string", "format": "binary"}}},
    "headers": {
        "x-wfmgmt-trace": {
            "description": "With trace=1: queuedMs, runMs, attempts and bytes per node, as a JSON object",
            "schema": {"type": "string"},
        }
    },
}
_BODY: dict[str, Any] = {
    "description": (
        "Anything; a form's fields reach the first handler under their names, any other body as `body`. "
        "It may have the Content-Encoding gzip or deflate."
    ),
    "content": {
        "*/*": {"schema": {"type": "string", "format": "binary"}},
        "application/json": {"schema": {}},
        "application/x-www-form-urlencoded": {"schema": {"type": "object"}},
        "multipart/form-data": {"schema": {"type": "object"}},
    },
}


def _failed(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NodeError"}}},
    }


_FAILURES = {
    "500": _failed("A node failed in all its tries"),
    "502": _failed("The model server of a node broke off, or answered what makes no sense"),
    "504": _failed("The workflow did not answer within its response_timeout, or the model server of a node in time"),
}


def _predict(method: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"predict{method.capitalize()}",
        "summary": "Have a workflow answer",
        "responses": {"200": _ANYTHING, **_FAILURES, "default": ERROR_ANSWER},
    }
    return operation if method == "get" else {**operation, "requestBody": _BODY}


INFERENCE_API: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "wfmgmt inference API", "version": __version__},
    "paths": {
        "/wfpredict/{name}": {
            "parameters": [
                {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}},
                {
                    "name": "trace",
                    "in": "query",
                    "description": "1 adds a header that tells what happened at each node",
                    "schema": {"type": "string", "enum": ["1"]},
                },
            ],
            **{method: _predict(method) for method in ("get", "post", "put")},
        },
        **SHARED_PATHS,
    },
    "components": {
        "schemas": {
            **SHARED_SCHEMAS,
            "NodeError": {
                "allOf": [
                    {"$ref": "#/components/schemas/Error"},
                    {
                        "type": "object",
                        "properties": {
                            "node": {"type": "string", "description": "The node that failed"},
                            "attempt": {"type": "integer", "description": "How many tries were made"},
                        },
                    },
                ]
            },
        }
    },
}
