"""The endpoints for those who watch over the service: health, metrics and the API's description."""

from collections.abc import Mapping

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST

from wfmgmt.api.access import caller
from wfmgmt.api.metrics import Metrics
from wfmgmt.api.openapi import MANAGEMENT_API
from wfmgmt.control.start_marker import StartMarker
from wfmgmt.domain.access import Role
from wfmgmt.http.answers import LIVENESS, NOT_READY_SHOWN, health, json_body, readiness
from wfmgmt.services.inspection import Inspection

_DESCRIPTION = json_body(MANAGEMENT_API)


def monitoring_blueprint(*, inspection: Inspection, start: StartMarker, metrics: Metrics) -> Blueprint:
    """Return the blueprint over these parts."""
    blueprint = Blueprint("monitoring", __name__)

    @blueprint.get("/ping")
    def ping() -> Response:
        """Say whether everything runs, or what does not."""
        status, body = health(inspection.problem(), *_visible(*inspection.not_ready(NOT_READY_SHOWN)))
        return Response(json_body(body), status, mimetype="application/json")

    @blueprint.get("/readyz")
    def readyz() -> Response:
        """Say whether all that was ready is ready again, and what the start registers is there; or what is not."""
        problem = inspection.problem() or start.problem
        status, body = readiness(problem, *_visible(*inspection.awaited(NOT_READY_SHOWN)))
        return Response(json_body(body), status, mimetype="application/json")

    @blueprint.get("/livez")
    def livez() -> Response:
        """Say that the process serves."""
        return Response(json_body(LIVENESS), mimetype="application/json")

    @blueprint.get("/metrics")
    def give_metrics() -> Response:
        """Give the metrics of all web workers together."""
        return Response(metrics.text(), content_type=CONTENT_TYPE_LATEST)

    @blueprint.get("/api-description")
    @blueprint.route("/", methods=["OPTIONS"], endpoint="describe_api_by_options")
    def describe_api() -> Response:
        """Give the OpenAPI description of the management address."""
        return Response(_DESCRIPTION, mimetype="application/json")

    return blueprint


def _visible(workflows: Mapping[str, str], total: int) -> tuple[dict[str, str], int]:
    """Return those of some versions of workflows that exist for the client; their number is no secret."""
    found = caller()
    is_shown = {label: found.may(Role.VIEW) and label.partition("/")[0] in found.scope for label in workflows}
    return {label: why for label, why in workflows.items() if is_shown[label]}, total
