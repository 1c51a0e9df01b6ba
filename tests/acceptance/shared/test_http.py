"""HTTP itself, on both addresses: paths, methods, headers, and requests that are not even HTTP."""

import json
import re
import uuid
from typing import Any

import pytest
import requests

from tests.support.evidence import assert_error, assert_json
from tests.support.raw_http import PLANES, assert_raw_error, exchange
from tests.support.service import Service

UNKNOWN_PATH = "Requested resource is not found, please refer to API document."
WRONG_METHOD = "Requested method is not allowed, please refer to API document."
GOOD_PATHS = {
    "management": ("/ping", "/workflows", "/models", "/metrics", "/api-description"),
    "inference": ("/ping", "/metrics", "/api-description"),
}
EVERYWHERE = [(plane, path) for plane, paths in GOOD_PATHS.items() for path in (*paths, "/nosuch")]


def send(service: Service, plane: str, method: str, path: str, **options: Any) -> requests.Response:
    """Send a request whose path is left as it is, and follow no redirect."""
    with requests.Session() as session:
        prepared = session.prepare_request(requests.Request(method, getattr(service, plane), **options))
        prepared.url = f"{getattr(service, plane)}{path}"
        return session.send(prepared, timeout=10, allow_redirects=False)


@pytest.mark.parametrize(("plane", "path"), EVERYWHERE)
def test_every_answer_has_torchserves_headers(service: Service, plane: str, path: str) -> None:
    """Nothing is cached, and each answer has an id of its own."""
    first, second = (send(service, plane, "GET", path) for _ in range(2))
    assert first.headers["Pragma"] == "no-cache"
    assert first.headers["Cache-Control"] == "no-cache, no-store, must-revalidate, private"
    assert first.headers["Expires"] == "Thu, 01 Jan 1970 00:00:00 UTC"
    assert uuid.UUID(first.headers["x-request-id"]) != uuid.UUID(second.headers["x-request-id"])


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("given", ["abc", "7f0a-11.2_3:4/5+6=7@host", "x" * 128])
def test_sane_request_id_of_the_caller_is_kept(service: Service, plane: str, given: str) -> None:
    """Good answers and errors carry it."""
    for path in ("/ping", "/nosuch"):
        assert send(service, plane, "GET", path, headers={"x-request-id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "a;b", "<script>", "ü".encode().decode("latin-1")])
def test_insane_request_id_of_the_caller_is_replaced(service: Service, plane: str, given: str) -> None:
    """What could do harm in a log is not repeated."""
    uuid.UUID(send(service, plane, "GET", "/ping", headers={"x-request-id": given}).headers["x-request-id"])


@pytest.mark.parametrize(("plane", "path"), EVERYWHERE)
def test_head_answers_like_get_without_a_body(service: Service, plane: str, path: str) -> None:
    """Status and headers are the same; metrics change from one request to the next, so their length may."""
    got, head = send(service, plane, "GET", path), send(service, plane, "HEAD", path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["Content-Type"] == got.headers["Content-Type"]
    if path != "/metrics":
        assert head.headers["Content-Length"] == got.headers["Content-Length"] == str(len(got.content))


@pytest.mark.parametrize(("plane", "path"), [each for each in EVERYWHERE if each[1] not in ("/nosuch", "/metrics")])
def test_trailing_slash_is_tolerated(service: Service, plane: str, path: str) -> None:
    """A path with a slash at its end is answered like the one without, and nothing redirects."""
    plain, slashed = (send(service, plane, "GET", each) for each in (path, f"{path}/"))
    assert (slashed.status_code, slashed.text) == (plain.status_code, plain.text)


def test_trailing_slash_is_tolerated_after_a_name(service: Service) -> None:
    """`/workflows/seq/` means `seq`, for all methods."""
    for method in ("GET", "DELETE"):
        answer = send(service, "management", method, "/workflows/seq/")
        assert_error(answer, 404, "WorkflowNotFoundException", "Workflow not found: seq")
    posted = send(service, "management", "POST", "/workflows/")
    assert_error(posted, 400, "BadRequestException", "Parameter url is required.")


@pytest.mark.parametrize(
    ("plane", "path"),
    [
        *(
            ("management", path)
            for path in ("/workflows//seq", "/workflows//", "/workflows/seq/-1", "/workflows/a/b/c")
        ),
        *(("management", path) for path in ("/Workflows", "/workflow")),
        *(("management", path) for path in ("/wfpredict/seq", "/predictions/seq", "/wfpredict")),
        *(("inference", path) for path in ("/workflows", "/workflows/seq", "/models", "/models/seq")),
        *(("inference", path) for path in ("/ping//", "/nosuch")),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_unknown_path_is_not_found_with_any_method(service: Service, plane: str, path: str, method: str) -> None:
    """Each address knows its own paths only, and doubled slashes are not repaired."""
    answer = send(service, plane, method, path)
    assert_error(answer, 404, "ResourceNotFoundException", UNKNOWN_PATH)
    assert answer.json()["message"] == UNKNOWN_PATH


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("path", ["//", "//ping", "///ping", "//workflows", "//workflows/seq"])
def test_path_that_starts_with_two_slashes_is_not_found(service: Service, plane: str, path: str) -> None:
    """It is another path, and neither repaired nor taken for the name of a host."""
    answer = exchange(service, plane, f"GET {path} HTTP/1.1\r\nHost: [::1]\r\n\r\n".encode())
    assert_raw_error(answer, 404)
    assert json.loads(answer.body)["message"] == UNKNOWN_PATH


@pytest.mark.parametrize(
    ("plane", "path", "method", "allowed"),
    [
        ("management", "/workflows", "DELETE", {"GET", "HEAD", "POST"}),
        ("management", "/workflows", "PUT", {"GET", "HEAD", "POST"}),
        ("management", "/workflows", "OPTIONS", {"GET", "HEAD", "POST"}),
        ("management", "/workflows/", "PATCH", {"GET", "HEAD", "POST"}),
        ("management", "/workflows/seq", "POST", {"DELETE", "GET", "HEAD", "PUT"}),
        ("management", "/workflows/seq", "OPTIONS", {"DELETE", "GET", "HEAD", "PUT"}),
        ("management", "/workflows/seq/1.0", "POST", {"DELETE", "GET", "HEAD", "PUT"}),
        ("management", "/workflows/seq/traffic", "DELETE", {"GET", "HEAD", "PUT"}),
        ("management", "/workflows/seq/rollback", "GET", {"POST"}),
        ("management", "/models", "POST", {"GET", "HEAD"}),
        ("management", "/ping", "POST", {"GET", "HEAD"}),
        ("management", "/metrics", "DELETE", {"GET", "HEAD"}),
        ("management", "/", "GET", {"OPTIONS"}),
        ("management", "/", "HEAD", {"OPTIONS"}),
        ("management", "/ping", "BREW", {"GET", "HEAD"}),
        ("inference", "/ping", "POST", {"GET", "HEAD"}),
        ("inference", "/metrics", "DELETE", {"GET", "HEAD"}),
        ("inference", "/", "GET", {"OPTIONS"}),
        ("inference", "/ping/", "OPTIONS", {"GET", "HEAD"}),
        *((plane, path, "POST", {"GET", "HEAD"}) for plane in PLANES for path in ("/readyz", "/livez/")),
        ("inference", "/ping", "PATCH", {"GET", "HEAD"}),
    ],
)
def test_wrong_method_is_refused_with_those_that_are_allowed(
    service: Service, plane: str, path: str, method: str, allowed: set[str]
) -> None:
    """The error is TorchServe's; the `Allow` header is ours."""
    answer = send(service, plane, method, path)
    assert answer.status_code == 405
    assert set(re.split(r",\s*", answer.headers["Allow"])) == allowed
    if method != "HEAD":
        assert_error(answer, 405, "MethodNotAllowedException", WRONG_METHOD)
        assert answer.json()["message"] == WRONG_METHOD


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", "url=seq.war"),
        ("application/yaml", "url: seq.war"),
        ("", '{"url": "seq.war"}'),
        ("nonsense", "x"),
    ],
)
def test_body_of_another_type_is_refused(service: Service, content_type: str, body: str) -> None:
    """The message names the types that can be read."""
    answer = send(service, "management", "POST", "/workflows", data=body, headers={"Content-Type": content_type})
    message = f"Content-Type {content_type!r}: expected application/json or application/x-www-form-urlencoded."
    assert_error(answer, 400, "BadRequestException", message)


def test_empty_body_of_another_type_is_no_body(service: Service) -> None:
    """Clients that always name a type get the answer to their query."""
    answer = send(service, "management", "POST", "/workflows?url=nosuch.war", headers={"Content-Type": "text/plain"})
    assert_error(answer, 404, "WorkflowNotFoundException", "Workflow not found in workflow store: nosuch.war")


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain"])
@pytest.mark.parametrize("size", [64 * 1024 + 1, 300 * 1024, 5 * 1024 * 1024])
def test_large_body_is_refused(service: Service, content_type: str, size: int) -> None:
    """A registration is a few parameters, so nothing larger is read."""
    head = f"POST /workflows HTTP/1.1\r\nHost: [::1]\r\nContent-Type: {content_type}\r\nContent-Length: {size}\r\n\r\n"
    answer = exchange(service, "management", head.encode() + b"a" * min(size, 300 * 1024))
    assert_raw_error(answer, 413)
    assert json.loads(answer.body)["type"] == "RequestEntityTooLargeException"


def test_large_chunked_body_is_refused(service: Service) -> None:
    """A body that does not tell its length is counted."""
    head = b"POST /workflows HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    assert_raw_error(exchange(service, "management", head + chunk * 3 + b"0\r\n\r\n"), 413)


def test_chunked_body_is_read(service: Service) -> None:
    """Clients may send a small body in chunks."""
    chunks = iter([b'{"url": ', b'"nosuch.war"}'])
    answer = send(
        service, "management", "POST", "/workflows", data=chunks, headers={"Content-Type": "application/json"}
    )
    assert_error(answer, 404, "WorkflowNotFoundException", "Workflow not found in workflow store: nosuch.war")


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (b"nonsense\r\n\r\n", {400}),
        (b"GET\r\n\r\n", {400}),
        (b"GET /ping HTTP/9.9\r\nHost: [::1]\r\n\r\n", {400, 505}),
        (b"GET /ping HTTP/2.0\r\nHost: [::1]\r\n\r\n", {505}),
        (b"GET /ping HTTP/1.1\r\n\r\n", {400}),
        (b"GET /ping FTP/1.1\r\nHost: [::1]\r\n\r\n", {400}),
        (b"GET ping HTTP/1.1\r\nHost: [::1]\r\n\r\n", {400, 404}),
        (b"G\x00T /ping HTTP/1.1\r\nHost: [::1]\r\n\r\n", {400}),
        (b"GET /ping HTTP/1.1\r\nHost x\r\n\r\n", {400}),
        (b"GET /ping HTTP/1.1\r\nHost: [::1]\r\nbad name: x\r\n\r\n", {400}),
        (b"GET /ping HTTP/1.1\r\nHost: [::1]\r\nX: a\x00b\r\n\r\n", {400}),
        (b"POST /ping HTTP/1.1\r\nHost: [::1]\r\nContent-Length: ten\r\n\r\n", {400}),
        (b"POST /ping HTTP/1.1\r\nHost: [::1]\r\nContent-Length: -1\r\n\r\n", {400}),
        (b"POST /ping HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", {400}),
        (
            b"POST /ping HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            {400},
        ),
        (b"POST /ping HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: nonsense\r\n\r\n0\r\n\r\n", {400, 501}),
        (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: [::1]\r\n\r\n", {400, 414}),
        (b"GET /ping HTTP/1.1\r\nHost: [::1]\r\nX: " + b"a" * 10_000 + b"\r\n\r\n", {400, 431}),
        (b"GET /ping HTTP/1.1\r\nHost: [::1]\r\n" + b"X: a\r\n" * 200 + b"\r\n", {400, 431}),
    ],
    ids=[
        "nonsense",
        "no path",
        "unknown version",
        "HTTP/2",
        "no host",
        "other protocol",
        "relative path",
        "NUL in the method",
        "header without colon",
        "blank in a header's name",
        "NUL in a header",
        "length no number",
        "length negative",
        "two lengths",
        "length and chunks",
        "unknown transfer encoding",
        "line too long",
        "header too long",
        "too many headers",
    ],
)
def test_request_that_is_not_http_gets_an_error_of_the_one_shape(
    service: Service, plane: str, sent: bytes, statuses: set[int]
) -> None:
    """Even the framework's own errors are JSON with the usual headers."""
    answer = exchange(service, plane, sent)
    assert answer.status in statuses
    assert_raw_error(answer, answer.status)


def test_long_line_and_long_headers_have_statuses_of_their_own(service: Service) -> None:
    """A client can tell an address that is too long from headers that are."""
    long = b"a" * 10_000
    for sent, status, error_type in (
        (b"GET /" + long + b" HTTP/1.1\r\nHost: [::1]\r\n\r\n", 414, "RequestUriTooLongException"),
        (b"GET / HTTP/1.1\r\nX: " + long + b"\r\n\r\n", 431, "RequestHeaderFieldsTooLargeException"),
    ):
        answer = exchange(service, "management", sent)
        assert_raw_error(answer, status)
        assert json.loads(answer.body)["type"] == error_type


@pytest.mark.parametrize("plane", PLANES)
def test_connection_stays_open_between_requests(service: Service, plane: str) -> None:
    """Clients need not connect anew after a good answer, nor after an error."""
    with requests.Session() as session:
        for path in ("/ping", "/nosuch", "/ping"):
            answer = session.get(f"{getattr(service, plane)}{path}", timeout=10)
            assert_json(answer)
            assert answer.headers.get("Connection", "keep-alive") == "keep-alive"


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/ping"), ("GET", "/nosuch"), ("DELETE", "/ping"), ("GET", "/a/b")]
)
def test_unknown_expectation_is_refused_in_the_one_shape(service: Service, plane: str, method: str, path: str) -> None:
    """An odd header is the client's error, and answered as every other, for any path and method."""
    answer = send(service, plane, method, path, headers={"Expect": "foo"})
    assert_error(answer, 417, "ExpectationFailedException", "")
    assert answer.headers["Pragma"] == "no-cache"
    uuid.UUID(answer.headers["x-request-id"])


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/nosuch", 404), ("DELETE", "/ping", 405)])
def test_client_that_waits_to_send_its_body_gets_the_usual_errors(
    service: Service, method: str, path: str, status: int
) -> None:
    """It may get `100 Continue` first, but the answer has the one shape."""
    head = f"{method} {path} HTTP/1.1\r\nHost: [::1]\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    assert_raw_error(exchange(service, "inference", head.encode() + b"abc"), status)
