"""Parameters of a request: read strictly, with errors that name the parameter and what would be right."""

import json
from collections.abc import Collection, Iterable
from typing import Any

from flask import Request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge

from wfmgmt.domain import json_values
from wfmgmt.domain.names import is_workflow_name, nearest
from wfmgmt.domain.redaction import redacted
from wfmgmt.errors import BadRequest
from wfmgmt.services.registration import DEFAULT_TIMEOUT_S, RegistrationRequest

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
MAX_TOKEN = 2**31 - 1
MAX_TIMEOUT_S = 86_400
REGISTRATION_PARAMETERS = (
    "url",
    "workflow_name",
    "response_timeout",
    "startup_timeout",
    "synchronous",
    "s3_sse_kms",
)
_SHOWN = 100


def whole_number(name: str, value: object, *, least: int, most: int) -> int:
    """Return a parameter's value as an int. JSON knows no ints: 5.0 is a whole number there, too.

    Raises:
        BadRequest: It is not a whole number within the bounds.
    """
    return json_values.whole_number(f"Parameter {name}", value, least=least, most=most)


def _shown(value: object) -> str:
    """Return a value for a message: shortened, and without secrets in case an address is in the wrong place."""
    text = redacted(repr(value))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _flag(name: str, value: object, *, only: bool) -> None:
    """Accept a TorchServe switch that has only one position here."""
    if value is not only and str(value).lower() != str(only).lower():
        raise BadRequest(f"Parameter {name}: only {str(only).lower()} is supported, got {_shown(value)}.")


def _text(name: str, value: object) -> str:
    """Return a parameter's text, an empty one when it is not given."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"Parameter {name}: expected text, got {_shown(value)}.")
    return value


def list_parameters(arguments: MultiDict[str, str]) -> tuple[int, int, str | None]:
    """Return limit, offset and the name to list after (None to list by offset); an empty value counts as not given."""
    limit, offset = arguments.get("limit", ""), arguments.get("next_page_token", "")
    after = arguments.get("after")
    if after is not None and offset:
        raise BadRequest("Parameters next_page_token and after: give one of them, not both.")
    return (
        whole_number("limit", limit, least=1, most=MAX_LIMIT) if limit else DEFAULT_LIMIT,
        whole_number("next_page_token", offset, least=0, most=MAX_TOKEN) if offset else 0,
        after if after is None else _after(after),
    )


def _after(text: str) -> str:
    if text and not is_workflow_name(text):
        raise BadRequest("Parameter after: expected the name of a workflow.")
    return text


def registration_request(request: Request) -> RegistrationRequest:
    """Return what a POST asks for; a JSON or form body wins over the query, the first of several values counts.

    Raises:
        BadRequest: A parameter is unknown, missing or wrong, or the body cannot be read.
    """
    given = {**_first_values(request.args), **_body(request)}
    _check_known(given)
    if (synchronous := given.get("synchronous")) is not None:
        _flag("synchronous", synchronous, only=True)
    if (encrypted := given.get("s3_sse_kms")) is not None:
        _flag("s3_sse_kms", encrypted, only=False)
    url = _text("url", given.get("url")).strip()
    if not url:
        raise BadRequest("Parameter url is required.")
    return RegistrationRequest(
        url=url,
        workflow_name=_text("workflow_name", given.get("workflow_name")) or None,
        response_timeout_s=_timeout("response_timeout", given.get("response_timeout")),
        startup_timeout_s=_timeout("startup_timeout", given.get("startup_timeout")),
    )


def _timeout(name: str, value: object) -> int:
    if value is None or value == "":
        return DEFAULT_TIMEOUT_S
    return whole_number(name, value, least=1, most=MAX_TIMEOUT_S)


def _first_values(values: MultiDict[str, str]) -> dict[str, Any]:
    return dict(values.items())


def _check_known(names: Iterable[str], known: Collection[str] = REGISTRATION_PARAMETERS) -> None:
    for name in names:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else f"known are {', '.join(known)}."
            raise BadRequest(f"Unknown parameter {_shown(name)}, {hint}")


def _body(request: Request) -> dict[str, Any]:
    kind, body = request.mimetype, _whole_body(request)
    if kind == "application/json":
        return _json_body(body)
    if kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
        if request.files:
            raise BadRequest(
                "The body carries a file: put the archive into the workflow store and give its name as url."
            )
        return _first_values(request.form)
    if body.strip():
        raise BadRequest(
            f"Content-Type {_shown(kind)}: expected application/json or application/x-www-form-urlencoded."
        )
    return {}


def _whole_body(request: Request) -> bytes:
    """Return the body, which stays there to be parsed as a form.

    Raises:
        RequestEntityTooLarge: It is larger than the application allows. werkzeug says so by itself unless the body
            comes in chunks: those it cuts off at the limit without a word.
    """
    body = request.get_data()
    limit = request.max_content_length
    if request.content_length is None and limit is not None and len(body) >= limit:
        raise RequestEntityTooLarge
    return body


def _json_body(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        value = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: byte {error.start} cannot be read.") from error
    except json.JSONDecodeError as error:
        raise BadRequest(
            f"The body is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}."
        ) from error
    except (RecursionError, ValueError) as error:
        raise BadRequest(
            "The body is not valid JSON: it is nested too deeply or holds a number that is too long."
        ) from error
    if not isinstance(value, dict):
        raise BadRequest(f"The body has to be a JSON object, got {_shown(value)}.")
    return value
