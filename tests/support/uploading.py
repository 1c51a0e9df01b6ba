"""Uploads that are written by hand, and what they leave in the stores."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import requests

from tests.support.raw_http import RawAnswer, read_answer
from tests.support.service import Service, stored_files, wait_until

NAME = "up.mar"


@contextmanager
def connected(service: Service, *sent: bytes) -> Iterator[socket.socket]:
    """Connect to the management address, and send something."""
    address = urlsplit(service.management)
    with socket.create_connection((address.hostname, address.port), timeout=20) as client:
        for part in sent:
            client.sendall(part)
        yield client


def head(*headers: str, name: str = NAME, query: str = "") -> bytes:
    """Return the head of an upload of a model."""
    lines = [f"PUT /archives/models/{name}{query} HTTP/1.1", "Host: localhost", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def declared(size: int) -> str:
    """Return the header that says how long a body is."""
    return f"Content-Length: {size}"


CHUNKED = "Transfer-Encoding: chunked"
EXPECTING = "Expect: 100-continue"


def chunks(*parts: bytes) -> bytes:
    """Return a body in chunks, with its end."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])


def upload(service: Service, *sent: bytes, ends: bool = False) -> RawAnswer:
    """Send an upload as it stands, perhaps with the end of the connection, and return its answer.

    Raises:
        AssertionError: Something follows the answer.
    """
    with connected(service) as client:
        try:
            for part in sent:
                client.sendall(part)
            if ends:
                client.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # It was answered before all of it was sent.
        answer = read_answer(client, "PUT")
        assert client.recv(1) == b""
    return answer


def in_stores(service: Service) -> dict[str, bytes]:
    """Return all files in the stores, parts too."""
    stores = (service.workflow_store, service.model_store)
    return {f"{store.name}/{path.name}": path.read_bytes() for store in stores for path in stored_files(store)}


def parts(service: Service) -> list[str]:
    """Return the parts of uploads that are under way, or were left."""
    return [path.name for path in stored_files(service.model_store) if path.name.endswith(".part")]


def uploads_under_way(service: Service) -> list[str]:
    """Return the leases of uploads."""
    return [path.name for path in (service.run_folder / "leases").iterdir() if path.name.startswith("upload-")]


@contextmanager
def nothing_left(service: Service) -> Iterator[None]:
    """Check that the stores are as they were in the end, and that the service answers.

    Raises:
        AssertionError: They are not, or it does not.
    """
    before = in_stores(service)
    yield
    wait_until(lambda: not uploads_under_way(service), what="the end of the uploads")
    assert in_stores(service) == before
    assert requests.get(f"{service.management}/ping", timeout=5).status_code == 200


def removed(service: Service, name: str = NAME) -> None:
    """Remove an archive that was uploaded.

    Raises:
        AssertionError: It is not there.
    """
    assert requests.delete(f"{service.management}/archives/models/{name}", timeout=10).status_code == 200
