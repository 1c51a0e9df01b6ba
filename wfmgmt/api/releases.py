"""The endpoints about which version answers: default version, traffic, releases, rollbacks, rollouts, differences."""

from typing import Any

from flask import Blueprint, Response, request

from wfmgmt.api.answers import json_response
from wfmgmt.api.operations import operation_answer
from wfmgmt.api.parameters import query_parameters
from wfmgmt.api.preconditions import etag, later_wait_s, with_etag
from wfmgmt.api.write_rules import ROLLBACK, ROLLOUT, SET_DEFAULT, TRAFFIC
from wfmgmt.api.writes import Call, Writes
from wfmgmt.control.messages import FiguresReport, TrafficFigures, TrafficKind, VersionFigures
from wfmgmt.domain.operations import OperationError
from wfmgmt.domain.plans import Plan
from wfmgmt.domain.releases import Release, ReleaseKind, WorkflowTarget
from wfmgmt.domain.rollouts import RolloutAction
from wfmgmt.domain.traffic import SHARE_KEYS, TABLE_KEYS, release_json, table_json
from wfmgmt.errors import BadRequest
from wfmgmt.http.answers import json_body
from wfmgmt.registry.kept_answers import Answer
from wfmgmt.services.inspection import Inspection
from wfmgmt.services.operation_records import Accepted
from wfmgmt.services.release_requests import ReleaseRequest
from wfmgmt.services.release_rules import Released
from wfmgmt.services.releases import Releases

_Result = Released | Accepted | OperationError | Plan
_PROCESSING = "Processing the release..."
DEFAULT_RELEASES, MAX_RELEASES, MAX_NUMBER = 100, 1000, 2**31 - 1
LISTING = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_RELEASES, "default": DEFAULT_RELEASES},
    "before": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_NUMBER,
        "description": "List releases before the one with this number",
    },
}
DIFF = {
    "from": {"type": "string", "minLength": 1, "description": "The version to compare with"},
    "to": {"type": "string", "minLength": 1, "description": "The version to compare"},
}


def add_release_routes(writes: Writes, *, releases: Releases) -> None:
    """Add the routes that make releases."""

    def made(call: Call, name: str, kind: ReleaseKind, **given: object) -> _Result:
        wait_s = later_wait_s(request, call.parameters)
        wanted = ReleaseRequest(name=name, kind=kind, given=given)
        result = releases.make(wanted, call.change, is_awaited=wait_s is None)
        return releases.result(result, wait_s or 0) if isinstance(result, Accepted) else result

    @writes.route("PUT", "/workflows/<workflow:name>/<version:version>/set-default", SET_DEFAULT, render=_default_set)
    def set_default(call: Call, name: str, version: str) -> _Result:
        """Give one version all requests."""
        return made(call, name, ReleaseKind.SET_DEFAULT, version=version)

    @writes.route("PUT", "/workflows/<workflow:name>/traffic", TRAFFIC, render=_released)
    def set_traffic(call: Call, name: str) -> _Result:
        """Put a routing table in force."""
        given = {key: call.parameters.json(key) for key in (*TABLE_KEYS, *SHARE_KEYS) if key in call.parameters.names}
        if not given:
            raise BadRequest("Expected a routing table with routes, or version and weight.")
        return made(call, name, ReleaseKind.TRAFFIC, **given)

    @writes.route("POST", "/workflows/<workflow:name>/rollback", ROLLBACK, render=_released)
    def roll_back(call: Call, name: str) -> _Result:
        """Repeat an earlier release."""
        return made(call, name, ReleaseKind.ROLLBACK, to=call.parameters.integer("to"))

    @writes.route("POST", "/workflows/<workflow:name>/rollout", ROLLOUT, render=_released)
    def act_on_rollout(call: Call, name: str) -> _Result:
        """Pause, resume, finish or take back a rollout."""
        action = call.parameters.text("action")
        if not action:
            raise BadRequest(f"Parameter action is required: one of {', '.join(RolloutAction)}.")
        return made(call, name, ReleaseKind.ROLLOUT, action=action)


def add_release_views(blueprint: Blueprint, *, inspection: Inspection) -> None:
    """Add the routes that show releases to a blueprint."""

    @blueprint.get("/workflows/<workflow:name>/traffic")
    def traffic(name: str) -> Response:
        """Show the routing table with figures of the last minute."""
        target, release, figures = inspection.traffic(name)
        return with_etag(request, json_response(_traffic(target, release, figures)), target.revision)

    @blueprint.get("/workflows/<workflow:name>/releases")
    def list_releases(name: str) -> Response:
        """List the releases of a workflow, the newest first."""
        parameters = query_parameters(request, LISTING)
        limit = parameters.integer("limit") or DEFAULT_RELEASES
        found, revision = inspection.releases(name, limit=limit, before=parameters.integer("before"))
        return with_etag(request, json_response({"releases": [release_json(release) for release in found]}), revision)

    @blueprint.get("/workflows/<workflow:name>/releases/<int:number>")
    def show_release(name: str, number: int) -> Response:
        """Show one release."""
        release, revision = inspection.release(name, number)
        return with_etag(request, json_response(release_json(release)), revision)

    @blueprint.get("/workflows/<workflow:name>/diff")
    def diff(name: str) -> Response:
        """Show what differs between two versions."""
        parameters = query_parameters(request, DIFF)
        versions = {key: parameters.text(key) for key in DIFF}
        for key, version in versions.items():
            if not version:
                raise BadRequest(f"Parameter {key} is required.")
        found, revision = inspection.diff(name, versions["from"], versions["to"])
        return with_etag(request, json_response({"workflow": name, **versions, **found}), revision)


def _released(released: Released | Accepted | OperationError) -> Answer:
    if not isinstance(released, Released):
        return operation_answer(released, _PROCESSING)
    number = released.release.number
    verb = "is in force" if released.is_changed else "was in force already"
    return _about(released, f'Release {number} {verb} for workflow "{released.name}"')


def _default_set(released: Released | Accepted | OperationError) -> Answer:
    if not isinstance(released, Released):
        return operation_answer(released, _PROCESSING)
    default = released.release.table.default
    return _about(released, f'Default version successfully updated for workflow "{released.name}" to "{default}"')


def _about(released: Released, status: str) -> Answer:
    unchanged = {} if released.is_changed else {"changed": False}
    return Answer(
        body=json_body({"status": status, **unchanged, "release": release_json(released.release)}),
        headers={"ETag": etag(released.revision)},
    )


def _traffic(target: WorkflowTarget, release: Release, figures: FiguresReport | None) -> dict[str, Any]:
    known = {} if figures is None else figures.versions
    return {
        "workflow": target.name,
        "revision": target.revision,
        "release": release.number,
        **table_json(release.table),
        "inForce": None if figures is None else {"revision": figures.revision, "release": figures.release},
        "figures": {version: _version_figures(known[version]) for version in target.versions if version in known},
    }


def _version_figures(figures: VersionFigures) -> dict[str, Any]:
    traffic = figures.traffic
    return {
        **_figures(traffic.get(TrafficKind.SERVE, TrafficFigures())),
        "inFlight": figures.in_flight,
        "pinned": _figures(traffic.get(TrafficKind.PINNED, TrafficFigures())),
        "mirrored": {**_figures(traffic.get(TrafficKind.MIRROR, TrafficFigures())), "dropped": figures.dropped},
    }


def _figures(figures: TrafficFigures) -> dict[str, Any]:
    return {
        "requests": figures.requests,
        "failures": figures.failures,
        "p50Ms": figures.p50_ms,
        "p99Ms": figures.p99_ms,
    }
