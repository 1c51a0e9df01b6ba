"""The parts of the OpenAPI descriptions that both planes share."""

from typing import Any

ERROR_ANSWER: dict[str, Any] = {
    "description": "An error; 403 `CrossOriginException` for what a web page of another origin may have sent",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
#: Schemas that both planes' descriptions share.
SHARED_SCHEMAS: dict[str, Any] = {
    "Error": {
        "type": "object",
        "required": ["code", "type", "message"],
        "properties": {
            "code": {"type": "integer", "description": "The HTTP status"},
            "type": {"type": "string", "description": "TorchServe's name for the kind of error"},
            "message": {"type": "string"},
        },
    },
    "Health": {
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {"type": "string", "enum": ["Healthy", "Partial Healthy", "Unhealthy"]},
            "notReady": {
                "type": "object",
                "description": "Workflows that are not ready, each with why; a hundred at most",
                "additionalProperties": {"type": "string"},
            },
            "notReadyCount": {"type": "integer", "description": "How many there are, when not all are named"},
            "code": {"type": "integer", "description": "503 when nothing can be served, with type and message"},
            "type": {"type": "string"},
            "message": {"type": "string", "description": "Why nothing can be served"},
        },
    },
}

_READINESS: dict[str, Any] = {
    "type": "object",
    "required": ["status"],
    "properties": {
        **SHARED_SCHEMAS["Health"]["properties"],
        "status": {"type": "string", "enum": ["Ready", "Not Ready"]},
        "code": {"type": "integer", "description": "503 unless it is ready, with type and message"},
        "message": {"type": "string", "description": "Why it is not ready"},
    },
}


def json_answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a response object with a JSON body."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_HEALTH = {"$ref": "#/components/schemas/Health"}
#: Paths that both planes answer alike.
SHARED_PATHS: dict[str, Any] = {
    "/ping": {
        "get": {
            "operationId": "ping",
            "summary": "Tell whether everything runs, or what does not",
            "responses": {
                "200": json_answer("All or some workflows can be served", _HEALTH),
                "503": json_answer("Nothing can be served", _HEALTH),
            },
        }
    },
    "/readyz": {
        "get": {
            "operationId": "readyz",
            "summary": "Tell whether all workflows that were ready before the last start are ready again",
            "responses": {
                "200": json_answer("They are", _READINESS),
                "503": json_answer("They are not, or nothing can be served", _READINESS),
            },
        }
    },
    "/livez": {
        "get": {
            "operationId": "livez",
            "summary": "Tell that the process serves",
            "responses": {
                "200": json_answer(
                    "It does", {"type": "object", "properties": {"status": {"type": "string", "enum": ["Live"]}}}
                )
            },
        }
    },
    "/metrics": {
        "get": {
            "operationId": "metrics",
            "summary": "Give the metrics of this address",
            "responses": {
                "200": {
                    "description": "Prometheus text format",
                    "content": {"text/plain": {"schema": {"type": "string"}}},
                },
            },
        }
    },
    "/api-description": {
        "get": {
            "operationId": "apiDescription",
            "summary": "Give this description",
            "responses": {"200": json_answer("OpenAPI 3", {"type": "object"})},
        }
    },
    "/": {
        "options": {
            "operationId": "apiDescriptionByOptions",
            "summary": "Give this description",
            "responses": {"200": json_answer("OpenAPI 3", {"type": "object"}), "default": ERROR_ANSWER},
        }
    },
}
