"""The page of all workflows."""

from flask import Blueprint, Response, request

from wfmgmt.api.access import caller
from wfmgmt.api.parameters import NAME_PATTERN, Schemas, query_parameters
from wfmgmt.domain.status import WorkflowState
from wfmgmt.services.overview import Overview, OverviewOrder
from wfmgmt.web.rendering import is_fragment, page

LINES = 50
_MAX_PAGE = 1_000_000
_QUERY: Schemas = {
    "name": {"type": "string", "maxLength": 129, "pattern": NAME_PATTERN},
    "state": {"type": "string", "enum": [each.value for each in WorkflowState]},
    "order": {"type": "string", "enum": [each.value for each in OverviewOrder]},
    "page": {"type": "integer", "minimum": 1, "maximum": _MAX_PAGE},
}


def add_workflows_page(blueprint: Blueprint, *, overview: Overview) -> None:
    """Add the route to a blueprint."""

    @blueprint.get("/ui/workflows")
    def workflows() -> Response:
        """Show one page of the workflows, or of those that are looked for."""
        given = query_parameters(request, _QUERY)
        name, state, number = given.plain_text("name").strip(), given.text("state"), given.integer("page") or 1
        order = OverviewOrder(given.text("order") or OverviewOrder.NAME)
        found = overview.page(
            limit=LINES,
            offset=(number - 1) * LINES,
            name=name if not name or name.endswith("*") else f"{name}*",
            states=frozenset({WorkflowState(state)} if state else WorkflowState),
            order=order,
            scope=caller().scope,
        )
        return page(
            "workflows_list.html" if is_fragment() else "workflows.html",
            found=found,
            name=name,
            state=state,
            states=[(each.value, found.counts.get(each, 0)) for each in WorkflowState],
            order=order.value,
            number_of_page=number,
            first=(number - 1) * LINES + 1,
            pages=max(-(-found.total // LINES), 1),
        )
