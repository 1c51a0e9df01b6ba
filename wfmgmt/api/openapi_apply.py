"""The description of the endpoints of declared state."""

from http import HTTPStatus
from typing import Any

from wfmgmt.api.openapi_operations import ACCEPTED
from wfmgmt.api.openapi_parts import write
from wfmgmt.api.write_rules import APPLY
from wfmgmt.http.openapi import errors, json_answer, nullable, object_of, ref
from wfmgmt.services.applying import ApplyAction

_TEXT = {"type": "string"}
_ANY = {"nullable": True}
_RESULT = {
    "workflow": _TEXT,
    "action": {"type": "string", "enum": [action.value for action in ApplyAction]},
    "changes": {"type": "array", "items": ref("Change"), "description": "What differs from what is declared"},
    "error": {**nullable("Error"), "description": "Why that could not be done"},
}
_DRIFTED = {
    "workflow": _TEXT,
    "path": _TEXT,
    "declared": {**_ANY, "description": "Null when it should not be there"},
    "found": {**_ANY, "description": "Null when it is not there"},
    "since": {"type": "string", "format": "date-time", "nullable": True, "description": "The last change"},
    "actor": {**_TEXT, "nullable": True, "description": "Who made that"},
}


APPLY_SCHEMAS: dict[str, Any] = {
    "Applied": object_of(_RESULT),
    "ApplyResults": {
        "type": "object",
        "required": ["results"],
        "properties": {"dryRun": {"type": "boolean"}, "results": {"type": "array", "items": ref("Applied")}},
    },
    "Drift": object_of({"drift": {"type": "array", "items": object_of(_DRIFTED)}}),
}
#: What declarations have neither of.
_WITHOUT = ("plan", "If-Match")


def _apply() -> dict[str, Any]:
    described = write(
        APPLY,
        "apply",
        "Bring workflows to what a file declares; answered when that is done",
        {"200": json_answer("What became of each, or would", ref("ApplyResults")), "202": ACCEPTED},
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    )
    text = {"schema": {"type": "string", "example": 'wfmgmt: 1\nworkflows: {seq: {versions: {"1.0": {url: seq.war}}}}'}}
    return {
        **described,
        "description": (
            "The body is the declaration, as YAML or as the same in JSON. When some workflows could not be brought to "
            "what it declares, the others are, and the answer is 409 with `results`."
        ),
        "parameters": [each for each in described["parameters"] if each["name"] not in _WITHOUT],
        "requestBody": {
            "required": True,
            "content": {"application/yaml": text, "application/json": {"schema": {"type": "object"}}},
        },
    }


APPLY_PATHS: dict[str, Any] = {
    "/apply": {"post": _apply()},
    "/drift": {
        "get": {
            "operationId": "showDrift",
            "summary": "List what was changed by others since it was applied",
            "responses": {"200": json_answer("What drifted", ref("Drift")), **errors()},
        }
    },
}
