"""The endpoints for those who watch over the service: health, metrics and the API's description."""

from collections.abc import Iterator, Sequence
from itertools import islice

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST

from wfmgmt.api.access import caller
from wfmgmt.api.answers import JSON, json_response
from wfmgmt.api.metrics import Metrics
from wfmgmt.api.openapi import MANAGEMENT_API
from wfmgmt.control.messages import WorkflowReport
from wfmgmt.control.start_marker import StartMarker
from wfmgmt.domain.access import Caller
from wfmgmt.errors import RegistryUnavailable
from wfmgmt.errors.access import CredentialsRefused, TooManyFailedLogins
from wfmgmt.http.answers import LIVENESS, NOT_READY_SHOWN, health, json_body, readiness
from wfmgmt.services.inspection import Inspection

_DESCRIPTION = json_body(MANAGEMENT_API)


def monitoring_blueprint(*, inspection: Inspection, start: StartMarker, metrics: Metrics) -> Blueprint:
    """Return the blueprint over these parts."""
    blueprint = Blueprint("monitoring", __name__)

    @blueprint.get("/ping")
    def ping() -> Response:
        """Say whether everything runs, or what does not."""
        problem = inspection.problem()
        missing = [] if problem else inspection.missing()
        shown = {report.label: report.problem for report in _visible(missing)}
        status, body = health(problem, shown, len(missing))
        return json_response(body, status)

    @blueprint.get("/readyz")
    def readyz() -> Response:
        """Say whether all that was ready is ready again, and what the start registers is there; or what is not."""
        problem = inspection.problem()
        awaited = [] if problem else [report for report in inspection.missing() if report.is_awaited]
        shown = {report.label: report.awaited_for for report in _visible(awaited)}
        status, body = readiness(problem or start.problem, shown, len(awaited))
        return json_response(body, status)

    @blueprint.get("/livez")
    def livez() -> Response:
        """Say that the process serves."""
        return json_response(LIVENESS)

    @blueprint.get("/metrics")
    def give_metrics() -> Response:
        """Give the metrics of all web workers together."""
        return Response(metrics.text(), content_type=CONTENT_TYPE_LATEST)

    @blueprint.get("/api-description")
    @blueprint.route("/", methods=["OPTIONS"], endpoint="describe_api_by_options")
    def describe_api() -> Response:
        """Give the OpenAPI description of the management address."""
        return Response(_DESCRIPTION, mimetype=JSON)

    return blueprint


def _visible(reports: Sequence[WorkflowReport]) -> Iterator[WorkflowReport]:
    """Yield the reports that a health check shows, which answers whatever the client shows: those that it may see."""
    try:
        found = caller() if reports else Caller()
    except (CredentialsRefused, TooManyFailedLogins, RegistryUnavailable):
        found = Caller()
    return islice((report for report in reports if found.sees(report.workflow)), NOT_READY_SHOWN)
