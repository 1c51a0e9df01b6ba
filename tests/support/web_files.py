"""Web servers of this machine: one that gives out what a test puts into it, one for a folder."""

import contextlib
import functools
import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_PART_BYTES = 16 * 1024


class WebFiles:
    """What the server has, and what was asked of it.

    Attributes:
        files: Contents by path.
        redirects: Locations by path.
        credentials: What the Authorization header has to be, by path.
        asked: Paths that were asked for.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.credentials: dict[str, str] = {}
        self.asked: list[str] = []

    def url(self, path: str, *, host: str = "127.0.0.1", userinfo: str = "") -> str:
        """Return the address of a path."""
        return f"http://{userinfo}{host}:{self.port}{path}"

    def put(self, path: str, archive: Path) -> str:
        """Give out the content of a file, and return its address; the file itself is removed."""
        self.files[path] = archive.read_bytes()
        archive.unlink()
        return self.url(path)

    def answer(self, path: str, authorization: str | None) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body."""
        self.asked.append(path)
        if authorization != self.credentials.get(path):
            return 401, {}, b""
        if path in self.redirects:
            return 302, {"Location": self.redirects[path]}, b""
        if path in self.files:
            return 200, {}, self.files[path]
        return 404, {}, b"not here"


@contextmanager
def web_files() -> Iterator[WebFiles]:
    """Run the server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = files.answer(self.path, self.headers["Authorization"])
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name is http.server's
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        files = WebFiles(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield files
        finally:
            server.shutdown()
            thread.join()


class _QuietFiles(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and says nothing.

    Args:
        pause_s: What passes before each part of a file is sent.
    """

    def __init__(self, *arguments: Any, pause_s: float = 0.0, **more: Any) -> None:
        self._pause_s = pause_s
        super().__init__(*arguments, **more)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name is http.server's
        """Say nothing."""

    def handle(self) -> None:
        """Answer until the client has gone, at whatever moment."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send a file."""
        while part := source.read(_PART_BYTES):
            time.sleep(self._pause_s)  # Being slow is what it is for.
            outputfile.write(part)


@contextlib.contextmanager
def served(folder: Path, *, pause_s: float = 0.0) -> Iterator[str]:
    """Serve a folder over HTTP, slowly if wanted; give its address."""
    handler = functools.partial(_QuietFiles, directory=str(folder), pause_s=pause_s)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def served_archives(parent: Path, *, pause_s: float = 0.0) -> Iterator[tuple[Path, str]]:
    """Give a new folder for archives, and the address from which it is served."""
    folder = parent / "remote"
    folder.mkdir()
    with served(folder, pause_s=pause_s) as address:
        yield folder, address
