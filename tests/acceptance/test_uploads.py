"""Uploads whose clients are slow, break off, lie or come all at once: nothing is left, and others are answered."""

import contextlib
import json
import os
import signal
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.support.deployments import deployed
from tests.support.factories import make_mar
from tests.support.raw_http import RawAnswer, assert_raw_error, exchange, read_answer
from tests.support.service import Service, command_line, pids_of, wait_until
from tests.support.uploading import (
    CHUNKED,
    EXPECTING,
    chunks,
    connected,
    declared,
    head,
    in_stores,
    nothing_left,
    parts,
    removed,
    upload,
    uploads_under_way,
)

#: Long enough for sixteen clients to begin, and others to be answered, on a busy machine.
TIMEOUT_S = 5
MAX_UPLOADS = 16
LIMIT_BYTES = 1024 * 1024


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One with a single web worker, so that all clients meet in it."""
    limits = {"upload_timeout_s": TIMEOUT_S, "upload_limit_mb": 1, "max_uploads": MAX_UPLOADS}
    with deployed(tmp_path_factory.mktemp("u"), web_workers=1, **limits) as service:
        yield service


@pytest.fixture(name="archive", scope="module")
def _archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    padding = {"padding.bin": os.urandom(300_000)}
    return make_mar(tmp_path_factory.mktemp("a"), extra_files=padding).read_bytes()


def _message(answer: RawAnswer, status: int) -> str:
    assert_raw_error(answer, status)
    assert answer.headers["connection"] == "close"
    message: str = json.loads(answer.body)["message"]
    return message


def test_as_many_slow_clients_as_allowed_hold_up_nobody_but_uploads(service: Service, archive: bytes) -> None:
    """Each gets 408 when its time is over, one more 503 at once, and all others are answered meanwhile."""
    over = threading.Event()

    def drip(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for byte in archive:
                if over.wait(0.1):
                    return
                client.sendall(bytes([byte]))

    with nothing_left(service), contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(connected(service, head(header)))
            for header in [declared(len(archive)), CHUNKED] * (MAX_UPLOADS // 2)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(MAX_UPLOADS))
        stack.callback(over.set)
        for client in slow[::2]:  # The others of them send nothing at all.
            pool.submit(drip, client)
        wait_until(lambda: len(uploads_under_way(service)) == MAX_UPLOADS, what="all uploads")
        one_more = upload(service, head(declared(len(archive))))
        assert "As many uploads as allowed are under way" in _message(one_more, 503)
        assert int(one_more.headers["retry-after"]) > 0
        for path in ("ping", "workflows", "archives"):
            assert requests.get(f"{service.management}/{path}", timeout=10).status_code == 200
        assert len(uploads_under_way(service)) == MAX_UPLOADS  # They were, and those were answered all the same.
        for client in slow:
            assert f"within {TIMEOUT_S} s" in _message(read_answer(client, "PUT"), 408)


def test_client_that_sends_without_a_pause_has_no_more_time(service: Service) -> None:
    """A body of the smallest chunks is long before it is large."""
    over = threading.Event()

    def send(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not over.is_set():
                client.sendall(b"1\r\nx\r\n" * 10_000)

    with nothing_left(service), connected(service, head(CHUNKED)) as client:
        sending = threading.Thread(target=send, args=(client,))
        sending.start()
        try:
            answer = read_answer(client, "PUT")
        finally:
            over.set()
            client.shutdown(socket.SHUT_RDWR)
            sending.join(10)
    assert answer.status in {408, 413}


@pytest.mark.parametrize("header", [declared(300_000), CHUNKED], ids=["declared", "chunked"])
@pytest.mark.parametrize("sent", [0, 1, 70_000])
def test_client_that_ends_in_the_middle_is_told_so_if_it_reads(service: Service, header: str, sent: int) -> None:
    """A client that closes its side only gets the answer; of one that is gone nothing is left, either."""
    begun = [head(header), b"%x\r\n" % 300_000 if header == CHUNKED and sent else b"", b"x" * sent]
    with nothing_left(service):
        message = _message(upload(service, *begun, ends=True), 400)
        assert "ended before the whole body was there" in message or "not valid HTTP" in message
        with connected(service, *begun) as client:
            wait_until(lambda: parts(service), what="the part")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # A reset.


def test_length_that_is_too_large_is_waited_for(service: Service, archive: bytes) -> None:
    """What does not come in time is 408, whatever has come."""
    with nothing_left(service):
        assert "did not arrive" in _message(upload(service, head(declared(len(archive) + 1)), archive), 408)


@pytest.mark.parametrize("more", [b"x", b"x" * 200_000, b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_what_follows_a_body_is_no_request(service: Service, archive: bytes, more: bytes) -> None:
    """The connection ends after an upload, so that nothing can be smuggled behind it."""
    with nothing_left(service):
        for sent in ([head(declared(len(archive))), archive], [head(CHUNKED), chunks(archive)]):
            assert upload(service, *sent, more).status == 201
            removed(service)
        answer = upload(service, head(declared(len(archive) - 1)), archive)
        assert "not an archive" in _message(answer, 400)


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\nx\r\n0\r\n\r\n",
        b"-1\r\nx\r\n0\r\n\r\n",
        b"\r\nx\r\n0\r\n\r\n",
        b"1\r\nxx\r\n0\r\n\r\n",
        b"1;a\rb\r\nx\r\n0\r\n\r\n",
        b"1" * 100_000,
        b"1\r\nx\r\n0\r\n" + b"T: x\r\n" * 200_000,
        b"1\r\nx\r\n0\r\nbad name: x\r\n\r\n",
    ],
    ids=[
        "letters",
        "negative",
        "nothing",
        "short",
        "bare CR",
        "endless size",
        "endless trailers",
        "trailer",
    ],
)
def test_chunks_that_are_not_http_are_refused(service: Service, body: bytes) -> None:
    """With what is wrong, and not only when their time is over, which would be a 408."""
    with nothing_left(service):
        message = _message(upload(service, head(CHUNKED), body), 400)
        assert message.startswith("The body is not valid HTTP: ")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([declared(3), CHUNKED], 400),
        ([declared(3), declared(4)], 400),
        (["Content-Length: -1"], 400),
        (["Content-Length: 1_0"], 400),
        (["Content-Length: +3"], 400),
        (["Content-Length: 9" + "9" * 30], 413),
        (["Transfer-Encoding: gzip, chunked"], 400),
        (["Transfer-Encoding: chunked, identity"], 400),
        (["Transfer-Encoding: nonsense"], 400),
        (["Expect: foo", declared(3)], 417),
    ],
    ids=str,
)
def test_head_that_does_not_say_where_the_body_ends_is_refused(
    service: Service, headers: list[str], status: int
) -> None:
    """So is a body that was packed on the way, which is no archive as it is."""
    with nothing_left(service):
        _message(upload(service, head(*headers), chunks(b"abc")), status)


def test_archive_that_is_to_be_unpacked_on_the_way_is_refused(service: Service, archive: bytes) -> None:
    """It would be stored as it came."""
    with nothing_left(service):
        message = _message(upload(service, head("Transfer-Encoding: gzip, chunked"), chunks(archive)), 400)
        assert message == "Header Transfer-Encoding: expected chunked or none, got 'gzip, chunked'."


def test_chunk_or_body_over_the_limit_is_refused(service: Service) -> None:
    """A declared size before the body, in chunks as soon as there are too many bytes."""
    with nothing_left(service):
        assert "larger than" in _message(upload(service, head(declared(LIMIT_BYTES + 1))), 413)
        for body in (chunks(bytes(LIMIT_BYTES + 1)), b"f" * 15 + b"\r\n" + bytes(2 * LIMIT_BYTES)):
            assert "larger than" in _message(upload(service, head(CHUNKED), body), 413)


def test_client_that_waits_for_100_sends_only_what_can_be_stored(service: Service, archive: bytes) -> None:
    """It gets 100 when the rest has been checked, and else the answer at once."""
    with connected(service, head(declared(len(archive)), EXPECTING)) as client:
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(archive)
        assert read_answer(client, "PUT").status == 201
    removed(service)
    for query, size, status in (("?sha256=1", 3, 400), ("?nosuch=1", 3, 400), ("", LIMIT_BYTES + 1, 413)):
        with nothing_left(service):
            _message(upload(service, head(declared(size), EXPECTING, query=query)), status)
    with nothing_left(service):
        _message(upload(service, head(declared(3), EXPECTING, name=".up.mar")), 400)
        _message(exchange(service, "management", head(declared(3), EXPECTING, name="up.war")), 400)


def test_of_16_at_once_for_one_name_one_is_stored(service: Service, tmp_path: Path) -> None:
    """Those with its bytes are answered 200, the others 409; then the name is free again for any."""
    bodies = [make_mar(tmp_path, name=f"m{n}").read_bytes() for n in range(2)]
    together = threading.Barrier(MAX_UPLOADS)

    def put(number: int) -> int:
        body = bodies[number % 2]
        with connected(service, head(declared(len(body)))) as client:
            together.wait(20)
            client.sendall(body)
            return read_answer(client, "PUT").status

    with nothing_left(service):
        with ThreadPoolExecutor(MAX_UPLOADS) as pool:
            assert Counter(pool.map(put, range(MAX_UPLOADS))) == {201: 1, 200: 7, 409: 8}
        assert in_stores(service)["model_store/up.mar"] in bodies
        removed(service)


def _web_workers(service: Service) -> set[int]:
    assert service.process is not None
    return {pid for pid in pids_of(service.instance) if "gunicorn" in command_line(pid)} - {service.process.pid}


def test_nothing_is_left_of_an_upload_whose_worker_or_service_ends(tmp_path: Path, archive: bytes) -> None:
    """A killed web worker leaves a part to the next one, a service that stops answers first."""
    begun = [head(declared(len(archive))), archive[:1000]]
    with deployed(tmp_path / "i", web_workers=1) as service:
        assert service.process is not None
        with nothing_left(service), connected(service, *begun) as client:
            wait_until(lambda: parts(service), what="the part")
            (killed,) = _web_workers(service)
            os.kill(killed, signal.SIGKILL)
            assert client.recv(1) == b""
            wait_until(lambda: not parts(service), what="the sweep")
        assert upload(service, head(declared(len(archive))), archive).status == 201
        removed(service)
        before = in_stores(service)
        with connected(service, *begun) as client:
            wait_until(lambda: parts(service), what="the part")
            service.process.send_signal(signal.SIGTERM)
            assert "stopping" in _message(read_answer(client, "PUT"), 503)
        assert service.process.wait(20) == 0
        assert in_stores(service) == before
        assert list((service.run_folder / "leases").iterdir()) == []


@pytest.mark.slow
def test_upload_goes_on_in_a_web_worker_that_is_only_replaced(tmp_path: Path, archive: bytes) -> None:
    """Until it is done, however long that takes."""
    with deployed(tmp_path / "i", web_workers=1) as service:
        assert service.process is not None
        replaced = _web_workers(service)
        with connected(service, head(declared(len(archive))), archive[:1000]) as client:
            wait_until(lambda: parts(service), what="the part")
            service.process.send_signal(signal.SIGHUP)
            wait_until(lambda: _web_workers(service) - replaced, what="the new web worker")
            client.sendall(archive[1000:])
            assert read_answer(client, "PUT").status == 201
        wait_until(lambda: not _web_workers(service) & replaced, what="the end of the old one")
        removed(service)
