"""Asking a TorchServe on a real socket, which may be none, hang, lie or want a key."""

import contextlib
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.listed_workflows import FIGURES, KEY_REFUSED, json_answer, listing
from tests.support.scripted_server import (
    Behaviour,
    ScriptedServer,
    answer,
    drip,
    flood,
    make_certificate,
    raw,
    redirect,
    reset,
    stall,
)
from wfmgmt.errors import BadRequest
from wfmgmt.torchserve import connection
from wfmgmt.torchserve.failures import ServerFailed
from wfmgmt.torchserve.listing import TorchServeListing
from wfmgmt.torchserve.responses import Listed

OK = b"HTTP/1.1 200 OK\r\n"
#: What a server does, and what is said of it.
FAILURES: dict[str, tuple[Behaviour, str]] = {
    "a web page": (answer(b"<html></html>"), "status 200 and no JSON; is it the management address of a TorchServe"),
    "half of it": (answer(b'{"workflows": ['), "no JSON"),
    "not UTF-8": (answer(b'{"workflows": "\xff"}'), "no JSON"),
    "deeply nested": (answer(b"[" * 100_000), "no JSON"),
    "a number without end": (answer(b'{"workflows": ' + b"9" * 5000 + b"}"), "no JSON"),
    "another API": (json_answer({"models": []}), "unexpected JSON; is it the management address of a TorchServe"),
    "not HTTP": (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "answered what is not valid HTTP|broke off its answer"),
    "no answer": (raw(b""), "broke off its answer"),
    "a reset": (reset, "broke off its answer"),
    "half an answer": (answer(b"{", length=1000), "broke off its answer"),
    "a redirect": (redirect("http://127.0.0.1:1/workflows"), r"redirects \(status 302\), which is not followed"),
    "no key": (json_answer(KEY_REFUSED, "400 Bad Request"), r"wants a key; name its key_file\.json"),
    "404 in JSON": (json_answer({"code": 404, "message": "gone"}, "404 Not Found"), "answered 404 error: gone"),
    "another address of TorchServe": (
        json_answer({"type": "ResourceNotFoundException", "message": "Requested resource"}, "404 Not Found"),
        "404 ResourceNotFoundException: Requested resource; is it the management address of a TorchServe",
    ),
    "what a terminal obeys": (json_answer({"type": "E", "message": "a\x1b[31m\nb"}, "404 Not Found"), r"E: a \[31m b$"),
    "500 as text": (answer(b"oops", status="500 Internal Server Error"), "status 500 and no JSON"),
    "500 as a list": (json_answer([], "500 Internal Server Error"), "answered with status 500$"),
    "no content": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), "status 204 and no JSON"),
    "a flood": (flood(OK + b"\r\n"), "answered more than 16777216 bytes"),
    "a compressed answer": (answer(b"\x1f\x8b\x08", "Content-Encoding: gzip"), "no JSON"),
}
STALLS: dict[str, Behaviour] = {
    "silence": stall,
    "a dripping head": drip(OK, b"X: y\r\n"),
    "a dripping body": drip(OK + b"\r\n", b" "),
    "dripping chunks": drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
}


@contextlib.contextmanager
def asked(behave: Behaviour, path: str = "", **settings: object) -> Iterator[tuple[TorchServeListing, ScriptedServer]]:
    """Run a server that behaves so, and give a listing that asks it."""
    with ScriptedServer(behave) as server:
        yield TorchServeListing(server.url(path), **{"timeout_s": 5, **settings}), server  # type: ignore[arg-type]


def write_keys(folder: Path, key: str = "abcd1234") -> Path:
    """Write a key file as TorchServe does."""
    path = folder / "key_file.json"
    expiration = "2026-11-26T10:54:34.873929122Z"
    path.write_text(json.dumps({"management": {"key": key, "expiration time": expiration}, "API": {"key": "x"}}))
    return path


def endless(tokens: Iterator[str]) -> Behaviour:
    """Make a behaviour whose pages always name another one."""

    def behave(connection: socket.socket, server: ScriptedServer) -> None:
        line = {"workflowName": f"w{len(server.requests)}", "workflowUrl": "w.war"}
        json_answer({"nextPageToken": next(tokens), "workflows": [line]})(connection, server)

    return behave


def test_workflows_of_all_pages_are_listed() -> None:
    """Each page is asked for where the one before said."""
    urls = {f"w{number}": f"{number}.war" for number in range(7)}
    with asked(listing(urls, page_size=3)) as (source, server):
        assert source.workflows() == [Listed(name, url) for name, url in urls.items()]
    assert len(server.requests) == 3


def test_empty_list_is_no_failure() -> None:
    """A TorchServe without workflows has none."""
    with asked(listing({})) as (source, _):
        assert source.workflows() == []


def test_name_that_comes_twice_is_listed_once() -> None:
    """Something was registered while the pages were walked."""
    tokens = iter(["1", "2", None])
    line = {"workflowName": "a", "workflowUrl": "a.war"}

    def behave(connection: socket.socket, server: ScriptedServer) -> None:
        json_answer({"workflows": [line], "nextPageToken": next(tokens)})(connection, server)

    with asked(behave) as (source, _):
        assert source.workflows() == [Listed("a", "a.war")]


def test_figures_are_those_of_the_workflow() -> None:
    """The name reaches the server as it is, also one that would be a bad path."""
    with asked(listing({"a..b": "x.war"}, figures={"a..b": {"maxWorkers": 4}})) as (source, _):
        assert source.figures("a..b") == {**FIGURES, "maxWorkers": 4}


def test_figures_of_a_workflow_that_is_gone_are_a_failure() -> None:
    """Somebody unregistered it after it was listed."""
    with (
        asked(listing({})) as (source, _),
        pytest.raises(ServerFailed, match="404 WorkflowNotFoundException: Workflow not found: gone"),
    ):
        source.figures("gone")


def test_path_of_the_url_goes_before_the_others() -> None:
    """A proxy may have it under a path; slashes at its end do not count."""
    with asked(json_answer({"workflows": []}), "/ts//") as (source, server):
        assert source.workflows() == []
    assert server.requests[0].startswith("GET /ts/workflows?limit=100&next_page_token=0 ")


@pytest.mark.parametrize(("behave", "reason"), FAILURES.values(), ids=FAILURES)
def test_failure_says_why(behave: Behaviour, reason: str) -> None:
    """In one sentence, with the address and without a foreign error."""
    with asked(behave) as (source, _), pytest.raises(ServerFailed, match=reason) as failure:
        source.workflows()
    assert str(failure.value).startswith("TorchServe at http://127.0.0.1:")


@pytest.mark.parametrize("behave", STALLS.values(), ids=STALLS)
@pytest.mark.parametrize("ask", [TorchServeListing.workflows, lambda source: source.figures("a")], ids=["list", "one"])
def test_time_for_a_question_is_bounded(behave: Behaviour, ask: Callable[[TorchServeListing], object]) -> None:
    """Bytes that keep coming do not lengthen it."""
    with asked(behave, timeout_s=0.3) as (source, _):
        begun = time.monotonic()
        with pytest.raises(ServerFailed, match=r"did not answer within 0\.3 s"):
            ask(source)
        assert time.monotonic() - begun < 9  # The server would stall for ten.


def test_time_for_all_pages_is_bounded_together() -> None:
    """Pages that each come quickly, and never end, end with the time for the list."""
    with (
        asked(endless(str(each) for each in itertools.count(1)), timeout_s=0.3) as (source, _),
        pytest.raises(ServerFailed, match=r"did not answer within 0\.3 s"),
    ):
        source.workflows()


def test_number_of_pages_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is what they may hold together."""
    monkeypatch.setattr(connection, "MAX_PAGES", 3)
    with (
        asked(endless(str(each) for each in itertools.count(1))) as (source, server),
        pytest.raises(ServerFailed, match="without an end"),
    ):
        source.workflows()
    assert len(server.requests) == 3


@pytest.mark.parametrize("token", ["0", "1"])
def test_offset_that_does_not_grow_ends_the_list(token: str) -> None:
    """TorchServe itself answers such tokens, for limits that are none."""
    with asked(endless(itertools.repeat(token))) as (source, _), pytest.raises(ServerFailed, match="without an end"):
        source.workflows()


def test_server_that_cannot_be_reached_is_a_failure() -> None:
    """Whether it does not listen or there is no such host."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}", "http://nowhere.invalid"):
        with pytest.raises(ServerFailed, match=f"{url} cannot be reached: "):
            TorchServeListing(url).workflows()


def test_proxy_gets_the_authorization_that_it_wants() -> None:
    """It is not shown in errors."""
    with asked(answer(b"oops"), authorization="Basic c2VjcmV0") as (source, server):
        with pytest.raises(ServerFailed) as failure:
            source.workflows()
        assert "\r\nAuthorization: Basic c2VjcmV0\r\n" in server.requests[0]
        assert "c2VjcmV0" not in str(failure.value)


def test_key_is_sent_as_torchserve_wants_it(tmp_path: Path) -> None:
    """For the list and for descriptions; one that was renewed meanwhile is read again."""
    keys = write_keys(tmp_path, "first")
    with asked(listing({"a": "a.war"}, key="first"), key_file=keys) as (source, _):
        assert source.workflows() == [Listed("a", "a.war")]
        assert source.figures("a") == FIGURES
    with asked(listing({}, key="second"), key_file=keys) as (source, _):
        write_keys(tmp_path, "second")
        assert source.workflows() == []


def test_key_that_is_refused_is_not_shown(tmp_path: Path) -> None:
    """Only that it is refused."""
    keys = write_keys(tmp_path, "oldkey99")
    with asked(listing({}, key="other"), key_file=keys) as (source, _):
        with pytest.raises(ServerFailed, match="does not accept our key") as failure:
            source.workflows()
        assert "oldkey99" not in str(failure.value)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"[]", b'{"management": {}}', b'{"management": "k"}', b'{"management": {"key": "a\\r\\nb"}}', b"\xff"],
    ids=["missing", "empty", "no object", "no key", "text", "two lines", "not UTF-8"],
)
def test_key_file_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """Before anything is asked."""
    path = tmp_path / "key_file.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadRequest, match="The key file"):
        TorchServeListing("http://127.0.0.1:8081", key_file=path)


def test_certificates_that_are_none_are_refused(tmp_path: Path) -> None:
    """Whether the file is missing or has something else in it."""
    for path in (tmp_path / "missing.pem", write_keys(tmp_path)):
        with pytest.raises(BadRequest, match="The certificates in"):
            TorchServeListing("https://127.0.0.1:8081", ca_bundle=path)


def test_https_is_trusted_by_the_given_certificates_only(tmp_path: Path) -> None:
    """A TorchServe with a certificate of its own is asked when that is named, and not otherwise."""
    certificate, context = make_certificate(tmp_path, "localhost")
    with ScriptedServer(listing({"a": "a.war"}), context) as server:
        url = server.url("", host="localhost", scheme="https")
        assert TorchServeListing(url, ca_bundle=certificate).workflows() == [Listed("a", "a.war")]
        with pytest.raises(ServerFailed, match="cannot be reached: self-signed certificate"):
            TorchServeListing(url).workflows()
