"""The access log: one line for each request to either address, if the setting `ACCESS_LOG` wants it."""

import logging
from urllib.parse import quote

#: Where the management API leaves the names in the path of a request.
NAMES_KEY = "wfmgmt.names"

#: What stays as it is in a path: all that is printed as one character and is no space.
_PLAIN = "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}"

_log = logging.getLogger("wfmgmt.access")


def is_on() -> bool:
    """Return whether any request gets a line."""
    return _log.isEnabledFor(logging.INFO)


def log_request(
    *,
    method: str,
    target: str,
    status: int,
    took_s: float,
    size_bytes: int,
    client: str,
    request_id: str,
    workflow: str | None = None,
    version: str | None = None,
) -> None:
    """Log a request that was answered.

    Args:
        method: Its method.
        target: Its target as it was sent; the query, which may hold a token, is left out.
        status: Status of the answer.
        took_s: Seconds from the request to the end of the answer.
        size_bytes: Length of the answer's body.
        client: Address that it came from; empty for a local client.
        request_id: Its id.
        workflow: The workflow that it is about, if that is known.
        version: The version that it is about, or that answered.
    """
    path = quote(target.partition("?")[0], safe=_PLAIN, errors="surrogateescape")
    took_ms = round(took_s * 1000, 1)
    _log.info(
        "%s %s %s %d %.1f ms %d bytes",
        client or "-",
        method,
        path,
        status,
        took_ms,
        size_bytes,
        extra={
            "request_id": request_id,
            "workflow": workflow,
            "version": version,
            "client": client,
            "method": method,
            "path": path,
            "status": status,
            "ms": took_ms,
            "bytes": size_bytes,
        },
    )
