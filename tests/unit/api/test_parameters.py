"""Parameters of requests, without a server."""

import json
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.datastructures import MultiDict

from wfmgmt.api.parameters import Parameters, given_parameters, list_parameters
from wfmgmt.api.workflows import registration_request
from wfmgmt.api.write_rules import REGISTER
from wfmgmt.errors import BadRequest
from wfmgmt.services.preparation import RegistrationRequest

APP = Flask("parameters")


def parse(path: str = "/workflows", **options: Any) -> RegistrationRequest:
    """Read a POST as the endpoint does."""
    with APP.test_request_context(path, method="POST", **options):
        return registration_request(Parameters(given_parameters(request), REGISTER.schemas))


def parse_json(body: object, query: str = "") -> RegistrationRequest:
    """Read a POST with a JSON body."""
    data = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return parse(f"/workflows{query}", data=data, content_type="application/json")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"path": "/workflows?url=a.war"}, RegistrationRequest(url="a.war")),
        ({"path": "/workflows?url=a.war&url=b.war"}, RegistrationRequest(url="a.war")),
        ({"path": "/workflows?url=a.war&workflow_name="}, RegistrationRequest(url="a.war")),
        ({"path": "/workflows?url=a.war&workflow_name=x"}, RegistrationRequest(url="a.war", workflow_name="x")),
        (
            {"path": "/workflows?url=a.war&response_timeout=7&startup_timeout=8"},
            RegistrationRequest(url="a.war", response_timeout_s=7, startup_timeout_s=8),
        ),
        ({"data": {"url": "a.war"}}, RegistrationRequest(url="a.war")),
        ({"path": "/workflows?url=a.war&synchronous=true&s3_sse_kms=false"}, RegistrationRequest(url="a.war")),
    ],
    ids=["query", "the first of two wins", "empty name", "name", "timeouts", "form", "TorchServe's switches"],
)
def test_registration_request_reads_query_and_form(options: dict[str, Any], expected: RegistrationRequest) -> None:
    """Parameters arrive in any of the usual ways."""
    assert parse(**options) == expected


def test_registration_request_reads_json_and_lets_it_win() -> None:
    """A JSON body wins over the query; numbers come as numbers or as text; null is not given."""
    given = {"url": "b.war", "workflow_name": None, "startup_timeout": 9, "response_timeout": "10"}
    expected = RegistrationRequest(url="b.war", startup_timeout_s=9, response_timeout_s=10)
    assert parse_json(given, "?url=a.war") == expected


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/workflows", "Parameter url is required."),
        ("/workflows?url=", "Parameter url is required."),
        ("/workflows?url=%20", "Parameter url is required."),
        ("/workflows?url=a.war&response_timeout=abc", "Parameter response_timeout: expected a whole number"),
        ("/workflows?url=a.war&startup_timeout=0", "Parameter startup_timeout: expected a whole number"),
        ("/workflows?url=a.war&startup_timeout=-1", "Parameter startup_timeout: expected a whole number"),
        ("/workflows?url=a.war&startup_timeout=1.5", "Parameter startup_timeout: expected a whole number"),
        ("/workflows?url=a.war&startup_timeout=%D9%A3", "Parameter startup_timeout: expected a whole number"),
        ("/workflows?url=a.war&startup_timeout=99999999999999999999999", "Parameter startup_timeout"),
        ("/workflows?url=a.war&workflow_nam=x", "did you mean workflow_name?"),
        ("/workflows?url=a.war&zzz=1", "known are url, workflow_name"),
        ("/workflows?url=a.war&synchronous=later", "Parameter synchronous: expected true or false, got 'later'."),
        ("/workflows?url=a.war&s3_sse_kms=true", "Parameter s3_sse_kms: only false is supported"),
    ],
)
def test_registration_request_names_what_is_wrong(path: str, message: str) -> None:
    """The error says which parameter, and what would be right."""
    with pytest.raises(BadRequest) as caught:
        parse(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"url": ', "line 1, column 9"),
        ("[]", "has to be a JSON object, got []"),
        ("null", "has to be a JSON object, got None"),
        ('"a.war"', "has to be a JSON object"),
        ('{"url": 5}', "Parameter url: expected text, got 5"),
        ('{"url": ["a.war"]}', "Parameter url: expected text"),
        ('{"url": "a.war", "startup_timeout": true}', "Parameter startup_timeout: expected a whole number"),
        ('{"url": "a.war", "startup_timeout": 1.5}', "Parameter startup_timeout: expected a whole number"),
        ('{"url": "a.war", "startup_timeout": NaN}', "Parameter startup_timeout: expected a whole number"),
        ('{"url": "a.war", "startup_timeout": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        (b"\xff\xfe", "not UTF-8"),
        ('{"url": "a.war", "urll": "b"}', "did you mean url?"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_registration_request_says_where_json_is_wrong(body: str | bytes, message: str) -> None:
    """Malformed JSON, other values than an object, and wrong types are the client's errors."""
    with pytest.raises(BadRequest) as caught:
        parse_json(body)
    assert message in str(caught.value)


def test_registration_request_refuses_other_bodies() -> None:
    """A body that nobody would read is not silently dropped."""
    with pytest.raises(BadRequest, match="Content-Type 'text/plain'"):
        parse("/workflows?url=a.war", data="url=b.war", content_type="text/plain")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (100, 0, None)),
        ({"limit": "", "next_page_token": ""}, (100, 0, None)),
        ({"limit": "1000", "next_page_token": "7"}, (1000, 7, None)),
        ({"after": "x", "limit": "1"}, (1, 0, "x")),
        ({"after": ""}, (100, 0, "")),
    ],
    ids=["nothing", "empty", "page", "after", "from the start by name"],
)
def test_list_parameters_are_read(given: dict[str, str], expected: tuple[int, int, str | None]) -> None:
    """Limit, token and name, with their defaults."""
    assert list_parameters(MultiDict(given)) == expected


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"limit": " 5"}, "limit"),
        ({"next_page_token": "-1"}, "next_page_token"),
        ({"next_page_token": "x"}, "next_page_token"),
        ({"next_page_token": "99999999999"}, "next_page_token"),
        ({"after": "a\0b"}, "after"),
        ({"after": "a b"}, "after"),
        ({"after": "a", "next_page_token": "1"}, "next_page_token and after"),
    ],
    ids=str,
)
def test_list_parameters_name_what_is_wrong(given: dict[str, str], name: str) -> None:
    """Out of range, not a number, or both ways to page at once."""
    with pytest.raises(BadRequest, match=name):
        list_parameters(MultiDict(given))
