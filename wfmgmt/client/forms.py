"""Bodies of predictions that are forms of several parts, as `curl -F` makes them."""

from collections.abc import Sequence

import requests

#: A part's name, and its value or the name and content of a file.
Part = tuple[str, bytes | tuple[str, bytes]]


def multipart(parts: Sequence[Part]) -> tuple[bytes, str]:
    """Return the body and its content type."""
    files = [(name, value if isinstance(value, tuple) else (None, value)) for name, value in parts]
    prepared = requests.Request("POST", "http://form/", files=files).prepare()
    body = prepared.body
    assert isinstance(body, bytes)  # noqa: S101 - requests makes it of bytes
    return body, prepared.headers["Content-Type"]
