"""What the browser guard lets through."""

import socket
import threading
from typing import Any

import pytest

from wfmgmt.errors import CrossOriginRefused
from wfmgmt.http.browser_guard import BrowserGuard, HostNames

OWN = "Thishost"
PAGE = "https://app.example"
GUARD = BrowserGuard(
    allowed_hosts=["Models.example", "*.internal.example"], cors_origins=[PAGE], own_names=["thishost"]
)


def passes(method: str = "POST", path: str = "/workflows", guard: BrowserGuard = GUARD, **headers: Any) -> bool:
    """Return whether a request gets through; the names of headers have underscores here."""
    sent = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    try:
        guard.check(method, path, lambda name: sent.get(name.lower()))
    except CrossOriginRefused:
        return False
    return True


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8081",
        "10.1.2.3",
        "[::1]:8081",
        "[fd00::1]",
        "[::ffff:127.0.0.1]:1",
        "localhost",
        "LOCALHOST:8081",
        "localhost.:8081",
        "wf.localhost:8081",
        OWN,
        f"{OWN}:8081",
        "models.example:80",
        "MODELS.example.",
        "a.internal.example:8081",
        "a.b.internal.example",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_own_host_passes(host: str, method: str) -> None:
    """Addresses, localhost, the host's own name and those of the setting; the port does not matter."""
    assert passes(method, Host=host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "evil.example:8081",
        "localhost.evil.example",
        "notlocalhost",
        "127.0.0.1.evil.example",
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "127.0.0.1,evil.example",
        "evil.example,127.0.0.1",
        "127.0.0.1, 127.0.0.1",
        "user@127.0.0.1",
        "127.0.0.1/",
        "127.0.0.1:80:80",
        "127.0.0.1:http",
        "::1",
        "[::1",
        "[evil.example]",
        "internal.example",
        "evilinternal.example",
        "sub.models.example",
        "localhost..",
        "localhost\t",
        "\uff4cocalhost",
        "x" * 70_000,
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "DELETE"])
def test_other_host_is_refused(host: str, method: str) -> None:
    """A page that has pointed its own name here must not even read; several and malformed values are no own name."""
    assert not passes(method, Host=host)


def test_missing_host_passes() -> None:
    """Old clients send none, browsers always do."""
    assert passes()
    assert not passes(Origin="http://127.0.0.1:8081")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "none"},
        {"Sec_Fetch_Site": "same-origin", "Origin": "http://127.0.0.1:8081"},
        {"Origin": "http://127.0.0.1:8081"},
        {"Origin": "https://127.0.0.1:8081"},
        {"Origin": PAGE},
        {"Origin": PAGE, "Sec_Fetch_Site": "cross-site"},
        {"Origin": "https://evil.example", "Authorization": "Bearer wfm_1"},
        {"Sec_Fetch_Site": "cross-site", "Authorization": "bearer wfm_1"},
    ],
)
def test_own_and_allowed_pages_may_change_things(headers: dict[str, Any]) -> None:
    """So may what is no browser, and what carries a token that no browser adds by itself."""
    assert passes(Host="127.0.0.1:8081", **headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Origin": "http://127.0.0.1:3000"},
        {"Sec_Fetch_Site": "cross-site", "Origin": "http://127.0.0.1:8081"},
        {"Sec_Fetch_Site": "same-origin,cross-site"},
        {"Sec_Fetch_Site": ""},
        {"Sec_Fetch_Site": "Same-Origin"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://127.0.0.1:8080"},
        {"Origin": "https://evil.example"},
        {"Origin": f"{PAGE}.evil.example"},
        {"Origin": f"{PAGE}:8443"},
        {"Origin": f"{PAGE},https://evil.example"},
        {"Origin": "127.0.0.1:8081"},
        {"Origin": "https://evil.example", "Authorization": "Bearer wfm_1", "Cookie": "a=b"},
        {"Origin": "https://evil.example", "Authorization": "Bearer "},
        {"Origin": "https://evil.example", "Authorization": "Basic YTpi"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "get", "PROPFIND"])
def test_other_pages_may_change_nothing(headers: dict[str, Any], method: str) -> None:
    """Neither from another site nor from another port of this host, nor without an origin."""
    assert not passes(method, Host="127.0.0.1:8081", **headers)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_safe_methods_pass(method: str) -> None:
    """They change nothing, and a browser does not show the answer to the page."""
    headers: dict[str, Any] = {
        "Origin": "https://evil.example",
        "Sec_Fetch_Site": "cross-site",
        "X_HTTP_Method_Override": "DELETE",
    }
    assert passes(method, Host="127.0.0.1:8081", **headers)


@pytest.mark.parametrize("path", ["/ping", "/ping/"])
def test_health_check_passes(path: str) -> None:
    """Load balancers use names that the settings do not have."""
    assert passes("GET", path, Host="10-0-0-1.pods.example")
    assert passes("POST", path, Host="127.0.0.1", Origin="null")
    assert not passes("GET", f"{path}x", Host="10-0-0-1.pods.example")


def test_error_shows_little_of_what_was_sent() -> None:
    """It goes into the log and the answer."""
    with pytest.raises(CrossOriginRefused) as caught:
        GUARD.check("POST", "/workflows", {"Host": "a\n\x1b\x00é\u202e" + "x" * 10_000}.get)
    assert str(caught.value).isprintable()
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 400


def test_full_name_of_the_host_is_looked_up_once_and_never_waited_for_long() -> None:
    """A resolver that does not answer delays one request, and its answer counts when it comes."""
    asked, answer = [], threading.Event()

    def look_up() -> str:
        asked.append(1)
        answer.wait(30)
        return "Full.Name.example"

    names = HostNames(look_up)
    assert socket.gethostname().lower() in names
    assert not asked
    assert "full.name.example" not in names
    answer.set()
    for _ in range(1000):
        if "full.name.example" in names:
            break
        threading.Event().wait(0.01)
    assert "full.name.example" in names
    assert "other.example" not in names
    assert asked == [1]


def test_pages_of_allowed_origins_may_read_answers() -> None:
    """They, and nobody else, get the headers that a browser wants to see."""
    allowed = GUARD.answer_headers({"Origin": PAGE}.get)
    assert allowed["Access-Control-Allow-Origin"] == PAGE
    assert allowed["Vary"] == "Origin"
    for other in ({}, {"Origin": "null"}, {"Origin": "https://evil.example"}):
        assert GUARD.answer_headers(other.get) == {"Vary": "Origin"}
    assert BrowserGuard().answer_headers({"Origin": PAGE}.get) == {}


def test_preflight_is_that_of_an_allowed_page() -> None:
    """Others get the answer that OPTIONS gets anyway."""
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Private-Network": "true",
    }
    assert GUARD.is_preflight("OPTIONS", asked.get)
    answered = GUARD.answer_headers(asked.get, is_preflight=True)
    assert "DELETE" in answered["Access-Control-Allow-Methods"]
    assert answered["Access-Control-Allow-Private-Network"] == "true"
    assert not GUARD.is_preflight("GET", asked.get)
    assert not GUARD.is_preflight("OPTIONS", {"Origin": PAGE}.get)
    assert not GUARD.is_preflight("OPTIONS", {**asked, "Origin": "https://evil.example"}.get)
