"""The endpoints of declared state: applying it, and what has been changed by hand since."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, NamedTuple

from flask import Blueprint, Response, request

from wfmgmt.api.access import caller
from wfmgmt.api.answers import json_response
from wfmgmt.api.bodies import Received, pieces_of
from wfmgmt.api.operations import accepted_answer
from wfmgmt.api.preconditions import later_wait_s
from wfmgmt.api.write_rules import APPLY, SOURCE_FORM
from wfmgmt.api.writes import Call, Writes
from wfmgmt.domain.declaration_files import MAX_BYTES, parse_declaration
from wfmgmt.domain.operations import OperationError
from wfmgmt.errors import BadRequest
from wfmgmt.errors.declared import DeclarationTooLarge, NotApplied
from wfmgmt.http.answers import json_body, named_status_and_type
from wfmgmt.registry.kept_answers import Answer
from wfmgmt.services.applying import DEFAULT_SOURCE, Applying, ApplyRequest, Drifted
from wfmgmt.services.operation_records import Accepted
from wfmgmt.services.operations import MAX_WAIT_S

_APPLYING = "Applying the declaration..."


class _Results(NamedTuple):
    """What came of all workflows, or would come of them."""

    results: Sequence[Mapping[str, Any]]
    is_dry_run: bool


def add_apply_routes(writes: Writes, *, applying: Applying) -> None:
    """Add the route that applies a declaration."""

    @writes.route("POST", "/apply", APPLY, render=_applied, receive=_receive)
    def apply(call: Call) -> _Results | Accepted | OperationError:
        """Bring workflows to what is declared."""
        if call.change.plan or call.change.expected is not None:
            raise BadRequest("Parameter plan and header If-Match: a declaration has neither a plan nor a revision.")
        source = call.parameters.text("source") or DEFAULT_SOURCE
        if re.fullmatch(SOURCE_FORM, source) is None:
            raise BadRequest(f"Parameter source: expected a name of the form {SOURCE_FORM}.")
        wanted = ApplyRequest(
            source=source,
            declared=parse_declaration(call.files),
            prune=call.parameters.flag("prune") or False,
            adopt=call.parameters.flag("adopt") or False,
        )
        if call.change.dry_run:
            return _Results([each.json() for each in applying.plan(wanted, call.change)], is_dry_run=True)
        wait_s = later_wait_s(request, call.parameters)
        accepted = applying.accept(wanted, call.change)
        found = applying.result(accepted, MAX_WAIT_S if wait_s is None else wait_s)
        return found if isinstance(found, Accepted | OperationError) else _Results(found, is_dry_run=False)


def declared_blueprint(applying: Applying) -> Blueprint:
    """Return the blueprint over what was applied."""
    blueprint = Blueprint("declared", __name__)

    @blueprint.get("/drift")
    def show_drift() -> Response:
        """List what was changed by others since it was applied."""
        found = [_drifted_json(each) for each in applying.drift(caller().scope)]
        return json_response({"drift": found})

    return blueprint


@contextmanager
def _receive() -> Iterator[Received]:
    """Read a declaration while it arrives."""
    content = bytearray()
    for piece in pieces_of(request):
        content += piece
        if len(content) > MAX_BYTES:
            raise DeclarationTooLarge(MAX_BYTES)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadRequest(f"line {line}: expected text in UTF-8.") from error
    yield Received(files=text, digests=hashlib.sha256(content).hexdigest())


def _applied(result: _Results | Accepted | OperationError) -> Answer:
    """Return an answer, which is an error when any workflow could not be brought to what is declared."""
    if isinstance(result, Accepted):
        return accepted_answer(_APPLYING, result.uid)
    if isinstance(result, OperationError):
        code, error_type = named_status_and_type(result.type)
        return Answer(body=json_body({"code": code, "type": error_type, "message": result.message}), status=code)
    failed = {each["workflow"]: each["error"]["message"] for each in result.results if each["error"] is not None}
    body: dict[str, Any] = {}
    if failed:
        code, error_type = named_status_and_type(NotApplied.__name__)
        body = {"code": code, "type": error_type, "message": str(NotApplied(failed, len(result.results)))}
    body |= {"dryRun": result.is_dry_run, "results": list(result.results)}
    return Answer(body=json_body(body), status=body.get("code", HTTPStatus.OK))


def _drifted_json(drifted: Drifted) -> dict[str, Any]:
    return {
        "workflow": drifted.workflow,
        "path": drifted.change.path,
        "declared": drifted.change.before,
        "found": drifted.change.after,
        "since": drifted.since or None,
        "actor": drifted.actor or None,
    }
