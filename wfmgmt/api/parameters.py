"""Parameters of a request: read strictly, with errors that name the parameter and what would be right."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from flask import Request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge

from wfmgmt.domain import json_values
from wfmgmt.domain.names import WORKFLOW_NAME_FORM, is_workflow_name, nearest
from wfmgmt.domain.redaction import redacted
from wfmgmt.domain.status import WorkflowState
from wfmgmt.domain.tokens import has_token
from wfmgmt.errors import BadRequest

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
MAX_TOKEN = 2**31 - 1
#: Of the state of workflows: all of them.
ALL_STATES = "all"
#: States of workflows that are registered.
REGISTERED_STATES = frozenset({WorkflowState.READY, WorkflowState.LOADING, WorkflowState.FAILED})
#: The name of a workflow, or the beginning of names; all names when there is nothing before the `*`.
NAME_PATTERN = rf"({WORKFLOW_NAME_FORM})?\*?"
#: The same of nodes, whose names may have characters of any language.
NODE_NAME_PATTERN = r"[^\x00-\x1f\x7f*]{0,128}\*?"
#: JSON Schema of each parameter, by name; one of type `object` or `array` comes in a JSON body only.
Schemas = Mapping[str, Mapping[str, Any]]
_SHOWN = 100
#: What no database and no terminal should get: control characters but tabs and line feeds, and halves of characters.
_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


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


class Parameters:
    """The parameters of one request, held against their schemas, which the API's description shows, too.

    One that is null, or an empty text, counts as not given.

    Args:
        given: Values by name, as JSON or as texts.
        schemas: What is known.

    Raises:
        BadRequest: A name is unknown, or a value has a token in it, which would be kept and shown.
    """

    def __init__(self, given: Mapping[str, Any], schemas: Schemas) -> None:
        check_known(given, schemas)
        for name, value in given.items():
            if has_token(str(value)):
                raise BadRequest(f"Parameter {name}: expected no token; those belong in the header Authorization.")
        self._given = {name: value for name, value in given.items() if value is not None}
        self._schemas = schemas

    @property
    def names(self) -> frozenset[str]:
        """What is given."""
        return frozenset(name for name, value in self._given.items() if value != "")

    def integer(self, name: str) -> int | None:
        """Return a whole number; None when it is not given."""
        schema = self._schemas[name]
        value = self._given.get(name, "")
        return None if value == "" else whole_number(name, value, least=schema["minimum"], most=schema["maximum"])

    def text(self, name: str) -> str:
        """Return a text; an empty one when it is not given."""
        value, schema = self._given.get(name, ""), self._schemas[name]
        if not isinstance(value, str):
            raise BadRequest(f"Parameter {name}: expected text, got {_shown(value)}.")
        longest, choices = schema.get("maxLength", len(value)), schema.get("enum")
        if len(value) > longest:
            raise BadRequest(f"Parameter {name}: expected {longest} characters at most, got {len(value)}.")
        if value and choices and value not in choices:
            raise BadRequest(f"Parameter {name}: expected one of {', '.join(choices)}, got {_shown(value)}.")
        return value

    def plain_text(self, name: str) -> str:
        """Return a text that is kept and shown as it is; an empty one when it is not given."""
        text = self.text(name)
        if (found := _UNFIT.search(text)) is not None:
            raise BadRequest(f"Parameter {name}: expected text without control characters, got {found[0]!a} in it.")
        return text

    def flag(self, name: str) -> bool | None:
        """Return a switch; None when it is not given."""
        value = self._given.get(name)
        choices = self._schemas[name].get("enum", (True, False))
        for choice in choices:
            if value is choice or (isinstance(value, str) and value.lower() == str(choice).lower()):
                return bool(choice)
        if value is None:
            return None
        if len(choices) == 1:
            raise BadRequest(f"Parameter {name}: only {str(choices[0]).lower()} is supported, got {_shown(value)}.")
        raise BadRequest(f"Parameter {name}: expected true or false, got {_shown(value)}.")

    def json(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return a value of a JSON body as it is; None when it is not given."""
        return self._given.get(name)


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


def state_parameters(arguments: MultiDict[str, str]) -> tuple[frozenset[WorkflowState], str, str]:
    """Return the states whose workflows to list, none for the plain list, and patterns of their and of nodes' names.

    With a name alone it is the workflows that are registered.
    """
    state, name, node_name = (arguments.get(each, "") for each in ("state", "name", "node"))
    if not (state or name or node_name):
        return frozenset(), "", ""
    if arguments.get("after") is not None:
        raise BadRequest("Parameters state and after: give one of them, not both; next_page_token leads on.")
    _check_pattern("name", name, "a workflow", NAME_PATTERN)
    _check_pattern("node", node_name, "a node", NODE_NAME_PATTERN)
    if state not in ("", ALL_STATES, *WorkflowState):
        raise BadRequest(
            f"Parameter state: expected one of {', '.join((*WorkflowState, ALL_STATES))}, got {_shown(state)}."
        )
    if state == ALL_STATES:
        return frozenset(WorkflowState), name, node_name
    return frozenset({WorkflowState(state)}) if state else REGISTERED_STATES, name, node_name


def _check_pattern(parameter: str, given: str, what: str, pattern: str) -> None:
    if given and re.fullmatch(pattern, given) is None:
        raise BadRequest(
            f"Parameter {parameter}: expected the name of {what}, or its beginning and *, got {_shown(given)}."
        )


def _after(text: str) -> str:
    if text and not is_workflow_name(text):
        raise BadRequest("Parameter after: expected the name of a workflow.")
    return text


def query_parameters(request: Request, schemas: Schemas) -> Parameters:
    """Return the parameters of a GET, the first of several values each.

    Raises:
        BadRequest: One is unknown.
    """
    return Parameters(_first_values(request.args), schemas)


def given_parameters(request: Request, fields: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return all parameters of a request; a JSON or form body wins over the query, the first of several values counts.

    Args:
        request: The request.
        fields: What its body carries of them, when that is read as it arrives; the body is read here unless given.

    Raises:
        BadRequest: The body cannot be read.
    """
    return {**_first_values(request.args), **(_body(request) if fields is None else fields)}


def _first_values(values: MultiDict[str, str]) -> dict[str, Any]:
    return dict(values.items())


def check_known(names: Iterable[str], known: Schemas) -> None:
    """Check names of parameters.

    Raises:
        BadRequest: One is unknown; the text has the nearest known one.
    """
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
                "The body carries a file; archives come with a registration (POST /workflows), or alone "
                "(PUT /archives/workflows/NAME)."
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
