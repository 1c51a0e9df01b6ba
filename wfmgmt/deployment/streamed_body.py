"""The body of a request that the application reads while it arrives."""

from typing import Protocol

from gunicorn.http.errors import NoMoreData, ParseException

from wfmgmt.errors import BadRequest
from wfmgmt.errors.uploads import UploadBrokenOff


class _Body(Protocol):
    def read(self, size: int, /) -> bytes: ...


class StreamedBody:
    """A body as gunicorn reads it, whose errors are those of the client.

    Args:
        body: Gunicorn's own.
    """

    def __init__(self, body: _Body) -> None:
        self._body = body

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, fewer only at the end.

        Raises:
            UploadBrokenOff: The connection ended before the body.
            BadRequest: It is not valid HTTP.
            UploadTooSlow, ShuttingDown: As `ClientSocket.recv` says.
        """
        try:
            return self._body.read(size)
        except NoMoreData as error:
            raise UploadBrokenOff from error
        except ParseException as error:
            raise BadRequest(f"The body is not valid HTTP: {error}") from error
