"""The parts of the OpenAPI descriptions that both planes share."""

from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any

from wfmgmt.domain.access import Role
from wfmgmt.domain.names import WORKFLOW_NAME_FORM

WORKFLOW_NAME: dict[str, Any] = {"type": "string", "pattern": f"^{WORKFLOW_NAME_FORM}$"}
MOMENT: dict[str, Any] = {"type": "string", "format": "date-time"}
NAME_IN_PATH: dict[str, Any] = {"name": "name", "in": "path", "required": True, "schema": WORKFLOW_NAME}

_ERRORS = {
    HTTPStatus.BAD_REQUEST: "Something in the request is wrong; the message names it, and what would be right",
    HTTPStatus.UNAUTHORIZED: "`InvalidKeyException`: it takes a token that is accepted, as `Authorization: Bearer …`",
    HTTPStatus.FORBIDDEN: "`ForbiddenException`: the token is not enough; `CrossOriginException`: a web page of "
    "another origin may have sent it",
    HTTPStatus.NOT_FOUND: "There is no such thing",
    HTTPStatus.REQUEST_TIMEOUT: "The request did not arrive in time",
    HTTPStatus.CONFLICT: "It cannot be done as things are; the message says why",
    HTTPStatus.PRECONDITION_FAILED: "`PreconditionFailedException`: the workflow has another revision",
    HTTPStatus.UNPROCESSABLE_ENTITY: "`IdempotencyKeyReusedException`: another request had the key",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large",
    HTTPStatus.REQUEST_URI_TOO_LONG: "The request line is too long",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many refused tokens came from this address",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body has an encoding other than gzip or deflate",
    HTTPStatus.EXPECTATION_FAILED: "The header `Expect` is not `100-continue`",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The headers are too large",
    HTTPStatus.INTERNAL_SERVER_ERROR: "A handler failed, or the service has a defect",
    HTTPStatus.BAD_GATEWAY: "A model server failed",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not now; the message says why",
    HTTPStatus.GATEWAY_TIMEOUT: "A workflow or a model server did not answer in time",
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: "The version of HTTP is not 1.0 or 1.1",
    HTTPStatus.INSUFFICIENT_STORAGE: "No space is left",
}
_RETRY = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
_ERROR_HEADERS: Mapping[HTTPStatus, dict[str, Any]] = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": {"$ref": "#/components/headers/Challenge"}},
    HTTPStatus.TOO_MANY_REQUESTS: _RETRY,
    HTTPStatus.SERVICE_UNAVAILABLE: _RETRY,
}
#: Errors of every path.
_ANYWHERE = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.REQUEST_URI_TOO_LONG,
    HTTPStatus.EXPECTATION_FAILED,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
)


def ref(schema: str) -> dict[str, str]:
    """Return a reference to a schema of the description."""
    return {"$ref": f"#/components/schemas/{schema}"}


def object_of(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object that has all of these."""
    return {"type": "object", "required": list(properties), "properties": properties}


def nullable(schema: str) -> dict[str, Any]:
    """Return a reference to a schema whose value may be missing."""
    return {"allOf": [ref(schema)], "nullable": True}


def answer(description: str, content: dict[str, Any], **headers: dict[str, Any]) -> dict[str, Any]:
    """Return a response object, with the header that every answer has beside others."""
    return {
        "description": description,
        "content": content,
        "headers": {"x-request-id": {"$ref": "#/components/headers/RequestId"}, **headers},
    }


def json_answer(description: str, schema: dict[str, Any], **headers: dict[str, Any]) -> dict[str, Any]:
    """Return a response object with a JSON body."""
    return answer(description, {"application/json": {"schema": schema}}, **headers)


def errors(*statuses: HTTPStatus) -> dict[str, Any]:
    """Return the response objects of these errors, and of those that can come anywhere, by status."""
    return {str(int(each)): {"$ref": f"#/components/responses/{each.name}"} for each in sorted({*statuses, *_ANYWHERE})}


def secured(operation: dict[str, Any], role: Role | None, *, is_optional: bool = False) -> dict[str, Any]:
    """Return an operation that says what it takes to call it.

    Args:
        operation: The operation.
        role: The role that its token needs; None for what is open to all.
        is_optional: Whether a setting decides about that.
    """
    if role is None:
        return {**operation, "security": []}
    more = f"Takes a token with the role `{role}`{', if INFERENCE_TOKENS is true' if is_optional else ''}."
    return {
        **operation,
        "description": f"{operation['description']} {more}" if "description" in operation else more,
        "security": [*([{}] if is_optional else []), {"token": []}],
        "x-required-role": role.value,
    }


def _error(status: HTTPStatus) -> dict[str, Any]:
    return json_answer(_ERRORS[status], ref("Error"), **_ERROR_HEADERS.get(status, {}))


def components(
    schemas: dict[str, Any], statuses: Collection[HTTPStatus], headers: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the components of a description: its own schemas and headers, shared ones, errors of these statuses."""
    return {
        "securitySchemes": {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "wfm_…",
                "description": "A token of `wfmgmt token create` or `POST /tokens`. What requests without one may do, "
                "`ANONYMOUS_ROLE` says: everything on loopback, until there is a first token",
            }
        },
        "schemas": {**_SCHEMAS, **schemas},
        "responses": {each.name: _error(each) for each in sorted({*statuses, *_ANYWHERE})},
        "headers": {
            "RequestId": {
                "description": "The caller's own if it sent one of up to 128 plain characters, else a new UUID",
                "required": True,
                "schema": {"type": "string"},
            },
            "RetryAfter": {
                "description": "Seconds",
                "required": True,
                "schema": {"type": "integer", "minimum": 0},
            },
            "Challenge": {"required": True, "schema": {"type": "string", "enum": ["Bearer"]}},
            **(headers or {}),
        },
    }


_SCHEMAS: dict[str, Any] = {
    "Error": {
        "type": "object",
        "required": ["code", "type", "message"],
        "properties": {
            "code": {"type": "integer", "description": "The HTTP status"},
            "type": {"type": "string", "description": "TorchServe's name for the kind of error"},
            "message": {"type": "string"},
            "hint": {"type": "string", "description": "What else the client may have wanted"},
            "operation": {"type": "string", "description": "The operation that is at work on it, when one is"},
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
        **_SCHEMAS["Health"]["properties"],
        "status": {"type": "string", "enum": ["Ready", "Not Ready"]},
        "code": {"type": "integer", "description": "503 unless it is ready, with type and message"},
        "message": {"type": "string", "description": "Why it is not ready"},
    },
}

_LIVENESS = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string", "enum": ["Live"]}}}
_OPENAPI = json_answer("OpenAPI 3", {"type": "object"})


def _get(operation: str, summary: str, *answers: dict[str, Any]) -> dict[str, Any]:
    """Return an operation with an answer for 200, and perhaps one of its own for 503."""
    own = dict(zip(("200", "503"), answers, strict=False))
    return {"operationId": operation, "summary": summary, "responses": errors() | own}


#: Paths that both planes answer alike.
SHARED_PATHS: dict[str, Any] = {
    "/ping": {
        "get": _get(
            "ping",
            "Say whether everything runs, or what does not",
            json_answer("All or some workflows can be served", ref("Health")),
            json_answer("Nothing can be served", ref("Health")),
        )
    },
    "/readyz": {
        "get": _get(
            "readyz",
            "Say whether all workflows are ready that were so before the last start, or that the start registers",
            json_answer("They are", _READINESS),
            json_answer("They are not, or nothing can be served", _READINESS),
        )
    },
    "/livez": {"get": _get("livez", "Say that the process serves", json_answer("It does", _LIVENESS))},
    "/metrics": {
        "get": _get(
            "metrics",
            "Return the metrics of this address",
            answer("Prometheus text format", {"text/plain": {"schema": {"type": "string"}}}),
        )
    },
    "/api-description": {"get": _get("apiDescription", "Return this description", _OPENAPI)},
    "/": {"options": _get("apiDescriptionByOptions", "Return this description", _OPENAPI)},
}
