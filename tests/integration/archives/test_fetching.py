"""What a download may fetch, and what becomes of the file, over real sockets on the loopback."""

import contextlib
import errno
import hashlib
import os
import re
import resource
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted_server import (
    BODY,
    LIMIT_BYTES,
    Behaviour,
    ScriptedServer,
    answer,
    flood,
    make_fetcher,
    raw,
    redirect,
    reset,
    resolving,
)
from wfmgmt.archives.urls import parse_url
from wfmgmt.errors import DownloadFailed, InsufficientStorage, UrlNotAllowed


@pytest.mark.parametrize(
    "behave",
    [
        answer(),
        answer(BODY, length=None),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1b58\r\n" + BODY + b"\r\n0\r\nX: y\r\n\r\n"),
        raw(b"HTTP/1.0 200 OK\r\nContent-Encoding: identity\r\n\r\n" + BODY),
        answer(BODY + b"more than declared", length=len(BODY)),
    ],
    ids=["with length", "until the end", "chunked", "HTTP/1.0", "more than declared"],
)
def test_fetch_stores_the_body_and_returns_its_digest(behave: Behaviour, into: Path) -> None:
    """The file has the body as HTTP delimits it, and the digest is of that."""
    with ScriptedServer(behave) as server:
        digest = make_fetcher().fetch(parse_url(server.url()), into)
    assert into.read_bytes() == BODY
    assert digest == hashlib.sha256(BODY).hexdigest()


def test_fetch_asks_for_the_plain_body_with_the_path_as_given(into: Path) -> None:
    """The request names path, query and host of the URL and accepts no encoding."""
    with ScriptedServer(answer()) as server:
        make_fetcher().fetch(parse_url(server.url("/a%20b/x.war?v=1&w=%41#part")), into)
        (head,) = server.requests
    assert head.startswith("GET /a%20b/x.war?v=1&w=")
    assert f"Host: 127.0.0.1:{server.port}\r\n" in head
    assert "Accept-Encoding: identity\r\n" in head


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (answer(b"no", status="404 Not Found"), "status 404"),
        (answer(b"", status="204 No Content", length=None), "status 204"),
        (answer(BODY, status="206 Partial Content"), "status 206"),
        (answer(b"", status="302 Found"), "without a Location"),
        (answer(b""), "empty"),
        (answer(b"", length=None), "empty"),
        (answer(b"x", "Content-Encoding: gzip"), "Content-Encoding"),
        (answer(b"x", "Content-Encoding: nonsense"), "Content-Encoding"),
        (answer(b"x", "Transfer-Encoding: gzip, chunked", length=None), "Transfer-Encoding"),
        (answer(b"x", length=LIMIT_BYTES + 1), "larger than 100000 bytes"),
        (answer(b"x", length=10**30), "Content-Length"),
        (answer(b"x", length=-5), "Content-Length"),
        (answer(b"x", "Content-Length: 2"), "Content-Length|not valid HTTP"),
        (answer(b"short", length=100), "ended before it was complete"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nshort"), "ended before it was complete"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx"), "ended before it was complete"),
        (flood(b"HTTP/1.1 200 OK\r\n\r\n"), "larger than 100000 bytes"),
        (flood(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffff\r\n"), "larger than"),
        (flood(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"), "larger than"),
        (reset, "lost"),
        (raw(b""), "lost"),
        (raw(b"\x16\x03\x01\x00 this is not HTTP\r\n\r\n"), "not valid HTTP"),
        (flood(b"HTTP/1.1 200 OK\r\nX: "), "not valid HTTP"),
        (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"), "not valid HTTP"),
        (redirect("http://127.0.0.1:99999/"), "redirects to an address that is not valid"),
        (redirect("http://127.0.0.1/\x01"), "redirects to an address that is not valid"),
        (redirect("/%2e%2e/x.war"), "redirects to an address that is not valid"),
        (redirect("/x.war"), "redirects more than 5 times"),
        (flood(b"HTTP/1.1 302 Found\r\nLocation: /x.war\r\nContent-Length: 1000000000\r\n\r\n"), "more than 5 times"),
    ],
    ids=[
        "404",
        "204",
        "206",
        "redirect to nowhere",
        "empty",
        "empty without length",
        "gzip",
        "unknown encoding",
        "unknown transfer encoding",
        "declared too large",
        "absurd length",
        "negative length",
        "two lengths",
        "shorter than declared",
        "chunk shorter than declared",
        "chunk size is malformed",
        "endless body",
        "endless chunk",
        "chunk of size -1",
        "reset",
        "closed at once",
        "not HTTP",
        "endless header",
        "too many headers",
        "redirect to a bad port",
        "redirect with a control character",
        "redirect upwards",
        "redirect loop",
        "redirect loop with huge bodies",
    ],
)
def test_fetch_fails_with_a_reason_and_leaves_no_file(behave: Behaviour, reason: str, into: Path) -> None:
    """A bad answer is a failed download that names the URL and the reason, nothing internal, and leaves nothing."""
    with ScriptedServer(behave) as server:
        url = server.url("/x.war", host="somebody:secret@127.0.0.1")
        with pytest.raises(DownloadFailed, match=reason) as caught:
            make_fetcher().fetch(parse_url(url), into)
    text = str(caught.value)
    assert text.startswith(f"Failed to download archive from: http://127.0.0.1:{server.port}/x.war: ")
    assert not re.search("secret|somebody|object at|0x|Traceback|urllib3", text)
    assert str(into.parent) not in text
    assert not into.exists()


def test_fetch_fails_when_nothing_listens(into: Path) -> None:
    """A refused connection says so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DownloadFailed, match="refused"):
        make_fetcher().fetch(parse_url(f"http://127.0.0.1:{port}/x.war"), into)


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("label too long")])
def test_fetch_fails_when_the_host_is_not_known(error: Exception, into: Path) -> None:
    """A name without addresses says so."""

    def resolve(*_: object, **__: object) -> list[Any]:
        raise error

    with pytest.raises(DownloadFailed, match="host is not known"):
        make_fetcher(resolve=resolve).fetch(parse_url("http://models.example/x.war"), into)


def test_fetch_tries_the_next_address(into: Path) -> None:
    """A host with several addresses is reached by the first that answers."""
    with ScriptedServer(answer()) as server:
        fetcher = make_fetcher(resolve=resolving(["127.0.0.2", "127.0.0.1"]))
        fetcher.fetch(parse_url(server.url(host="models.example")), into)
        assert f"Host: models.example:{server.port}" in server.requests[0]


def test_fetch_never_overwrites(into: Path) -> None:
    """A file that exists at the path is neither written nor removed."""
    into.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        make_fetcher().fetch(parse_url("http://127.0.0.1:1/x.war"), into)
    assert into.read_bytes() == b"old"


LOOPBACKS = [
    "http://127.0.0.1/x.war",
    "http://127.0.0.1./x.war",
    "http://127.1/x.war",
    "http://0x7f.1/x.war",
    "http://0x7f000001/x.war",
    "http://2130706433/x.war",
    "http://017700000001/x.war",
    "http://0177.0.0.1/x.war",
    "http://0/x.war",
    "http://[::1]/x.war",
    "http://[::ffff:127.0.0.1]/x.war",
    "http://[::127.0.0.1]/x.war",
    "http://[64:ff9b::7f00:1]/x.war",
    "http://public.example@127.0.0.1/x.war",
    "HTTP://user:pass@169.254.169.254/x.war",
]


@pytest.mark.parametrize("text", LOOPBACKS)
def test_check_refuses_literal_addresses_that_are_not_public(text: str) -> None:
    """Literal addresses are judged without the network, however they are spelled."""
    with pytest.raises(UrlNotAllowed, match="WFMGMT_ALLOWED_URLS") as caught:
        make_fetcher(allowed_urls=[]).check(parse_url(text))
    assert "@" not in str(caught.value)


@pytest.mark.parametrize("text", ["http://models.example/x.war", "https://8.8.8.8/x.war"])
def test_check_lets_names_and_public_addresses_through(text: str) -> None:
    """What only the network can tell is left to the download."""
    make_fetcher(allowed_urls=[], resolve=resolving()).check(parse_url(text))


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("http://models.example/x.war", True),
        ("http://user:pass@models.example/x.war", True),
        ("http://models.example/x.war#part", True),
        ("http://models.example/x.war?more", False),
        ("http://models.example.evil.example/x.war", False),
        ("http://models.example@evil.example/x.war", False),
        ("http://evil.example/http://models.example/x.war", False),
        ("https://models.example/x.war", False),
    ],
)
def test_check_matches_the_whole_url_without_credentials(text: str, *, allowed: bool) -> None:
    """A pattern has to match all of the URL; what stands before an at sign cannot help."""
    fetcher = make_fetcher(allowed_urls=[re.compile(r"http://models\.example/[a-z]+\.war")])
    with contextlib.nullcontext() if allowed else pytest.raises(UrlNotAllowed, match="WFMGMT_ALLOWED_URLS"):
        fetcher.check(parse_url(text))


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"]])
def test_fetch_refuses_names_of_addresses_that_are_not_public(addresses: list[str], into: Path) -> None:
    """One address that is not public is enough, and nothing is connected to."""
    with ScriptedServer(answer()) as server:
        fetcher = make_fetcher(allowed_urls=[], resolve=resolving(addresses))
        with pytest.raises(UrlNotAllowed, match="WFMGMT_ALLOWED_URLS"):
            fetcher.fetch(parse_url(server.url(host="models.example")), into)
        assert server.requests == []
    assert not into.exists()


@pytest.fixture
def loopback_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 127.0.0.1, and nothing else, play a public address, as tests must not talk to real ones."""
    monkeypatch.setattr("wfmgmt.archives.fetching.is_public", lambda address: address == "127.0.0.1")


@pytest.mark.usefixtures("loopback_is_public")
def test_fetch_resolves_once_and_connects_to_what_was_checked(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that changes its address after the check gains nothing: nobody asks again."""
    calls: list[str] = []
    resolve = resolving(["127.0.0.1"], ["127.0.0.2"], calls=calls)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with ScriptedServer(answer()) as server:
        make_fetcher(allowed_urls=[], resolve=resolve).fetch(parse_url(server.url(host="models.example")), into)
        assert len(server.requests) == 1
    assert calls == ["models.example"]


@pytest.mark.usefixtures("loopback_is_public")
@pytest.mark.parametrize("host", ["127.0.0.2", "2130706434", "[::1]", "user@[::ffff:127.0.0.1]", "models.example"])
def test_fetch_refuses_redirects_to_addresses_that_are_not_public(host: str, into: Path) -> None:
    """A redirect is checked like a URL, also when a name means something else the second time."""
    with ScriptedServer(answer()) as inner, ScriptedServer(redirect(inner.url(host=host))) as outer:
        fetcher = make_fetcher(allowed_urls=[], resolve=resolving(["127.0.0.1"], ["127.0.0.2"]))
        with pytest.raises(UrlNotAllowed):
            fetcher.fetch(parse_url(outer.url(host="models.example")), into)
        assert (len(outer.requests), len(inner.requests)) == (1, 0)
    assert not into.exists()


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x.war", "http://127.0.0.1/other"])
def test_fetch_refuses_redirects_that_no_pattern_matches(location: str, into: Path) -> None:
    """A redirect does not lead out of what the patterns let through."""
    with ScriptedServer(redirect(location)) as server:
        fetcher = make_fetcher(allowed_urls=[re.compile(r"http://127\.0\.0\.1:\d+/x\.war")])
        with pytest.raises(UrlNotAllowed):
            fetcher.fetch(parse_url(server.url()), into)
    assert not into.exists()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_fetch_follows_redirects(status: str, into: Path) -> None:
    """Every kind of redirect leads to the archive."""
    with ScriptedServer(answer()) as inner, ScriptedServer(redirect(inner.url(), status)) as outer:
        make_fetcher().fetch(parse_url(outer.url()), into)
    assert into.read_bytes() == BODY


def test_fetch_sends_credentials_to_their_own_origin_only(into: Path) -> None:
    """Credentials follow a redirect on the same scheme, host and port, and no other."""

    def behave(connection: socket.socket, server: ScriptedServer) -> None:
        location = "/second" if len(server.requests) == 1 else inner.url()
        redirect(location)(connection, server)

    with ScriptedServer(answer()) as inner, ScriptedServer(behave) as outer:
        make_fetcher().fetch(parse_url(outer.url(host="user:p%40ss@127.0.0.1")), into)
        assert all("Authorization: Basic dXNlcjpwQHNz\r\n" in head for head in outer.requests)
        assert len(outer.requests) == 2
        assert "authorization" not in inner.requests[0].lower()


def test_fetch_keeps_cookies_and_the_environment_out(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither cookies of an earlier hop nor proxies of the environment are used."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")

    def behave(connection: socket.socket, server: ScriptedServer) -> None:
        first = len(server.requests) == 1
        reply = answer(b"", "Location: /second", "Set-Cookie: a=b", status="302 Found") if first else answer()
        reply(connection, server)

    with ScriptedServer(behave) as server:
        make_fetcher().fetch(parse_url(server.url()), into)
        assert "cookie" not in server.requests[1].lower()


def test_fetch_reports_a_full_disk_when_writing(into: Path) -> None:
    """A quota that ends a write is insufficient storage, and the file is gone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ScriptedServer(answer(bytes(90_000))) as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        try:
            with pytest.raises(InsufficientStorage):
                make_fetcher().fetch(parse_url(server.url()), into)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not into.exists()


@pytest.mark.parametrize("call", ["fsync", "open"])
def test_fetch_reports_a_full_disk_around_writing(call: str, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that turns out to be full when the file is made or made durable is insufficient storage too."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with ScriptedServer(answer()) as server:
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(InsufficientStorage):
                make_fetcher().fetch(parse_url(server.url()), into)
        assert not into.exists()
        make_fetcher().fetch(parse_url(server.url()), into)
