"""One deadline, TLS to checked addresses, threads and memory of downloads."""

import contextlib
import hashlib
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.scripted_server import (
    BODY,
    Behaviour,
    ScriptedServer,
    answer,
    drip,
    make_certificate,
    make_fetcher,
    redirect,
    resolving,
    stall,
)
from wfmgmt.archives.urls import parse_url
from wfmgmt.errors import DownloadFailed

#: Less than the servers here, which stall for ten seconds, would take.
SOON_S = 9.0


@pytest.mark.parametrize(
    "behave",
    [
        stall,
        drip(b"HTTP/1.1 200 OK\r\n", b"X"),
        drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x"),
        drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"X: y\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx", b""),
    ],
    ids=[
        "silence before the answer",
        "dripping status line",
        "dripping headers",
        "dripping interim answers",
        "dripping body",
        "dripping body without length",
        "dripping chunks",
        "dripping trailers",
        "silence in the body",
    ],
)
def test_fetch_ends_at_its_deadline(behave: Behaviour, into: Path) -> None:
    """One deadline holds for the whole download, however the bytes trickle in."""
    with ScriptedServer(behave) as server:
        started = time.monotonic()
        with pytest.raises(DownloadFailed, match=r"not complete after 0\.3 s"):
            make_fetcher(timeout_s=0.3).fetch(parse_url(server.url()), into)
        assert 0.25 < time.monotonic() - started < SOON_S
    assert not into.exists()


def test_fetch_ends_at_its_deadline_when_redirects_share_it(into: Path) -> None:
    """Redirects do not start the clock anew."""

    def behave(connection: socket.socket, server: ScriptedServer) -> None:
        server.closing.wait(0.2)
        redirect("/x.war")(connection, server)

    with ScriptedServer(behave) as server:
        started = time.monotonic()
        with pytest.raises(DownloadFailed, match=r"not complete after 0\.5 s"):
            make_fetcher(timeout_s=0.5, max_redirects=1000).fetch(parse_url(server.url()), into)
        assert time.monotonic() - started < SOON_S


def test_fetch_ends_at_its_deadline_when_the_tls_handshake_stalls(into: Path) -> None:
    """A server that accepts and never shakes hands is cut off too."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/x.war"
        with pytest.raises(DownloadFailed, match="not complete after"):
            make_fetcher(timeout_s=0.3).fetch(parse_url(url), into)
        assert time.monotonic() - started < SOON_S


def test_fetch_ends_at_its_deadline_when_names_are_not_resolved(into: Path) -> None:
    """A resolver that hangs does not keep the download."""
    done = threading.Event()
    try:
        started = time.monotonic()
        with pytest.raises(DownloadFailed, match="not complete after"):
            make_fetcher(timeout_s=0.3, resolve=lambda *_, **__: [done.wait(10)]).fetch(
                parse_url("http://models.example/x.war"), into
            )
        assert time.monotonic() - started < SOON_S
    finally:
        done.set()


def test_fetch_ends_soon_when_cancelled(into: Path) -> None:
    """A caller who has lost interest gets a stalled download ended."""
    with ScriptedServer(stall) as server:
        started = time.monotonic()
        with pytest.raises(DownloadFailed, match="cancelled"):
            make_fetcher(timeout_s=9).fetch(parse_url(server.url()), into, lambda: bool(server.requests))
        assert time.monotonic() - started < SOON_S
    assert not into.exists()


def test_fetch_ends_when_cancelled_just_before_it_connects(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to end the connection comes too early for that."""
    cancelled, connect = threading.Event(), socket.socket.connect

    def cancel_and_connect(connection: socket.socket, address: tuple[str, int]) -> None:
        cancelled.set()
        for thread in threading.enumerate():
            if thread.name == "download-deadline":
                thread.join()
        connect(connection, address)

    monkeypatch.setattr(socket.socket, "connect", cancel_and_connect)
    with ScriptedServer(stall) as server:
        with pytest.raises(DownloadFailed, match="cancelled"):
            make_fetcher(timeout_s=5).fetch(parse_url(server.url()), into, cancelled.is_set)
        assert not server.requests


def test_fetch_refuses_certificates_that_no_authority_signed(into: Path, tmp_path: Path) -> None:
    """A self-signed certificate is not trusted."""
    _, context = make_certificate(tmp_path, "models.example")
    with ScriptedServer(answer(), context) as server:
        fetcher = make_fetcher(resolve=resolving(["127.0.0.1"]))
        with pytest.raises(DownloadFailed, match="certificate is not trusted"):
            fetcher.fetch(parse_url(server.url(host="models.example", scheme="https")), into)
        assert server.requests == []


@pytest.mark.parametrize("host", ["models.example", "models.example.", "other.example"])
def test_fetch_verifies_the_certificate_by_host_name(
    host: str, into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate has to be for the name in the URL, though the socket goes to a checked address."""
    certificate, context = make_certificate(tmp_path, "models.example")
    monkeypatch.setattr("certifi.where", lambda: str(certificate))
    indicated: list[str | None] = []
    context.sni_callback = lambda _, name, __: indicated.append(name)
    with ScriptedServer(answer(), context) as server:
        fetcher = make_fetcher(resolve=resolving(["127.0.0.1"]))
        right = host.startswith("models")
        with contextlib.nullcontext() if right else pytest.raises(DownloadFailed, match="certificate is not trusted"):
            fetcher.fetch(parse_url(server.url(host=host, scheme="https")), into)
    assert indicated == [host.removesuffix(".")]
    assert into.exists() is right


@pytest.mark.parametrize("dripped", [b"x", b""], ids=["drips", "silence"])
def test_fetch_ends_at_its_deadline_over_tls(
    dripped: bytes, into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline holds inside TLS too."""
    certificate, context = make_certificate(tmp_path, "models.example")
    monkeypatch.setattr("certifi.where", lambda: str(certificate))
    with ScriptedServer(drip(b"HTTP/1.1 200 OK\r\n\r\n", dripped), context) as server:
        fetcher = make_fetcher(timeout_s=0.4, resolve=resolving(["127.0.0.1"]))
        started = time.monotonic()
        with pytest.raises(DownloadFailed, match="not complete after"):
            fetcher.fetch(parse_url(server.url(host="models.example", scheme="https")), into)
        assert time.monotonic() - started < SOON_S


def test_fetch_serves_many_threads_and_leaves_none_behind(tmp_path: Path) -> None:
    """One fetcher does many downloads at once, and its threads end with them."""
    with ScriptedServer(answer()) as server, ThreadPoolExecutor(16) as pool:
        fetcher, url = make_fetcher(), parse_url(server.url())
        digests = list(pool.map(lambda number: fetcher.fetch(url, tmp_path / str(number)), range(32)))
        assert not [thread.name for thread in threading.enumerate() if thread.name == "download-deadline"]
    assert set(digests) == {hashlib.sha256(BODY).hexdigest()}


MEMORY_SCRIPT = """
import re, resource, socket, sys, threading
from pathlib import Path
from wfmgmt.archives.fetching import Fetcher
from wfmgmt.archives.urls import parse_url

SIZE_MB = 300

def serve(listener):
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % (SIZE_MB * 2**20))
        block = bytes(2**20)
        for _ in range(SIZE_MB):
            connection.sendall(block)

with socket.create_server(("127.0.0.1", 0)) as listener:
    server = threading.Thread(target=serve, args=(listener,))
    server.start()
    fetcher = Fetcher(allowed_urls=[re.compile(".*")], timeout_s=60, limit_bytes=SIZE_MB * 2**20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fetcher.fetch(parse_url(f"http://127.0.0.1:{listener.getsockname()[1]}/x.war"), Path(sys.argv[1]))
    server.join()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_fetch_keeps_memory_flat(into: Path) -> None:
    """A download of 300 MB makes the process grow by less than 64 MB."""
    command = [sys.executable, "-c", MEMORY_SCRIPT, str(into)]
    grown_kb = int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)
    assert into.stat().st_size == 300 * 2**20
    assert grown_kb < 64 * 1024
    into.unlink()
