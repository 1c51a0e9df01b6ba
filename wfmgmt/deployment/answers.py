"""Answers that a web worker gives without the application."""

import socket
from collections.abc import Mapping

from wfmgmt.http import access_log
from wfmgmt.http.answers import FRAMEWORK_TYPES, NO_CACHE, REQUEST_ID, error_body, sane_request_id


def answer(
    client: socket.socket,
    address: object,
    status: int,
    message: str,
    *,
    request_id: str | None = None,
    kind: str | None = None,
    more: Mapping[str, str] | None = None,
) -> None:
    """Answer for the application, on a connection that will be closed."""
    kind = kind or FRAMEWORK_TYPES[status]
    request_id = sane_request_id(request_id)
    body = error_body(status, kind, message)
    headers = {
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        REQUEST_ID: request_id,
        **NO_CACHE,
        **(more or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    client.sendall(f"HTTP/1.1 {status} {kind}\r\n{lines}\r\n".encode() + body)
    if access_log.is_on():  # Neither method nor path may have been understood.
        access_log.log_request(
            method="-",
            target="-",
            status=status,
            took_s=0.0,
            size_bytes=len(body),
            client=host_of(address),
            request_id=request_id,
        )


def host_of(address: object) -> str:
    """Return where a client is; one of a Unix socket has no address."""
    return str(address[0]) if isinstance(address, tuple) else ""
