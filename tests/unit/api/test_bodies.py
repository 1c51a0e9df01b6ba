"""Bodies that are read while they arrive."""

import io

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from wfmgmt.api.bodies import pieces_of
from wfmgmt.errors.uploads import UploadBrokenOff


class Silent(io.RawIOBase):
    """A connection on which nothing comes."""

    def read(self, size: int = -1) -> bytes:
        """Fail, since this would wait."""
        raise AssertionError(size)


def request(body: io.IOBase, **headers: str) -> Request:
    """Return a request with a body."""
    environ = EnvironBuilder(method="PUT", headers=list(headers.items())).get_environ()
    environ.pop("CONTENT_LENGTH", None)
    if "Content-Length" in headers:
        environ["CONTENT_LENGTH"] = headers["Content-Length"]
    return Request({**environ, "wsgi.input": body})


def test_body_without_a_length_is_empty() -> None:
    """As HTTP has it: nothing is waited for."""
    assert list(pieces_of(request(Silent()))) == []


def test_body_in_chunks_is_read_to_its_end() -> None:
    """However long it is."""
    found = list(pieces_of(request(io.BytesIO(b"x" * 600_000), **{"Transfer-Encoding": "Chunked"})))
    assert (sum(map(len, found)), len(found)) == (600_000, 3)


def test_body_that_ends_early_is_refused() -> None:
    """It has fewer bytes than it says."""
    with pytest.raises(UploadBrokenOff):
        list(pieces_of(request(io.BytesIO(b"xx"), **{"Content-Length": "3"})))
