"""Requests that are written by hand, byte for byte, and their answers."""

import http.client
import json
import socket
import uuid
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.service import Service

PLANES = ("management", "inference")


@dataclass(frozen=True, kw_only=True)
class RawAnswer:
    """An answer to bytes that were sent by hand."""

    status: int
    headers: dict[str, str]
    body: bytes


def exchange(service: Service, plane: str, sent: bytes) -> RawAnswer:
    """Send bytes and return the answer."""
    address = urlsplit(getattr(service, plane))
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(sent)
        return read_answer(connection)


def read_answer(connection: socket.socket, method: str = "GET") -> RawAnswer:
    """Return the next answer on a connection, to a request of this method."""
    with http.client.HTTPResponse(connection, method=method) as answer:
        answer.begin()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return RawAnswer(status=answer.status, headers=headers, body=answer.read())


def assert_raw_error(answer: RawAnswer, status: int) -> None:
    """Check the one shape of errors, and the headers of every answer."""
    body = json.loads(answer.body)
    assert (answer.status, body["code"], list(body)) == (status, status, ["code", "type", "message"])
    assert answer.body.decode() == json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["pragma"] == "no-cache"
    uuid.UUID(answer.headers["x-request-id"])
