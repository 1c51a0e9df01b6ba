"""Load that the short tests and `make chaos` share: many clients, slow clients, senseless requests, hanging sources."""

import asyncio
import contextlib
import json
import random
import signal
import socket
import string
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlsplit

import aiohttp
import requests

from tests.support.factories import make_mar, make_war
from tests.support.service import Service, command_line, pids_of, wait_until

MIB = 1024 * 1024
#: A workflow without processes, so that registrations cost what the management plane costs.
IDLE_SPEC = "models:\n  min-workers: 0\n  m1: {url: m1.mar}\ndag:\n  m1: []\n"
#: A client asks about so often; a crowd that asks as fast as it can only measures the machine.
THINK_S = 4.0


def make_idle_workflow(service: Service) -> None:
    """Put the archives of a workflow without processes into the stores, as `idle.war`."""
    make_war(service.workflow_store, name="idle", spec=IDLE_SPEC, handler=None)
    make_mar(service.model_store)


def web_workers(service: Service) -> list[int]:
    """Return the process ids of the web workers."""
    master = service.process.pid if service.process else 0
    return [pid for pid in pids_of(service.instance) if "gunicorn" in command_line(pid) and pid != master]


def reload(service: Service, *, timeout_s: float) -> None:
    """Have gunicorn replace its web workers, as SIGHUP does, and wait for the two new ones."""
    assert service.process is not None
    before = set(web_workers(service))
    service.process.send_signal(signal.SIGHUP)
    wait_until(
        lambda: len(now := set(web_workers(service))) == 2 and not now & before,
        timeout_s=timeout_s,
        what="new web workers",
    )


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


class MemoryWatch:
    """Looks at the memory of processes again and again while a block runs.

    Attributes:
        growth_bytes: The most that one of them grew.
    """

    def __init__(self, pids: list[int]) -> None:
        self.growth_bytes = 0
        self._before = {pid: resident_bytes(pid) for pid in pids}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            growth = [resident_bytes(pid) - before for pid, before in self._before.items()]
            self.growth_bytes = max(self.growth_bytes, *growth)


@dataclass(kw_only=True)
class Load:
    """What many clients saw.

    Attributes:
        statuses: How often each status was answered.
        surprises: Answers that should not be.
        reads_s: Time that each read took.
        writes_s: Time that each change took.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)
    reads_s: list[float] = field(default_factory=list)
    writes_s: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{len(self.reads_s)} reads, p99 {p99(self.reads_s) * 1000:.0f} ms; "
            f"{len(self.writes_s)} changes, p99 {p99(self.writes_s) * 1000:.0f} ms; statuses {dict(self.statuses)}"
        )


def p99(values: list[float]) -> float:
    """Return what 99 of 100 values do not exceed."""
    return sorted(values)[len(values) * 99 // 100]


def mixed_load(service: Service, *, clients: int, seconds: float) -> Load:
    """Let clients work side by side, each registering or removing a workflow of its own once in ten requests."""
    load = Load()
    asyncio.run(_crowd(service.management, clients, seconds, load))
    return load


async def _crowd(address: str, clients: int, seconds: float, load: Load) -> None:
    connector = aiohttp.TCPConnector(limit=clients)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(address, connector=connector, timeout=timeout) as session:
        until = time.monotonic() + seconds
        await asyncio.gather(*(_client(session, f"c{number:03}", until, load) for number in range(clients)))


async def _client(session: aiohttp.ClientSession, name: str, until: float, load: Load) -> None:
    chance = random.Random(name)  # noqa: S311 - which request comes next
    is_registered = False
    await asyncio.sleep(chance.uniform(0, THINK_S))
    while time.monotonic() < until:
        if chance.random() < 0.1:
            allowed = {200}
            method, path = ("DELETE", f"/workflows/{name}") if is_registered else ("POST", "/workflows")
            parameters = {} if is_registered else {"url": "idle.war", "workflow_name": name}
            is_registered = not is_registered
        else:
            path = chance.choice(["/workflows", "/ping", f"/workflows/{name}", "/workflows?after=c2&limit=10"])
            allowed = {200, 404} if path.endswith(name) else {200}
            method, parameters = "GET", {}
        began = time.monotonic()
        async with session.request(method, path, params=parameters) as answer:
            text = await answer.text()
        (load.reads_s if method == "GET" else load.writes_s).append(time.monotonic() - began)
        load.statuses[answer.status] += 1
        if answer.status not in allowed:
            load.surprises.append(f"{method} {path}: {answer.status} {text}")
        await asyncio.sleep(min(chance.uniform(0, 2 * THINK_S), max(until - time.monotonic(), 0)))


def walk_while_others_write(service: Service, *, stable: set[str], writers: int, seconds: float) -> Counter[str]:
    """Walk through the list in both ways while writers add and remove names between the stable ones.

    Returns:
        How often each way was walked to its end.

    Raises:
        AssertionError: A page failed, or a walk by name missed a stable name or repeated one.
    """
    walks: Counter[str] = Counter()
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(writers + 3) as pool:
        work = [pool.submit(_write, service, number, until) for number in range(writers)]
        work += [
            pool.submit(_repeat, until, walks, "by name", lambda: _walk_by_name(service, stable)) for _ in range(2)
        ]
        work.append(pool.submit(_repeat, until, walks, "by offset", lambda: _walk_by_offset(service)))
        for each in work:
            each.result(seconds + 60)
    return walks


def _repeat(until: float, walks: Counter[str], way: str, walk: Callable[[], None]) -> None:
    while time.monotonic() < until:
        walk()
        walks[way] += 1


def _write(service: Service, number: int, until: float) -> None:
    chance = random.Random(number)  # noqa: S311 - which name comes next
    registered: set[str] = set()
    while time.monotonic() < until:
        name = f"n{chance.randrange(1000):03}-{number}"
        if name in registered:
            registered.remove(name)
            answer = service.unregister(name)
        else:
            registered.add(name)
            answer = service.register("idle.war", workflow_name=name)
        assert answer.status_code == 200, answer.text
    for name in registered:
        assert service.unregister(name).status_code == 200


def _pages(service: Service, key: str, next_key: str, first: str) -> Iterator[list[str]]:
    with requests.Session() as session:
        value: str | None = first
        while value is not None:
            parameters: dict[str, str | int] = {"limit": 7, key: value}
            answer = session.get(f"{service.management}/workflows", params=parameters, timeout=10)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            yield [each["workflowName"] for each in page["workflows"]]
            value = page.get(next_key)


def _walk_by_name(service: Service, stable: set[str]) -> None:
    names = [name for page in _pages(service, "after", "nextAfter", "") for name in page]
    assert names == sorted(set(names)), "a name came twice, or out of order"
    assert stable - set(names) == set(), "a name that was there throughout was missed"


def _walk_by_offset(service: Service) -> None:
    for page in _pages(service, "next_page_token", "nextPageToken", "0"):
        assert page == sorted(page)


@contextlib.contextmanager
def slow_clients(service: Service, count: int) -> Iterator[Counter[str]]:
    """Keep clients connected that are silent, send byte by byte or do not read; each comes back when it is sent away.

    Yields:
        How often each kind has connected so far.
    """
    host, port = urlsplit(service.management).netloc.split(":")
    over = threading.Event()
    connected: Counter[str] = Counter()
    kinds = list(_SLOW)

    def misbehave(kind: str) -> None:
        while not over.wait(0.01):
            with contextlib.suppress(OSError), socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.settimeout(0.5)
                client.connect((host, int(port)))
                connected[kind] += 1
                _SLOW[kind](client, over)

    threads = [threading.Thread(target=misbehave, args=(kinds[number % len(kinds)],)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield connected
    finally:
        over.set()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()


def _wait_for_the_end(client: socket.socket, over: threading.Event) -> None:
    while not over.is_set():
        with contextlib.suppress(TimeoutError):
            if not client.recv(1):
                return


def _drip(client: socket.socket, over: threading.Event, head: bytes) -> None:
    client.sendall(head)
    while not over.wait(0.1):
        client.sendall(b"x")


def _read_slowly(client: socket.socket, over: threading.Event) -> None:
    client.sendall(b"GET /workflows?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
    while not over.wait(0.2):
        client.recv(1)


def _do_not_close(client: socket.socket, over: threading.Event) -> None:
    client.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    over.wait(3)


_SLOW: dict[str, Callable[[socket.socket, threading.Event], None]] = {
    "silent": _wait_for_the_end,
    "head": lambda client, over: _drip(client, over, b"GET /ping HTTP/1.1\r\nHost: localhost\r\nX: "),
    "body": lambda client, over: _drip(
        client, over, b"POST /workflows HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n"
    ),
    "next request": lambda client, over: _drip(client, over, b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\nGET /p"),
    "reader": _read_slowly,
    "closer": _do_not_close,
}


def slowest_honest_answer(service: Service, name: str, *, seconds: float) -> float:
    """Ask as honest clients do, each time on a new connection; return how long the slowest answer took."""
    slowest = 0.0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for path in ("/ping", "/workflows", f"/workflows/{name}"):
            began = time.monotonic()
            answer = requests.get(f"{service.management}{path}", timeout=30)
            slowest = max(slowest, time.monotonic() - began)
            assert answer.status_code == 200, answer.text
    return slowest


@contextlib.contextmanager
def silent_source() -> Iterator[tuple[str, Callable[[], int]]]:
    """Run a server that accepts and never answers; give an address there, and what counts those who wait."""
    waiting: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    waiting.append(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/slow.war", lambda: len(waiting)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for each in waiting:
                each.close()


@contextlib.contextmanager
def endless_source(size_bytes: int) -> Iterator[str]:
    """Run a server that sends so many bytes to everybody, without saying how many beforehand."""
    part = bytes(MIB)

    def send(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.recv(65536)
            client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            for _ in range(size_bytes // MIB):
                client.sendall(part)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(4) as pool:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    pool.submit(send, listener.accept()[0])

        pool.submit(accept)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/large.war"
        finally:
            listener.shutdown(socket.SHUT_RDWR)


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
        self._random = random.Random(seed)  # noqa: S311 - senseless, not secret
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
