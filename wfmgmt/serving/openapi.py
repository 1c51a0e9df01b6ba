"""The OpenAPI description of the inference address; a test holds it against the routes that are really served."""

from http import HTTPStatus
from typing import Any

from wfmgmt import __version__
from wfmgmt.domain.access import Role
from wfmgmt.http.openapi import NAME_IN_PATH, SHARED_PATHS, answer, components, errors, json_answer, ref, secured

_VERSION: dict[str, Any] = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$", "example": "2.0"}
_VERSION_IN_PATH: dict[str, Any] = {"name": "version", "in": "path", "required": True, "schema": _VERSION}
_MODEL_IN_PATH: dict[str, Any] = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "A node, called WORKFLOW__NODE as TorchServe calls its model",
    "schema": {"type": "string", "minLength": 1, "example": "seq__sentiment"},
}
_VERSION_HEADER: dict[str, Any] = {
    "name": "x-workflow-version",
    "in": "header",
    "description": "The version that is to answer; without it the release decides",
    "schema": _VERSION,
}
_TRACE_PARAMETER: dict[str, Any] = {
    "name": "trace",
    "in": "query",
    "description": "1 adds a header that shows what happened at each node; other values do nothing",
    "schema": {"type": "string", "example": "1"},
}
_BYTES: dict[str, Any] = {"*/*": {"schema": {}}}
_TRACE = {
    "description": "With trace=1: queuedMs, runMs, attempts and bytes per node, as a JSON object",
    "schema": {"type": "string"},
}
_ANSWERED_BY = {"description": "The version that answered", "schema": _VERSION}
_METHODS = ("get", "post", "put")
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

_PREDICTING = (HTTPStatus.NOT_FOUND, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
_FAILURES = {
    "500": "A node failed in all its attempts",
    "502": "The model server of a node broke off, or its response was malformed",
    "504": "The workflow did not answer within its response_timeout, or the model server of a node in time",
}


def _predict(method: str, of_version: str = "", what: str = "a workflow") -> dict[str, Any]:
    responses = {
        **errors(*_PREDICTING),
        **{status: json_answer(text, ref("NodeError")) for status, text in _FAILURES.items()},
        "200": answer(
            "The bytes of the leaf, with the content type that its handler set; several leaves: one JSON object",
            _BYTES,
            **{"x-wfmgmt-trace": _TRACE, "x-workflow-version": _ANSWERED_BY},
        ),
        "default": answer("A status that a handler set", _BYTES),
    }
    found = {
        "operationId": f"predict{of_version}{method.capitalize()}",
        "summary": f"Send a request through {what}",
        "responses": responses,
    }
    operation = secured(found, Role.PREDICT, is_optional=True)
    return operation if method == "get" else {**operation, "requestBody": _BODY}


INFERENCE_API: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "wfmgmt inference API", "version": __version__},
    "paths": {
        "/wfpredict/{name}": {
            "parameters": [NAME_IN_PATH, _VERSION_HEADER, _TRACE_PARAMETER],
            **{method: _predict(method) for method in _METHODS},
        },
        "/wfpredict/{name}/{version}": {
            "parameters": [NAME_IN_PATH, _VERSION_IN_PATH, _TRACE_PARAMETER],
            **{method: _predict(method, "Version", "one version of a workflow") for method in _METHODS},
        },
        "/predictions/{model}": {
            "parameters": [_MODEL_IN_PATH, _VERSION_HEADER, _TRACE_PARAMETER],
            **{method: _predict(method, "Node", "one node of a workflow, to find a fault") for method in _METHODS},
        },
        "/predictions/{model}/{version}": {
            "parameters": [_MODEL_IN_PATH, _VERSION_IN_PATH, _TRACE_PARAMETER],
            **{
                method: _predict(method, "NodeOfVersion", "one node of one version of a workflow")
                for method in _METHODS
            },
        },
        **{
            path: {method: secured(each, Role.VIEW if path == "/metrics" else None) for method, each in item.items()}
            for path, item in SHARED_PATHS.items()
        },
    },
    "components": components(
        {
            "NodeError": {
                "allOf": [
                    {"$ref": "#/components/schemas/Error"},
                    {
                        "type": "object",
                        "properties": {
                            "node": {"type": "string", "description": "The node that failed"},
                            "attempt": {"type": "integer", "description": "How many attempts were made"},
                            "hint": {"type": "string", "description": "That another attempt is not likely to help"},
                        },
                    },
                ]
            },
        },
        _PREDICTING,
    ),
}
