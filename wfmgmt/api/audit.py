"""The endpoints of the audit trail: pages as JSON, everything as CSV or lines of JSON, one event, the newest one."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, request

from wfmgmt.api.access import caller
from wfmgmt.api.answers import JSON, json_response
from wfmgmt.api.exports import Exports
from wfmgmt.api.parameters import Parameters, query_parameters
from wfmgmt.domain.audit import AuditAction, AuditOutcome
from wfmgmt.errors import BadRequest
from wfmgmt.registry.audit_reading import MAX_NUMBER, EventFilter
from wfmgmt.registry.registry import parsed_moment
from wfmgmt.services.audit_lines import csv_lines, event_json, json_lines
from wfmgmt.services.audit_trail import AuditTrail

DEFAULT_EVENTS, MAX_EVENTS = 100, 1000
CSV, LINES = "text/csv", "application/x-ndjson"
_TEXT: Mapping[str, Any] = {"type": "string", "maxLength": 1000}
_MOMENT: Mapping[str, Any] = {
    "type": "string",
    "format": "date-time",
    "description": "A time like 2026-01-31T12:00:00Z, or a day",
}
LISTING: Mapping[str, Mapping[str, Any]] = {
    "workflow": {**_TEXT, "description": "About this workflow"},
    "action": {"type": "string", "enum": [action.value for action in AuditAction]},
    "actor": {**_TEXT, "description": "Of this actor, like `token:ci`"},
    "outcome": {"type": "string", "enum": [outcome.value for outcome in AuditOutcome]},
    "address": {**_TEXT, "description": "From this address"},
    "request_id": {**_TEXT, "description": "Of the request with this `x-request-id`"},
    "after": {**_MOMENT, "description": "Recorded then or later: a time like 2026-01-31T12:00:00Z, or a day"},
    "before": {**_MOMENT, "description": "Recorded before: the same"},
    "q": {**_TEXT, "description": "With this text in the detail, in any case of letters; on SQLite of ASCII letters"},
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_EVENTS, "default": DEFAULT_EVENTS},
    "before_id": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_NUMBER,
        "description": "The `nextBeforeId` of the page before",
    },
    "order": {"type": "string", "enum": ["desc", "asc"], "default": "desc", "description": "`asc`: the oldest first"},
}
_CONTENT_TYPES = {CSV: f"{CSV}; charset=utf-8", LINES: LINES}


def audit_blueprint(trail: AuditTrail, *, exports: Exports) -> Blueprint:
    """Return the blueprint over the audit trail."""
    blueprint = Blueprint("audit", __name__)

    @blueprint.get("/audit")
    def list_events() -> Response:
        """List events, the newest first, as one page of JSON or as all of CSV or of lines of JSON."""
        parameters = query_parameters(request, LISTING)
        wanted, is_ascending = event_filter(parameters), parameters.text("order") == "asc"
        limit, start = parameters.integer("limit"), parameters.integer("before_id")
        kind = request.accept_mimetypes.best_match((JSON, CSV, LINES), default=JSON)
        if kind != JSON:
            events = trail.all(wanted, limit=limit, start=start, is_ascending=is_ascending)
            archived = max((each.last_id for each in trail.segments()), default=0)
            answer = exports.answer(csv_lines(events) if kind == CSV else json_lines(events), _CONTENT_TYPES[kind])
            answer.headers["x-wfmgmt-archived"] = str(archived)
        else:
            page = trail.page(wanted, limit=limit or DEFAULT_EVENTS, start=start, is_ascending=is_ascending)
            answer = json_response(
                {
                    "total": page.total,
                    "nextBeforeId": page.next_id,
                    "archived": page.archived,
                    "events": [event_json(each) for each in page.events],
                }
            )
        answer.headers["Vary"] = "Accept"
        return answer

    @blueprint.get("/audit/<int:number>")
    def show_event(number: int) -> Response:
        """Show one event."""
        query_parameters(request, {})
        return json_response(event_json(trail.event(number, scope=caller().scope)))

    @blueprint.get("/audit/head")
    def show_head() -> Response:
        """Show number, hash and time of the newest event, by which it shows later whether events were cut off."""
        query_parameters(request, {})
        head = trail.head()
        values = (0, None, None) if head is None else (head.id, head.hash, head.at)
        return json_response(dict(zip(("id", "hash", "at"), values, strict=True)))

    return blueprint


def event_filter(parameters: Parameters) -> EventFilter:
    """Return which events are asked for; those about workflows that do not exist for the client never are."""
    names = ("workflow", "action", "actor", "outcome", "address", "request_id")
    return EventFilter(
        **{name: parameters.plain_text(name) or None for name in names},
        since=_moment(parameters, "after"),
        until=_moment(parameters, "before"),
        text=parameters.plain_text("q"),
        scope=caller().scope,
    )


def _moment(parameters: Parameters, name: str) -> str | None:
    text = parameters.text(name)
    try:
        return parsed_moment(text) if text else None
    except ValueError as error:
        raise BadRequest(f"Parameter {name}: {error}.") from error
