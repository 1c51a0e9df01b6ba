"""Senseless requests of every kind."""

import contextlib
import json
import random
import socket
import string
import time
from collections import Counter
from http.client import HTTPException, HTTPResponse
from urllib.parse import quote, urlsplit

from tests.support.factories import make_mar, make_war
from tests.support.service import Service


class Fuzzer:
    """Sends senseless requests and looks at the answers.

    Args:
        service: The service; nothing gets registered but what is removed again.
        seed: Of all that is random.

    Attributes:
        statuses: How often each status was answered; 0 where the connection was closed instead.
        slowest_s: The longest time to an answer.
    """

    def __init__(self, service: Service, seed: int) -> None:
        self.statuses: Counter[int] = Counter()
        self.slowest_s = 0.0
        self._service = service
        self._random = random.Random(seed)
        host, port = urlsplit(service.management).netloc.split(":")
        self._address = (host, int(port))
        self._archives = [make_war(service.workflow_store, name=f"fuzz{n}").read_bytes() for n in range(2)]
        self._archives.append(make_mar(service.model_store, name="fuzz").read_bytes())

    def run(self, seconds: float) -> None:
        """Send requests of every kind for so long.

        Raises:
            AssertionError: An answer is a 5xx, or not of the shape that errors have.
        """
        until = time.monotonic() + seconds
        kinds = [self._by_name, self._by_url, self._by_query, self._by_headers, self._by_body, self._by_archive]
        while time.monotonic() < until:
            self._random.choice(kinds)()

    def _text(self) -> str:
        alphabets = (string.printable, "../\\%\0", "aé☃\U0001f600\u202e\ud800", "0123456789-+.e", string.ascii_letters)
        alphabet = self._random.choice(alphabets)
        return "".join(self._random.choices(alphabet, k=self._random.choice([0, 1, 5, 40, 200, 3000])))

    def _quoted(self) -> str:
        return quote(self._text().encode("utf-8", "surrogatepass"))

    def _by_name(self) -> None:
        method = self._random.choice(["GET", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW"])
        self._send(f"{method} /workflows/{self._quoted()} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), method)

    def _by_url(self) -> None:
        scheme = self._random.choice(["", "http://", "https://", "file://", "ftp://", "http://[", "s3://", "//"])
        query = f"url={quote(scheme)}{self._quoted()}&workflow_name={self._quoted()}"
        self._send(f"POST /workflows?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def _by_query(self) -> None:
        key = self._random.choice(["limit", "next_page_token", "after", self._quoted()])
        query = f"{key}={self._quoted()}&limit={self._quoted()}"
        self._send(f"GET /workflows?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def _by_headers(self) -> None:
        names = ["Host", "Content-Type", "Content-Length", "Transfer-Encoding", "Expect", "Connection", "SCRIPT_NAME"]
        names += ["PATH_INFO", "X-Forwarded-Proto", "X-Request-Id", "Cookie", "Upgrade", "Range", self._text()[:20]]
        chosen = self._random.choices(names, k=self._random.randrange(5))
        lines = "".join(f"{name}: {self._text()[:500]}\r\n" for name in chosen)
        self._send(f"GET /ping HTTP/1.1\r\n{lines}\r\n".encode("utf-8", "surrogatepass"))

    def _by_body(self) -> None:
        kinds = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/x"]
        text = self._text().encode("utf-8", "surrogatepass")
        bodies = [
            text,
            self._random.randbytes(self._random.choice([0, 1, 100, 70_000, 300_000])),
            json.dumps(
                {"url": self._text(), self._text()[:10]: self._random.choice([None, 1, [], {}, 1e400])}
            ).encode(),
            b"[" * 50_000,
            b'{"url": ' + b"9" * 5000 + b"}",
        ]
        body = self._random.choice(bodies)
        head = f"POST /workflows HTTP/1.1\r\nHost: localhost\r\nContent-Type: {self._random.choice(kinds)}\r\n"
        if self._random.random() < 0.5:
            self._send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        else:
            frame = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            self._send(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + self._damaged(frame, 0.3))

    def _by_archive(self) -> None:
        damaged = self._damaged(self._random.choice(self._archives), 0.9)
        (self._service.workflow_store / "damaged.war").write_bytes(damaged)
        self._send(b"POST /workflows?url=damaged.war&workflow_name=damaged HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if "damaged" in self._service.names():
            assert self._service.unregister("damaged").status_code == 200

    def _damaged(self, data: bytes, probability: float) -> bytes:
        """Return the bytes with some of them changed, taken away or repeated."""
        if not data or self._random.random() > probability:
            return data
        changed = bytearray(data)
        for _ in range(self._random.choice([1, 2, 10])):
            place = self._random.randrange(len(changed))
            change = self._random.randrange(3)
            if change == 0:
                changed[place] = self._random.randrange(256)
            elif change == 1:
                changed[place:] = changed[place : place + self._random.randrange(1, 50)]
            else:
                changed[place:place] = changed[place : place + self._random.randrange(50)]
        return bytes(changed)

    def _send(self, request: bytes, method: str = "GET") -> None:
        began = time.monotonic()
        status, body = 0, b""
        with socket.create_connection(self._address, timeout=30) as client:
            with contextlib.suppress(OSError):
                client.sendall(request)
                client.shutdown(socket.SHUT_WR)
            with (
                contextlib.suppress(OSError, HTTPException),
                contextlib.closing(HTTPResponse(client, method=method)) as answer,
            ):
                answer.begin()
                status, body = answer.status, answer.read()
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        self.statuses[status] += 1
        assert status < 500, (request[:300], body)
        if status >= 400 and method != "HEAD":
            error = json.loads(body)
            assert (error["code"], set(error)) == (status, {"code", "type", "message"}), (request[:300], error)
