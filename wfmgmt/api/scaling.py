"""The endpoints that change settings of nodes while they run."""

from http import HTTPStatus

from flask import request

from wfmgmt.api.operations import accepted_headers, operation_path
from wfmgmt.api.parameters import Parameters
from wfmgmt.api.preconditions import etag, preferred_wait_s
from wfmgmt.api.write_rules import RESET, SCALE, SETTING_PARAMETERS, UPDATE
from wfmgmt.api.writes import Call, Writes
from wfmgmt.domain.plans import Plan
from wfmgmt.errors import BadRequest
from wfmgmt.http.answers import json_body
from wfmgmt.registry.kept_answers import Answer
from wfmgmt.services.enforcement import REACH_S
from wfmgmt.services.preparation import DEFAULT_TIMEOUT_S
from wfmgmt.services.scaling import Scaled, Scaling
from wfmgmt.services.worker_counts import WORKER_COUNTS


def add_scaling_routes(writes: Writes, *, scaling: Scaling) -> None:
    """Add the routes over these use cases."""

    @writes.route("PUT", "/workflows/<name>", SCALE, render=_scaled)
    @writes.route("PUT", "/workflows/<workflow:name>/<version:version>", SCALE, render=_scaled_version)
    def scale(call: Call, name: str, version: str | None = None) -> Scaled | Plan:
        """Change how many workers the models of a version have."""
        settings = _settings(call.parameters)
        if not settings:
            raise BadRequest("Expected min_worker or max_worker, or both.")
        return scaling.scale(name, version, settings, call.change, wait_s=_wait_s(call.parameters))

    @writes.route("PUT", "/workflows/<workflow:name>/nodes/<node>", UPDATE, render=_updated)
    @writes.route("PUT", "/workflows/<workflow:name>/<version:version>/nodes/<node>", UPDATE, render=_updated)
    def update(call: Call, name: str, node: str, version: str | None = None) -> Scaled | Plan:
        """Change settings of one node."""
        settings = _settings(call.parameters)
        if not settings:
            raise BadRequest(f"Expected one of {', '.join(SETTING_PARAMETERS)} at least.")
        wait_s = REACH_S if settings.keys().isdisjoint(WORKER_COUNTS) else _wait_s(call.parameters)
        return scaling.update(name, version, node, settings, call.change, wait_s=wait_s)

    @writes.route("DELETE", "/workflows/<workflow:name>/nodes/<node>/overrides", RESET, render=_updated)
    @writes.route(
        "DELETE", "/workflows/<workflow:name>/<version:version>/nodes/<node>/overrides", RESET, render=_updated
    )
    def reset(call: Call, name: str, node: str, version: str | None = None) -> Scaled | Plan:
        """Give a node the settings of its spec back."""
        return scaling.reset(name, version, node, call.change)


def _settings(parameters: Parameters) -> dict[str, int]:
    """Return what is given, by the fields of the settings."""
    names = [name for name in SETTING_PARAMETERS if name in parameters.names]
    given = {SETTING_PARAMETERS[name].field: parameters.integer(name) for name in names}
    return {field: value for field, value in given.items() if value is not None}


def _wait_s(parameters: Parameters) -> float | None:
    """Return how long to wait for workers; None when it is not to be waited for them."""
    preferred_s = preferred_wait_s(request)
    if preferred_s is not None:
        return preferred_s or None
    if not parameters.flag("synchronous"):
        return None
    timeout_s = parameters.integer("timeout")
    return DEFAULT_TIMEOUT_S if timeout_s is None else timeout_s


def _scaled(scaled: Scaled) -> Answer:
    return _answer(scaled, f"Workers scaled to {scaled.min_workers} for workflow: {scaled.name}")


def _scaled_version(scaled: Scaled) -> Answer:
    where = f"workflow: {scaled.name}, version: {scaled.version}"
    return _answer(scaled, f"Workers scaled to {scaled.min_workers} for {where}")


def _updated(scaled: Scaled) -> Answer:
    return _answer(scaled, f'Node settings updated for workflow "{scaled.name}", version {scaled.version}')


def _answer(scaled: Scaled, done: str) -> Answer:
    """Return an answer with the texts that TorchServe has for models."""
    status, text = HTTPStatus.OK, done
    headers = {"ETag": etag(scaled.revision)}
    if scaled.operation and not scaled.is_awaited:
        status, text = HTTPStatus.ACCEPTED, "Processing worker updates..."
    elif scaled.operation and not scaled.is_reached:
        status, text = HTTPStatus.PARTIAL_CONTENT, "Workers scaling in progress..."
    body: dict[str, object] = {"status": text}
    if status is not HTTPStatus.OK:
        body["operation"] = operation_path(scaled.operation)
        headers |= accepted_headers(operation_path(scaled.operation))
    if not scaled.is_changed:
        body["changed"] = False
    if scaled.problem and scaled.is_awaited:
        body["problem"] = scaled.problem
    return Answer(body=json_body(body), status=status, headers=headers)
