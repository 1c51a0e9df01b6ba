"""Servers that misbehave by a script, and fetchers that may talk to them."""

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

from wfmgmt.archives.fetching import Fetcher

BODY = b"archive" * 1000
LIMIT_BYTES = 100_000
ANY = [re.compile(r".*")]

Behaviour = Callable[[socket.socket, "ScriptedServer"], object]


class ScriptedServer:
    """A server that reads one request per connection and lets a function do the rest, in a thread for each.

    Attributes:
        port: What it listens on.
        requests: The requests that came.
        closing: Set when the test is over; behaviours that stall wait for it.
    """

    def __init__(self, behave: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[str] = []
        self.closing = threading.Event()
        self._behave = behave
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]

    def url(self, path: str = "/x.war", *, host: str = "127.0.0.1", scheme: str = "http") -> str:
        """Return an address of this server."""
        return f"{scheme}://{host}:{self.port}{path}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        with contextlib.suppress(OSError), connection:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                request = b""
                while not _is_whole(request):
                    received = connection.recv(4096)
                    if not received:
                        return
                    request += received
                self.requests.append(request.decode())
                self._behave(connection, self)


def _is_whole(request: bytes) -> bool:
    """Return whether head and body of a request are there."""
    head, end, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: ([0-9]+)", head)
    return end != b"" and len(body) >= int(length[1] if length else 0)


def answer(body: bytes = BODY, *headers: str, status: str = "200 OK", length: int | None = -1) -> Behaviour:
    """Make a behaviour that sends one answer; its Content-Length is right unless another, or None, is given."""
    lines = [f"HTTP/1.1 {status}", *headers]
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length == -1 else length}")
    message = "\r\n".join([*lines, "", ""]).encode() + body
    return lambda connection, _: connection.sendall(message)


def redirect(location: str, status: str = "302 Found") -> Behaviour:
    """Make a behaviour that redirects."""
    return answer(b"", f"Location: {location}", status=status)


def raw(message: bytes) -> Behaviour:
    """Make a behaviour that sends these bytes and closes."""
    return lambda connection, _: connection.sendall(message)


def stall(connection: socket.socket, server: ScriptedServer) -> None:
    """Never answer."""
    server.closing.wait(10)
    connection.close()


def drip(before: bytes, dripped: bytes) -> Behaviour:
    """Make a behaviour that sends the first part at once and the other again and again, slowly."""

    def behave(connection: socket.socket, server: ScriptedServer) -> None:
        connection.sendall(before)
        while not server.closing.wait(0.05):
            connection.sendall(dripped)

    return behave


def flood(before: bytes) -> Behaviour:
    """Make a behaviour that sends without end, as fast as it can."""

    def behave(connection: socket.socket, server: ScriptedServer) -> None:
        connection.sendall(before)
        while not server.closing.is_set():
            connection.sendall(bytes(65536))

    return behave


def reset(connection: socket.socket, _: ScriptedServer) -> None:
    """Reset the connection in the middle of the body."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def make_fetcher(**overrides: Any) -> Fetcher:
    """Make a fetcher that lets everything through and has time for nothing."""
    return Fetcher(**{"allowed_urls": ANY, "timeout_s": 5, "limit_bytes": LIMIT_BYTES, **overrides})


def resolving(*answers: list[str], calls: list[str] | None = None) -> Callable[..., list[Any]]:
    """Make a resolver that gives one list of IPv4 addresses after the other."""
    waiting = iter(answers)

    def resolve(host: str, port: int, **_: object) -> list[Any]:
        if calls is not None:
            calls.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port)) for address in next(waiting)]

    return resolve


def make_certificate(folder: Path, host: str) -> tuple[Path, ssl.SSLContext]:
    """Make a self-signed certificate for a host and a context that serves with it."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={host}"
    files = ["-addext", f"subjectAltName=DNS:{host}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context
