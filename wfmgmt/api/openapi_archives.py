"""The description of the endpoints about archives."""

from http import HTTPStatus
from typing import Any

from wfmgmt.api.archives import LISTING, STORES
from wfmgmt.api.openapi_parts import either, write
from wfmgmt.api.openapi_uploads import UPLOAD_OPERATION
from wfmgmt.api.write_rules import REMOVE_ARCHIVE
from wfmgmt.archives.imports import ModuleSource
from wfmgmt.domain.archives import ArchiveKind
from wfmgmt.domain.workflow import SETTINGS, NodeKind
from wfmgmt.http.openapi import MOMENT, errors, json_answer, object_of, ref

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_TEXTS = {"type": "array", "items": _TEXT}


def _or_null(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {**schema, "nullable": True, "description": description}


_USE = {"workflow": _TEXT, "version": _TEXT, "node": _or_null(_TEXT, "Whose model it is; null for the workflow's own")}
_ARCHIVE = {
    "file": _TEXT,
    "kind": {"type": "string", "enum": [kind.value for kind in ArchiveKind]},
    "sha256": _or_null(_TEXT, "Null while it is not known"),
    "bytes": _COUNT,
    "storedAt": MOMENT,
    "usedBy": {"type": "array", "items": object_of(_USE), "description": "Versions, finished or not"},
}
_NODE = {
    "name": _TEXT,
    "kind": {"type": "string", "enum": [kind.value for kind in NodeKind]},
    "url": _or_null(_TEXT, "As the spec names the model, without credentials and query"),
    "inStore": _or_null({"type": "boolean"}, "Whether the model is in its store; null for functions and addresses"),
    **{setting.api_name: {"type": "integer"} for setting in SETTINGS},
}
_IMPORT = {
    "name": _TEXT,
    "available": _or_null({"type": "boolean"}, "Whether workers find it; null when only installing libraries shows"),
    "source": _or_null(
        {"type": "string", "enum": [*(source.value for source in ModuleSource), None]}, "Where it comes from"
    ),
}
_REPORT = {
    **_ARCHIVE,
    "files": _or_null(_COUNT, "Files in it"),
    "unpackedBytes": _or_null(_COUNT, "What they say to unpack to"),
    "manifest": _or_null({"type": "object"}, "As it is; null when it cannot be read"),
    "spec": _or_null(_TEXT, "As it is, without credentials in addresses; null for models"),
    "workflowDag": _or_null(_TEXT, "The graph; null for models"),
    "nodes": _or_null({"type": "array", "items": object_of(_NODE)}, "In topological order; null for models"),
    "functions": {"type": "array", "items": object_of({"name": _TEXT, "line": _COUNT})},
    "imports": {"type": "array", "items": object_of(_IMPORT), "description": "By the handler, directly or not"},
    "warnings": _TEXTS,
    "problems": {**_TEXTS, "description": "What would keep it from being registered, in the words of a registration"},
}
ARCHIVE_SCHEMAS: dict[str, Any] = {
    "Archive": object_of(_ARCHIVE),
    "ArchiveReport": object_of(_REPORT),
    "Archives": {
        "type": "object",
        "required": ["archives"],
        "properties": {
            "nextAfter": {"type": "string", "description": "There unless this is the last page"},
            "archives": {"type": "array", "items": ref("Archive")},
        },
    },
}
_STORE_IN_PATH = {
    "name": "store",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "enum": list(STORES)},
}
_FILE_IN_PATH = {"name": "file", "in": "path", "required": True, "schema": {"type": "string", "pattern": r"^[^/\\]+$"}}


def _listing(operation: str, summary: str, *statuses: HTTPStatus) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in LISTING.items()],
        "responses": {"200": json_answer("One page", ref("Archives")), **errors(*statuses)},
    }


ARCHIVE_PATHS: dict[str, Any] = {
    "/archives": {"get": _listing("listArchives", "List the archives in both stores")},
    "/archives/{store}": {
        "parameters": [_STORE_IN_PATH],
        "get": _listing("listStore", "List the archives in one store", HTTPStatus.NOT_FOUND),
    },
    "/archives/{store}/{file}": {
        "parameters": [_STORE_IN_PATH, _FILE_IN_PATH],
        "get": {
            "operationId": "showArchive",
            "summary": "Show what is in an archive and whether it can be registered; none of its code is run",
            "responses": {"200": json_answer("The report", ref("ArchiveReport")), **errors(HTTPStatus.NOT_FOUND)},
        },
        "put": UPLOAD_OPERATION,
        "delete": write(
            REMOVE_ARCHIVE,
            "removeArchive",
            "Remove an archive that no version uses",
            {"200": json_answer("Removed, or the plan of that", either("Status"))},
        ),
    },
}
