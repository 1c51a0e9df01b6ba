"""What web pages can have a browser send, on every route of both addresses."""

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.deployments import deployed
from tests.support.evidence import assert_error, query, refused
from tests.support.factories import make_war
from tests.support.openapi_paths import concrete
from tests.support.raw_http import PLANES, RawAnswer, assert_raw_error, exchange, read_answer
from tests.support.service import Service, wait_until
from wfmgmt.http.browser_guard import EXEMPT_PATHS

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PROPFIND")
SAFE = ("GET", "HEAD", "OPTIONS")
EVIL = "http://evil.example"
PAGE = "https://app.example"
BOUNDARY = "Content-Type: multipart/form-data; boundary=b"
FORM = "Content-Type: application/x-www-form-urlencoded"
#: What a browser sends for a page of another origin.
FOREIGN = {
    "form": [f"Origin: {EVIL}", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", FORM],
    "form of another port": ["Origin: http://127.0.0.1:3000", "Sec-Fetch-Site: same-site", FORM],
    "multipart form": [f"Origin: {EVIL}", "Sec-Fetch-Site: cross-site", BOUNDARY],
    "sendBeacon": [
        f"Origin: {EVIL}",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Mode: no-cors",
        "Content-Type: text/plain",
    ],
    "fetch no-cors": [f"Origin: {EVIL}", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"],
    "sandboxed frame": ["Origin: null", "Content-Type: text/plain"],
    "old browser": [f"Origin: {EVIL}", FORM],
    "method override": [f"Origin: {EVIL}", "X-HTTP-Method-Override: DELETE", "X-HTTP-Method: GET", FORM],
}
#: What comes from no page, or from one of this server.
OWN = {
    "no browser": [],
    "typed address": ["Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"],
    "same origin": ["Sec-Fetch-Site: same-origin", "Origin: http://HOST"],
    "same origin, old browser": ["Origin: http://HOST"],
}
REBOUND = ["evil.example:8081", "127.0.0.1,evil.example", ""]


@pytest.fixture(scope="module", name="guarded")
def _guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A deployment with an archive that could be registered, a name of its own, and one page that may use it."""
    with deployed(tmp_path_factory.mktemp("g"), allowed_hosts="models.example", cors_origins=PAGE) as service:
        make_war(service.workflow_store, name="seq", spec="dag: {echo: []}\n", handler="def echo(d, c): return d\n")
        yield service


def send(
    service: Service, plane: str, line: str, *headers: str, host: str | None = None, body: bytes = b"url=seq.war"
) -> RawAnswer:
    """Send a request with exactly these headers."""
    own = urlsplit(getattr(service, plane)).netloc
    lines = [f"{line} HTTP/1.1", f"Host: {own if host is None else host}", f"Content-Length: {len(body)}"]
    lines += [header.replace("HOST", own) for header in headers]
    with socket.create_connection(own.split(":"), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
        answer = read_answer(connection, line.partition(" ")[0])
        assert connection.recv(1) == b""
        return answer


def routes(service: Service, plane: str) -> list[str]:
    """Return every path that is served but those exempt, with one that is not; a test compares them with the code."""
    described = requests.get(f"{getattr(service, plane)}/api-description", timeout=10).json()["paths"]
    return [*(f"{concrete(path)}?url=seq.war" for path in described if path not in EXEMPT_PATHS), "/nosuch"]


def combinations(paths: list[str], kinds: dict[str, list[str]]) -> Iterator[tuple[str, str, list[str]]]:
    """Give the first path with each method and the headers of each kind, the others with those of one kind in turn."""
    listed = list(kinds.values())
    for at, path in enumerate(paths):
        for turn, method in enumerate(METHODS, start=at):
            for headers in [listed[turn % len(listed)]] if at else listed:
                yield path, method, headers


@pytest.mark.parametrize("plane", PLANES)
def test_pages_of_other_origins_change_nothing_on_any_route(guarded: Service, plane: str) -> None:
    """All that they have a browser send is refused and counted before its path or body is read."""
    before, sent = refused(guarded, plane), 0
    for path, method, headers in combinations(routes(guarded, plane), FOREIGN):
        answer = send(guarded, plane, f"{method} {path}", *headers)
        if method in SAFE:
            assert answer.status != 403
            continue
        sent += 1
        assert_raw_error(answer, 403)
        assert b'"CrossOriginException"' in answer.body
        assert b"WFMGMT_CORS_ORIGINS" in answer.body
        assert "access-control-allow-origin" not in answer.headers
    assert refused(guarded, plane) == before + sent
    assert guarded.names() == []
    assert query(guarded, "SELECT * FROM audit_event") == []


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("host", REBOUND)
def test_pages_under_a_name_of_their_own_do_not_even_read(guarded: Service, plane: str, host: str) -> None:
    """A name that a page has pointed at this server makes them of the same origin, so all methods are refused."""
    for path in routes(guarded, plane):
        for method in METHODS:
            answer = send(guarded, plane, f"{method} {path}", "Sec-Fetch-Site: same-origin", host=host)
            assert answer.status == 403
            if method != "HEAD":
                assert b"WFMGMT_ALLOWED_HOSTS" in answer.body
    assert query(guarded, "SELECT * FROM audit_event") == []


@pytest.mark.parametrize("plane", PLANES)
def test_own_pages_and_clients_that_are_no_browsers_notice_nothing(guarded: Service, plane: str) -> None:
    """They get what they would get without the guard."""
    for path, method, headers in combinations(routes(guarded, plane), OWN):
        # An empty name can neither be registered nor removed.
        assert send(guarded, plane, f"{method} {path.partition('?')[0]}", *headers, body=b"").status != 403
    for host in ("localhost", "a.localhost:1", "[::1]:8081", socket.gethostname(), "models.example"):
        assert send(guarded, plane, "GET /metrics", host=host).status == 200
    assert exchange(guarded, plane, b"GET /metrics HTTP/1.0\r\n\r\n").status == 200
    token = ["Authorization: Bearer wfm_1", f"Origin: {EVIL}"]
    assert send(guarded, plane, "DELETE /nosuch", *token).status == 404


@pytest.mark.parametrize("plane", PLANES)
def test_health_check_answers_under_any_name(guarded: Service, plane: str) -> None:
    """Load balancers and probes ask under names that nobody has set."""
    for path in ("/ping", "/ping/"):
        assert send(guarded, plane, f"GET {path}", "Origin: null", host="10-0-0-1.pods.example").status == 200


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("expect", ["", "Expect: 100-continue\r\n"])
@pytest.mark.parametrize("framing", ["Content-Length: 60000", "Transfer-Encoding: chunked"])
def test_body_of_a_refused_request_need_not_be_sent(guarded: Service, plane: str, expect: str, framing: str) -> None:
    """The answer comes when the head is there; nobody is asked to go on, and the page's own id comes back."""
    path = {"management": "/workflows", "inference": "/wfpredict/seq"}[plane]
    host = urlsplit(getattr(guarded, plane)).netloc
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {EVIL}\r\n{expect}x-request-id: r1\r\n{framing}\r\n\r\n"
    before = refused(guarded, plane)
    answer = exchange(guarded, plane, head.encode())
    assert (answer.status, answer.headers["x-request-id"]) == (403, "r1")
    assert refused(guarded, plane) == before + 1


@pytest.mark.parametrize("plane", PLANES)
def test_pages_of_an_allowed_origin_may_send_and_read(guarded: Service, plane: str) -> None:
    """Their preflights are answered, and every answer, be it an error, may be shown to them; others get nothing."""
    asked = ["Access-Control-Request-Method: DELETE", "Access-Control-Request-Headers: content-type"]
    for path in (*routes(guarded, plane), "/ping"):
        preflight = send(guarded, plane, f"OPTIONS {path}", f"Origin: {PAGE}", *asked, body=b"")
        assert (preflight.status, preflight.body) == (204, b"")
        assert preflight.headers["access-control-allow-origin"] == PAGE
        assert "DELETE" in preflight.headers["access-control-allow-methods"]
        assert preflight.headers["access-control-allow-headers"].startswith("*")
        other = send(guarded, plane, f"OPTIONS {path}", f"Origin: {EVIL}", *asked, body=b"")
        assert not [name for name in other.headers if name.startswith("access-control-")]
    for method, status in (("GET", 404), ("POST", 404), ("DELETE", 404)):
        answer = send(guarded, plane, f"{method} /nosuch", f"Origin: {PAGE}", "Sec-Fetch-Site: cross-site")
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.headers["vary"] == "Origin"
    assert send(guarded, plane, "GET /ping").headers["vary"] == "Origin"


def test_refusals_are_logged_now_and_then(guarded: Service) -> None:
    """The log says what was refused and which setting allows it, in few lines for any number of requests."""
    line = "refused a request from 127.0.0.1: "
    before = guarded.text_of_log().count(line)
    for _ in range(100):
        send(guarded, "inference", "POST /wfpredict/seq", "Origin: https://other.example")
    wait_until(lambda: guarded.text_of_log().count(line) > before, what="the line")
    assert guarded.text_of_log().count(line) < before + 20


def test_body_of_a_refused_request_need_not_be_sent_over_a_unix_socket(tmp_path: Path) -> None:
    """Clients there have no address."""
    path = tmp_path / "web.sock"
    with (
        Service(tmp_path / "i", "-b", "127.0.0.1:0", "-b", f"unix:{path}", web_workers=1),
        socket.socket(socket.AF_UNIX) as connection,
    ):
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(b"POST /workflows HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nContent-Length: 9\r\n\r\n")
        assert read_answer(connection).status == 403


def test_answer_without_allowed_origins_has_no_headers_for_pages(service: Service) -> None:
    """By default no page may read anything."""
    for plane in PLANES:
        answer = send(service, plane, "GET /ping", f"Origin: {EVIL}")
        assert not {"vary", "access-control-allow-origin"} & set(answer.headers)
        posted = requests.post(f"{getattr(service, plane)}/metrics", headers={"Origin": "null"}, timeout=10)
        assert_error(posted, 403, "CrossOriginException", "A web page of 'null' must not send 'POST' requests")
