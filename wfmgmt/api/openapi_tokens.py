"""The description of the endpoints about tokens."""

from http import HTTPStatus
from typing import Any

from wfmgmt.api.openapi_parts import either, write
from wfmgmt.api.write_rules import CREATE_TOKEN, REVOKE_TOKEN
from wfmgmt.domain.access import Role
from wfmgmt.domain.tokens import NAME_FORM
from wfmgmt.http.openapi import MOMENT, errors, json_answer, object_of, ref

_TEXT = {"type": "string"}
_ROLE = {"type": "string", "enum": [role.value for role in Role]}
_PATTERNS = {"type": "array", "items": _TEXT, "description": "Names of workflows; `*` is any text, `?` one character"}
_TOKEN = {
    "name": _TEXT,
    "prefix": {**_TEXT, "description": "Its first characters"},
    "role": _ROLE,
    "workflows": _PATTERNS,
    "createdAt": MOMENT,
    "createdBy": _TEXT,
    "expiresAt": {**MOMENT, "nullable": True},
    "lastUsedAt": {**MOMENT, "nullable": True, "description": "To the minute"},
    "revokedAt": {**MOMENT, "nullable": True},
    "revokedBy": {**_TEXT, "nullable": True},
    "note": _TEXT,
}
_CALLER = {
    "actor": {**_TEXT, "description": "What the audit trail calls the client"},
    "role": {**_ROLE, "nullable": True, "enum": [*_ROLE["enum"], None], "description": "Null when it may do nothing"},
    "workflows": _PATTERNS,
    "expiresAt": {**MOMENT, "nullable": True},
}


TOKEN_SCHEMAS: dict[str, Any] = {
    "Token": object_of(_TOKEN),
    "CreatedToken": object_of({"token": {**_TEXT, "description": "Shown now and never again"}, **_TOKEN}),
    "Tokens": object_of({"tokens": {"type": "array", "items": ref("Token")}}),
    "Caller": object_of(_CALLER),
}
TOKEN_PATHS: dict[str, Any] = {
    "/tokens": {
        "get": {
            "operationId": "listTokens",
            "summary": "List all tokens, also those that are not accepted any more",
            "responses": {"200": json_answer("The tokens, without the secrets", ref("Tokens")), **errors()},
        },
        "post": write(
            CREATE_TOKEN,
            "createToken",
            "Make a token; its answer is not kept under an idempotency key",
            {
                "201": json_answer("The token", ref("CreatedToken")),
                "200": json_answer("The plan of that", ref("Plan")),
            },
        ),
    },
    "/tokens/{token}": {
        "parameters": [
            {"name": "token", "in": "path", "required": True, "schema": {"type": "string", "pattern": f"^{NAME_FORM}$"}}
        ],
        "delete": write(
            REVOKE_TOKEN,
            "revokeToken",
            "Have a token accepted no more, within a second",
            {"200": json_answer("Revoked, or the plan of that", either("Status"))},
        ),
    },
    "/whoami": {
        "get": {
            "operationId": "showCaller",
            "summary": "Show who the client is, and what it may do; also without a token, not with one that is refused",
            "responses": {"200": json_answer("The client", ref("Caller")), **errors(HTTPStatus.FORBIDDEN)},
        }
    },
}
