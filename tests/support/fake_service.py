"""A service that answers as a test tells it to, on a real socket, and remembers what it was sent."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the service was sent."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def line(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What it answers; a body that is not bytes is sent as JSON."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The bytes of the body."""
        return self.body if isinstance(self.body, bytes) else (json.dumps(self.body, indent=2) + "\n").encode()


#: Answers a request; None closes its connection without an answer.
Respond = Callable[[Request], Reply | None]


def error(status: int, type_: str, message: str, **headers: str) -> Reply:
    """Return an error as the service has it."""
    body = {"code": status, "type": type_, "message": message}
    return Reply(status=status, body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


class FakeService:
    """Both addresses of a service in one server.

    Attributes:
        url: Where it listens.
        requests: What it was sent.
    """

    def __init__(self, respond: Respond) -> None:
        self.requests: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(respond, self.requests))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def replies(*given: Reply | None) -> Respond:
    """Answer one request after the other."""
    waiting = iter(given)
    return lambda _: next(waiting)


def _handler(respond: Respond, requests: list[Request]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            target = urlsplit(self.path)
            request = Request(
                method=self.command,
                path=target.path,
                query=dict(parse_qsl(target.query, keep_blank_values=True)),
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.rfile.read(int(self.headers.get("Content-Length", 0))),
            )
            requests.append(request)
            reply = respond(request)
            if reply is None:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.content)))
            self.end_headers()
            self.wfile.write(reply.content)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the server calls them by these names

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    return Handler
