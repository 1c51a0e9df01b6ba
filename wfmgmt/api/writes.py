"""What all routes that change something have in common: parameters, conditions, idempotency, records of refusals."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from flask import Blueprint, Response, current_app, request

from wfmgmt.api.access import caller, origin
from wfmgmt.api.bodies import Received
from wfmgmt.api.idempotency import REPLAYED, keyed_request
from wfmgmt.api.parameters import Parameters, given_parameters
from wfmgmt.api.preconditions import expected_revisions
from wfmgmt.api.write_rules import WriteRule
from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome, Origin, Receipt
from wfmgmt.domain.names import check_may_exist, is_workflow_name
from wfmgmt.domain.plans import Plan
from wfmgmt.errors import (
    ArchiveNotFound,
    NotInForce,
    OperationNotFound,
    ShuttingDown,
    TooManyRegistrations,
    WfmgmtError,
    WorkflowNotFound,
)
from wfmgmt.http.answers import RECEIPT, json_body
from wfmgmt.registry.kept_answers import Answer
from wfmgmt.registry.registry import LAST_RECEIPT
from wfmgmt.services.changes import Change
from wfmgmt.services.failed_changes import FailedChanges
from wfmgmt.services.idempotency import Idempotency, Keep

_View = TypeVar("_View", bound=Callable[..., Any])
#: Refused before anything began: they say nothing about the request.
_NOT_BEGUN = (TooManyRegistrations, ShuttingDown)
#: Of what does not exist, which is no change; and of what is made, whose event says so.
_NO_REFUSALS = (WorkflowNotFound, OperationNotFound, ArchiveNotFound, NotInForce)
#: Headers that every answer has, which are not kept with one.
_OWN_HEADERS = frozenset({"content-type", "content-length"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request to change something, read and checked.

    Attributes:
        change: Who asks, and under which conditions.
        parameters: What is asked.
        wanted: What the route's own reader made of them.
        files: The files that came with it; None without any.
    """

    change: Change
    parameters: Parameters
    wanted: Any
    files: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Write:
    """One route's part in a request.

    Attributes:
        rule: What the route takes.
        read: Reads what the view wants from the parameters.
        view: Carries it out and returns a result, given a `Call` and the names in the path.
        render: Turns the result into an answer.
        names: The names in the path.
        received: What its body was received as; None when that is parameters.
    """

    rule: WriteRule
    read: Callable[[Parameters], Any]
    view: Callable[..., Any]
    render: Callable[[Any], Answer]
    names: Mapping[str, str]
    received: Received | None = None

    @property
    def fields(self) -> Mapping[str, str] | None:
        """Parameters that came with a body which was received."""
        return None if self.received is None else self.received.fields


class Writes:
    """Adds routes that change something to a blueprint.

    Args:
        blueprint: The blueprint.
        idempotency: Answers requests that carry a key.
        failures: Records refusals.

    Attributes:
        actions: What the audit trail calls each route, by its method and path.
    """

    def __init__(self, blueprint: Blueprint, *, idempotency: Idempotency, failures: FailedChanges) -> None:
        self._blueprint = blueprint
        self._idempotency = idempotency
        self._failures = failures
        self.actions: dict[str, AuditAction] = {}

    def route(
        self,
        method: str,
        path: str,
        rule: WriteRule,
        *,
        render: Callable[[Any], Answer],
        read: Callable[[Parameters], Any] = lambda _: None,
        receive: Callable[..., AbstractContextManager[Received | None]] | None = None,
    ) -> Callable[[_View], _View]:
        """Return a decorator that makes a function the view of a route.

        Args:
            method: The HTTP method.
            path: The path, as Flask has it.
            rule: What the route takes.
            render: Turns what the function returns into an answer. It is called in the transaction that makes the
                change, too, so it only looks at what it is given.
            read: Reads what the function wants; what it refuses is recorded here in any case.
            receive: Receives a body while it arrives, given the names in the path; None when it is to be read as
                others are.
        """
        self.actions[f"{method} {path}"] = rule.action

        def decorate(view: _View) -> _View:
            def answer(**names: str) -> Response:
                write = _Write(rule=rule, read=read, view=view, render=render, names=names)
                if receive is None:
                    return self._answer(write)
                with ExitStack() as received:
                    try:
                        write = replace(write, received=received.enter_context(receive(**names)))
                    except WfmgmtError as error:
                        if not _is_dry(request.args):
                            self._record(write, origin(), error)
                        raise
                    return self._answer(write)

            self._blueprint.add_url_rule(path, f"{method} {path}".replace(".", "_"), answer, methods=[method])
            return view

        return decorate

    def _answer(self, write: _Write) -> Response:
        keyed = keyed_request(request, caller().actor, write.received)
        # A plan is outdated soon, there is nothing to make once; and a secret is not kept.
        if keyed is None or write.rule.has_secret or _is_dry_run(write):
            return _response(self._carry_out(write, None))
        answer, is_replayed = self._idempotency.answer(keyed, partial(self._answer_in_any_case, write))
        response = _response(answer)
        if is_replayed:
            response.headers[REPLAYED] = "true"
        return response

    def _answer_in_any_case(self, write: _Write, keep: Keep) -> Answer:
        """Return the answer to a request, also when that is an error, as it is kept."""
        try:
            answer = self._carry_out(write, keep)
        except Exception as error:  # noqa: BLE001 - Flask's handlers, which the application sets, know all of them
            response = current_app.make_response(current_app.handle_user_exception(error))
            headers = {name: value for name, value in response.headers.items() if name.lower() not in _OWN_HEADERS}
            answer = Answer(body=response.get_data(), status=response.status_code, headers=headers)
        return _receipted(answer, LAST_RECEIPT.get())

    def _carry_out(self, write: _Write, keep: Keep | None) -> Answer:
        asked_by = origin()
        call = self._read(write, asked_by, keep)
        try:
            if "name" in write.names:
                check_may_exist(write.names["name"])
            result = write.view(call, **write.names)
        except WfmgmtError as error:
            if not (call.change.dry_run or write.rule.records_refusals):
                self._record(write, asked_by, error)
            raise
        return Answer(body=json_body(result.json())) if isinstance(result, Plan) else write.render(result)

    def _read(self, write: _Write, asked_by: Origin, keep: Keep | None) -> Call:
        """Return what is asked; one that cannot be read is recorded, unless it is a dry run."""
        given: dict[str, Any] = request.args.to_dict()
        try:
            given = given_parameters(request, write.fields)
            parameters = Parameters(given, write.rule.schemas)
            change = Change(
                origin=asked_by,
                scope=caller().scope,
                reason=parameters.plain_text("reason"),
                expected=expected_revisions(request),
                dry_run=parameters.flag("dry_run") or False,
                plan=parameters.text("plan"),
            )
            wanted = write.read(parameters)
        except WfmgmtError as error:
            if not _is_dry(given):
                self._record(write, asked_by, error)
            raise
        if keep is not None:
            change = replace(
                change,
                on_made=lambda writer, result: keep(
                    writer, _receipted(write.render(result), writer.receipts.get(asked_by.request_id))
                ),
            )
        files = None if write.received is None else write.received.files
        return Call(change=change, parameters=parameters, wanted=wanted, files=files)

    def _record(self, write: _Write, asked_by: Origin, error: WfmgmtError) -> None:
        record_refusal(self._failures, write.rule.action, write.names, asked_by, error)


def record_refusal(
    failures: FailedChanges, action: AuditAction, names: Mapping[str, str], asked_by: Origin, error: WfmgmtError
) -> None:
    """Record a change that was refused; `names` are those in its path, or that would be."""
    if isinstance(error, _NOT_BEGUN + _NO_REFUSALS):
        return
    name = names.get("name", "")
    event = AuditEvent(
        origin=asked_by,
        action=action,
        workflow=name if is_workflow_name(name) else "",  # Others no workflow has, and not every database takes.
        outcome=AuditOutcome.FAILED,
        detail={
            **{name: value for name, value in names.items() if name != "name"},
            "error": {"type": type(error).__name__, "message": str(error)},
        },
        operation=error.ended,
    )
    failures.record(event, error)


def _receipted(answer: Answer, receipt: Receipt | None) -> Answer:
    """Return an answer as it is kept: with its receipt, if it has one by then."""
    return answer if receipt is None else replace(answer, headers={**answer.headers, RECEIPT: str(receipt)})


def _is_dry_run(write: _Write) -> bool:
    """Return whether the request asks for a plan only; one that cannot be read does not."""
    with suppress(WfmgmtError):
        return _is_dry(given_parameters(request, write.fields))
    return False


def _is_dry(given: Mapping[str, Any]) -> bool:
    return str(given.get("dry_run")).lower() == "true"


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers), mimetype="application/json")
