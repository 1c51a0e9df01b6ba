"""The pages of the audit trail."""

import json

from flask import Blueprint, Response, request

from wfmgmt.api.access import caller
from wfmgmt.api.audit import LISTING, event_filter
from wfmgmt.api.parameters import Schemas, query_parameters
from wfmgmt.domain.audit import AuditAction, AuditOutcome
from wfmgmt.services.audit_trail import AuditTrail
from wfmgmt.web.rendering import page

LINES = 50
_FILTERS = ("workflow", "action", "actor", "outcome", "address", "request_id", "after", "before", "q")
_QUERY: Schemas = {name: LISTING[name] for name in (*_FILTERS, "before_id")}


def add_audit_pages(blueprint: Blueprint, *, audit_trail: AuditTrail) -> None:
    """Add the routes to a blueprint."""

    @blueprint.get("/ui/audit")
    def audit() -> Response:
        """Show events, the newest first, or those that are looked for."""
        given = query_parameters(request, _QUERY)
        before_id = given.integer("before_id")
        return page(
            "audit.html",
            events=audit_trail.page(event_filter(given), limit=LINES, start=before_id, is_ascending=False),
            given={name: given.text(name) for name in _FILTERS},
            before_id=before_id,
            actions=[each.value for each in AuditAction],
            outcomes=[each.value for each in AuditOutcome],
        )

    @blueprint.get("/ui/audit/<int:number>")
    def event(number: int) -> Response:
        """Show one event."""
        found = audit_trail.event(number, scope=caller().scope)
        # Characters that would turn the direction of text stay escaped.
        return page("event.html", event=found, detail=json.dumps(found.detail, indent=2))
