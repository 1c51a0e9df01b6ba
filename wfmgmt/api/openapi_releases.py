"""The description of the endpoints about versions in use: releases, traffic, scaling."""

from typing import Any

from wfmgmt.api.openapi_operations import ACCEPTED
from wfmgmt.api.openapi_parts import ETAG, VERSION_IN_PATH, either, header_ref, read, write
from wfmgmt.api.releases import DIFF, LISTING, MAX_NUMBER
from wfmgmt.api.write_rules import RESET, ROLLBACK, ROLLOUT, SCALE, SET_DEFAULT, TRAFFIC, UPDATE
from wfmgmt.domain.names import NODE_NAME_FORM
from wfmgmt.domain.releases import WHOLE, ReleaseKind
from wfmgmt.domain.traffic import MAX_REQUESTS, MAX_STEP_S, MAX_WINDOW_S
from wfmgmt.http.openapi import MOMENT, NAME_IN_PATH, json_answer, nullable, ref

_VERSION = {"type": "string"}
_PERCENT = {"type": "integer", "minimum": 0, "maximum": WHOLE}
_COUNT = {"type": "integer"}
_MILLISECONDS = {"type": "number", "nullable": True, "description": "Milliseconds; null without requests"}


def _strict(required: tuple[str, ...], **properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        **({"required": list(required)} if required else {}),
        "properties": properties,
    }


_FIGURES = {"requests": _COUNT, "failures": _COUNT, "p50Ms": _MILLISECONDS, "p99Ms": _MILLISECONDS}
_TABLE: dict[str, Any] = {
    "routes": {"type": "array", "items": ref("Route")},
    "mirror": nullable("Mirror"),
    "sticky": nullable("Sticky"),
    "guard": nullable("Guard"),
    "steps": {"type": "array", "nullable": True, "items": ref("Step")},
    "paused": {"type": "boolean", "description": "Whether a rollout is paused"},
}
_RELEASE: dict[str, Any] = {
    "number": {"type": "integer", "description": "Within the workflow, from 1"},
    "at": MOMENT,
    "actor": {"type": "string", "description": "Who made it; `guard` and `rollout` are the service itself"},
    "reason": {"type": "string", "description": "Why; empty when not given"},
    "previous": {"type": "integer", "nullable": True, "description": "The release that a rollback repeats next"},
    "kind": {"type": "string", "enum": [kind.value for kind in ReleaseKind]},
    **_TABLE,
}
_TRAFFIC: dict[str, Any] = {
    "workflow": {"type": "string"},
    "revision": _COUNT,
    "release": {"type": "integer", "description": "Number of the current release"},
    **_TABLE,
    "inForce": {
        "type": "object",
        "nullable": True,
        "description": "What the runtime routes by; null when it does not answer",
        "required": ["revision", "release"],
        "properties": {"revision": _COUNT, "release": {"type": "integer", "nullable": True}},
    },
    "figures": {
        "type": "object",
        "description": "The last minute of each version that is loaded",
        "additionalProperties": ref("VersionFigures"),
    },
}
_VERSION_FIGURES: dict[str, Any] = {
    **_FIGURES,
    "inFlight": {"type": "integer", "description": "Requests and copies under way"},
    "pinned": {
        "type": "object",
        "description": "Requests that name the version",
        "required": list(_FIGURES),
        "properties": _FIGURES,
    },
    "mirrored": {
        "type": "object",
        "description": "Copies of requests",
        "required": [*_FIGURES, "dropped"],
        "properties": {**_FIGURES, "dropped": {"type": "integer", "description": "Copies that were too many"}},
    },
}
RELEASE_SCHEMAS: dict[str, Any] = {
    "Route": _strict(("version", "weight"), version=_VERSION, weight=_PERCENT),
    "Mirror": _strict(("version", "percent"), version=_VERSION, percent={**_PERCENT, "minimum": 1}),
    "Sticky": _strict(("header",), header={"type": "string", "description": "Its value decides about the version"}),
    "Guard": _strict(
        (),
        windowSeconds={"type": "integer", "minimum": 1, "maximum": MAX_WINDOW_S, "default": 60},
        minRequests={"type": "integer", "minimum": 1, "maximum": MAX_REQUESTS, "default": 50},
        maxErrorRate={"type": "number", "minimum": 0, "maximum": 1},
        maxErrorRateOver={"type": "number", "minimum": 0, "maximum": 1},
        maxLatencyRatio={"type": "number", "minimum": 0.01, "maximum": 1000},
    ),
    "Step": _strict(
        ("weight",),
        weight={**_PERCENT, "minimum": 1},
        forSeconds={"type": "integer", "minimum": 1, "maximum": MAX_STEP_S},
    ),
    "Release": {"type": "object", "required": list(_RELEASE), "properties": _RELEASE},
    "Released": {
        "type": "object",
        "required": ["status", "release"],
        "properties": {
            "status": {"type": "string"},
            "changed": {"type": "boolean", "enum": [False], "description": "There when the table held already"},
            "release": ref("Release"),
        },
    },
    "Traffic": {"type": "object", "required": list(_TRAFFIC), "properties": _TRAFFIC},
    "VersionFigures": {"type": "object", "required": list(_VERSION_FIGURES), "properties": _VERSION_FIGURES},
    "Scaled": {
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {"type": "string"},
            "changed": {"type": "boolean", "enum": [False], "description": "There when nothing was to be changed"},
            "problem": {"type": "string", "description": "Why it is not in force yet"},
            "operation": {"type": "string", "description": "What brings it into force, unless it is"},
        },
    },
    "Diff": {
        "type": "object",
        "required": ["workflow", "from", "to", "nodes", "edges", "changes"],
        "properties": {
            "workflow": {"type": "string"},
            "from": _VERSION,
            "to": _VERSION,
            "nodes": {
                "type": "object",
                "required": ["added", "removed"],
                "properties": {key: {"type": "array", "items": {"type": "string"}} for key in ("added", "removed")},
            },
            "edges": {
                "type": "object",
                "required": ["added", "removed"],
                "properties": {
                    key: {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}
                    for key in ("added", "removed")
                },
            },
            "changes": {"type": "array", "items": ref("Change")},
        },
    },
}
_RELEASED = {
    "200": json_answer("The release is in force, or the plan of that", either("Released"), ETag=ETAG),
    "202": ACCEPTED,
}
_OF_OPERATION = {
    "ETag": ETAG,
    "Location": header_ref("LocationOfOperation"),
    "Retry-After": {"$ref": "#/components/headers/RetryAfter"},
}
_SCALED = {
    "200": json_answer("In force, or the plan of that", either("Scaled"), ETag=ETAG),
    "202": json_answer("Written; workers are being started or ended", ref("Scaled"), **_OF_OPERATION),
    "206": json_answer("Written, and not in force within the time-out", ref("Scaled"), **_OF_OPERATION),
}
_NODE_IN_PATH = {
    "name": "node",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": rf"^{NODE_NAME_FORM}$"},
}
_NUMBER_IN_PATH = {
    "name": "number",
    "in": "path",
    "required": True,
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_NUMBER},
}

RELEASE_PATHS: dict[str, Any] = {
    "/workflows/{name}/{version}/set-default": {
        "parameters": [NAME_IN_PATH, VERSION_IN_PATH],
        "put": write(SET_DEFAULT, "setDefault", "Give one version all requests", _RELEASED),
    },
    "/workflows/{name}/traffic": {
        "parameters": [NAME_IN_PATH],
        "get": read(
            "showTraffic", "Show the routing table and live figures", json_answer("Both", ref("Traffic"), ETag=ETAG)
        ),
        "put": write(TRAFFIC, "setTraffic", "Put a routing table in force, or one other share", _RELEASED),
    },
    "/workflows/{name}/releases": {
        "parameters": [NAME_IN_PATH],
        "get": read(
            "listReleases",
            "List the releases of a workflow, the newest first",
            json_answer(
                "One page",
                {
                    "type": "object",
                    "required": ["releases"],
                    "properties": {"releases": {"type": "array", "items": ref("Release")}},
                },
                ETag=ETAG,
            ),
            LISTING,
        ),
    },
    "/workflows/{name}/releases/{number}": {
        "parameters": [NAME_IN_PATH, _NUMBER_IN_PATH],
        "get": read("showRelease", "Show one release", json_answer("The release", ref("Release"), ETag=ETAG)),
    },
    "/workflows/{name}/rollback": {
        "parameters": [NAME_IN_PATH],
        "post": write(ROLLBACK, "rollBack", "Repeat an earlier release", _RELEASED),
    },
    "/workflows/{name}/rollout": {
        "parameters": [NAME_IN_PATH],
        "post": write(ROLLOUT, "actOnRollout", "Pause, resume, finish or take back a rollout", _RELEASED),
    },
    "/workflows/{name}/diff": {
        "parameters": [NAME_IN_PATH],
        "get": read(
            "diffVersions",
            "Show what differs between two versions",
            json_answer("What differs", ref("Diff"), ETag=ETAG),
            DIFF,
            required=DIFF,
        ),
    },
}
SCALING = {
    operation: write(SCALE, operation, f"Change how many workers each model of {what} has", _SCALED)
    for operation, what in (("scaleWorkflow", "the default version"), ("scaleVersion", "a version"))
}


def _node(parameters: list[dict[str, Any]], suffix: str, what: str) -> dict[str, Any]:
    return {
        "parameters": [*parameters, _NODE_IN_PATH],
        "put": write(UPDATE, f"updateNode{suffix}", f"Change settings of one node of {what}", _SCALED),
    }


def _overrides(parameters: list[dict[str, Any]], suffix: str, what: str) -> dict[str, Any]:
    return {
        "parameters": [*parameters, _NODE_IN_PATH],
        "delete": write(RESET, f"resetNode{suffix}", f"Give one node of {what} the settings of the spec back", _SCALED),
    }


_PLACES = (
    ("/workflows/{name}/nodes/{node}", [NAME_IN_PATH], "", "the default version"),
    ("/workflows/{name}/{version}/nodes/{node}", [NAME_IN_PATH, VERSION_IN_PATH], "OfVersion", "a version"),
)
NODE_PATHS: dict[str, Any] = {
    **{path: _node(parameters, suffix, what) for path, parameters, suffix, what in _PLACES},
    **{f"{path}/overrides": _overrides(parameters, suffix, what) for path, parameters, suffix, what in _PLACES},
}
