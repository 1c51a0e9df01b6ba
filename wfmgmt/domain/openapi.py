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
