"""The description of the endpoint that takes archives."""

from http import HTTPStatus
from typing import Any

from wfmgmt.api.openapi_parts import write
from wfmgmt.api.write_rules import UPLOAD, WriteRule
from wfmgmt.http.openapi import json_answer, ref

_REPORTED = {"file": {"type": "string"}, "sha256": {"type": "string"}, "bytes": {"type": "integer"}}
UPLOAD_SCHEMAS: dict[str, Any] = {
    "Uploaded": {
        "type": "object",
        "required": [*_REPORTED, "report"],
        "properties": {
            **_REPORTED,
            "report": {"type": "object", "nullable": True, "description": "What it holds; null for a signature"},
        },
    }
}
#: What archives have neither of.
_WITHOUT = ("plan", "If-Match")
_DIGEST = {
    "name": "Repr-Digest",
    "in": "header",
    "schema": {"type": "string", "pattern": "^sha-256=:[A-Za-z0-9+/]{43}=:$"},
    "description": "The digest that the archive has to have (RFC 9530)",
}
_FILES = {
    "archive": "The .war, whose name is the `url`, which is not given then; with it its signature, if it has one",
    "model": "The .mar of each model that is not in the store, and their signatures",
}
#: Errors of uploads beside those of all writes.
UPLOAD_ERRORS = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def _operation() -> dict[str, Any]:
    described = write(
        UPLOAD,
        "uploadArchive",
        "Put an archive, or the signature of one, into a store",
        {
            "201": json_answer("Stored", ref("Uploaded"), Location={"schema": {"type": "string"}}),
            "200": json_answer("The same archive was there, or it was a dry run", ref("Uploaded")),
        },
        *UPLOAD_ERRORS,
    )
    return {
        **described,
        "description": "The body is the archive, or its signature for a name in .sig, stored while it arrives.",
        "parameters": [*(each for each in described["parameters"] if each["name"] not in _WITHOUT), _DIGEST],
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
    }


UPLOAD_OPERATION = _operation()


def form_schema(rule: WriteRule) -> dict[str, Any]:
    """Return the schema of a form that has archives beside the parameters of a route."""
    file = {"type": "string", "format": "binary"}
    files = {name: {"type": "array", "items": file, "description": text} for name, text in _FILES.items()}
    return {"type": "object", "additionalProperties": False, "properties": {**files, **rule.schemas}}
