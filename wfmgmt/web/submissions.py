"""Forms that change something: each shows the plan of what it would do, and is sent again to do that."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, request
from werkzeug.datastructures import MultiDict

from wfmgmt.api.access import caller, origin
from wfmgmt.api.parameters import Parameters
from wfmgmt.api.write_rules import COMMON, WriteRule
from wfmgmt.api.writes import record_refusal
from wfmgmt.domain.audit import AuditAction
from wfmgmt.domain.plans import Plan
from wfmgmt.errors import WfmgmtError
from wfmgmt.services.changes import Change
from wfmgmt.services.failed_changes import FailedChanges
from wfmgmt.web.rendering import page, see_other, with_query

Form = MultiDict[str, str]
#: Fields that are about the form and not about the change.
_OWN_FIELDS = frozenset({"form_token", "plan"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a form asks for, read and checked.

    Attributes:
        method: Of the request to the API that does the same.
        path: Of that request.
        query: Its parameters.
        body: Its JSON body; None without one.
        act: Does it, or returns its plan, as the change says.
        answer: Returns the answer to what that returned: mostly the way to another page.
    """

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    act: Callable[[Change], Any]
    answer: Callable[[Any], Response]

    def curl(self, reason: str) -> str:
        """Return the command that sends the request."""
        base = request.host_url.rstrip("/")
        query, body = dict(self.query), self.body
        if body is None:
            query["reason"] = reason
        elif reason:
            body = {**body, "reason": reason}
        # The one part in which the shell has something to fill in.
        token = ' -H "Authorization: Bearer $WFMGMT_TOKEN"' if caller().is_known else ""
        sent = [] if body is None else ["--json", json.dumps(body)]
        return f"curl -X {self.method}{token} {shlex.join([*sent, with_query(base + quote(self.path), **query)])}"


class Submissions:
    """Adds the routes of forms to a blueprint.

    Args:
        blueprint: The blueprint.
        failures: Records refusals.

    Attributes:
        actions: What the audit trail calls each route, by its method and path.
    """

    def __init__(self, blueprint: Blueprint, *, failures: FailedChanges) -> None:
        self._blueprint = blueprint
        self._failures = failures
        self.actions: dict[str, AuditAction] = {}

    def add(
        self, path: str, rule: WriteRule, read: Callable[..., Submission], *, back: str, is_planned: bool = True
    ) -> None:
        """Add a route.

        Args:
            path: The path, as Flask has it.
            rule: What the same route of the API takes.
            read: Reads a form, given it and the names in the path.
            back: The page that has the form, with those names in it.
            is_planned: Whether a plan is shown before anything is done.
        """
        self.actions[f"POST {path}"] = rule.action

        def answer(**names: str) -> Response:
            form = request.form
            common = Parameters({name: form.get(name) for name in ("reason", "plan")}, COMMON)
            plan, is_dry = common.text("plan"), is_planned and not form.get("plan")
            reason = common.plain_text("reason")
            change = Change(origin=origin(), scope=caller().scope, reason=reason, dry_run=is_dry, plan=plan)
            try:
                submission = read(form, **names)
                result = submission.act(change)
            except WfmgmtError as error:
                if not (is_dry or rule.records_refusals):
                    record_refusal(self._failures, rule.action, names, change.origin, error)
                raise
            if not isinstance(result, Plan):
                return submission.answer(result)
            fields = [(name, value) for name, value in form.items(multi=True) if name not in _OWN_FIELDS]
            return page(
                "plan.html",
                action=rule.action.value,
                plan=result,
                fields=fields,
                curl=submission.curl(reason),
                back=back.format(**names),
            )

        self._blueprint.add_url_rule(path, f"POST {path}", answer, methods=["POST"])


def to_operation(uid: str) -> Response:
    """Return the way to the page of an operation."""
    return see_other(f"/ui/operations/{uid}")


def to_workflow(name: str) -> Response:
    """Return the way to the page of a workflow."""
    return see_other(f"/ui/workflows/{quote(name)}")
