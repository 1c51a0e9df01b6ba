"""The pages of operations: what is under way, how far it is, and how it ended."""

from flask import Blueprint, Response, request

from wfmgmt.api.access import caller
from wfmgmt.api.operations import check_uid
from wfmgmt.api.parameters import Schemas, query_parameters
from wfmgmt.api.write_rules import CANCEL
from wfmgmt.domain.operations import OperationState
from wfmgmt.services.cancellation import Cancellation
from wfmgmt.services.operations import Operations
from wfmgmt.web.rendering import is_fragment, page
from wfmgmt.web.submissions import Form, Submission, Submissions, to_operation

LINES = 50
_QUERY: Schemas = {
    "state": {"type": "string", "enum": [each.value for each in OperationState]},
    "after": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
}


def add_operation_pages(
    blueprint: Blueprint, submissions: Submissions, *, operations: Operations, cancellation: Cancellation
) -> None:
    """Add the routes to a blueprint."""

    @blueprint.get("/ui/operations")
    def list_operations() -> Response:
        """Show the operations, the newest first."""
        given = query_parameters(request, _QUERY)
        state = given.text("state")
        found = operations.page(
            limit=LINES + 1,
            before=given.integer("after"),
            state=OperationState(state) if state else None,
            kind=None,
            workflow=None,
            scope=caller().scope,
            actor=caller().actor,
        )
        return page(
            "operations_list.html" if is_fragment() else "operations.html",
            found=found[:LINES],
            next_after=found[LINES - 1].number if len(found) > LINES else None,
            is_first=given.integer("after") is None,
            state=state,
            states=[each.value for each in OperationState],
        )

    @blueprint.get("/ui/operations/<uid>")
    def show_operation(uid: str) -> Response:
        """Show one operation, and follow it to its end."""
        check_uid(uid)
        operation = operations.get(uid, scope=caller().scope, actor=caller().actor)
        return page("operation_live.html" if is_fragment() else "operation.html", operation=operation)

    def read_cancel(form: Form, uid: str) -> Submission:
        del form
        check_uid(uid)
        return Submission(
            method="POST",
            path=f"/operations/{uid}/cancel",
            act=lambda change: cancellation.cancel(uid, change),
            answer=lambda _: to_operation(uid),
        )

    submissions.add("/ui/operations/<uid>/cancel", CANCEL, read_cancel, back="/ui/operations", is_planned=False)
