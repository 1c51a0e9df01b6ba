"""The one handler that writes errors of the management plane."""

import logging
from http import HTTPStatus

from flask import Flask, Response, g
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from wfmgmt import errors
from wfmgmt.api.operations import operation_path
from wfmgmt.errors.access import CredentialsRefused
from wfmgmt.http.answers import CHALLENGE, FRAMEWORK_TYPES, UNKNOWN_PATH, WRONG_METHOD, error_body, status_and_type

_log = logging.getLogger("wfmgmt.api")

_INTERNAL = "Internal server error; the log has the details under this answer's x-request-id."
_MESSAGES: dict[int, str] = {
    HTTPStatus.NOT_FOUND: UNKNOWN_PATH,
    HTTPStatus.METHOD_NOT_ALLOWED: WRONG_METHOD,
    HTTPStatus.INTERNAL_SERVER_ERROR: _INTERNAL,
}


def register_error_handlers(app: Flask) -> None:
    """Give the application's errors, Flask's and unforeseen ones the one shape that errors have."""
    app.register_error_handler(Exception, error_answer)


def error_answer(error: Exception) -> Response:
    """Return the answer to a request that ended with an error."""
    if isinstance(error, errors.WfmgmtError):
        return _answer_own(error)
    return _answer_framework(error) if isinstance(error, HTTPException) else _answer_unforeseen(error)


def _respond(status: int, error_type: str, message: str, **more: object) -> Response:
    return Response(error_body(status, error_type, message, **more), status, mimetype="application/json")


def _answer_own(error: errors.WfmgmtError) -> Response:
    status, error_type = status_and_type(error)
    more = {"hint": error.hint} if error.hint else {}
    if error.operation:
        more["operation"] = operation_path(error.operation)
    answer = _respond(status, error_type, str(error), **more)
    if isinstance(error, CredentialsRefused):
        answer.headers["WWW-Authenticate"] = CHALLENGE
    if (retry_after_s := getattr(error, "retry_after_s", None)) is not None:
        answer.headers["Retry-After"] = str(retry_after_s)
    return answer


def _answer_framework(error: HTTPException) -> Response:
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    message = _MESSAGES.get(status) or str(error.description or error.name)
    answer = _respond(status, FRAMEWORK_TYPES.get(status, "BadRequestException"), message)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        answer.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return answer


def _answer_unforeseen(error: Exception) -> Response:
    _log.error("unforeseen error", exc_info=error, extra={"request_id": g.get("request_id")})
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return _respond(status, FRAMEWORK_TYPES[status], _INTERNAL)
