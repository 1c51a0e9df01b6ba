"""The body of a request that the application reads while it arrives."""

from gunicorn.http.body import Body, LengthReader
from gunicorn.http.errors import NoMoreData, ParseException

from wfmgmt.errors import BadRequest
from wfmgmt.errors.uploads import UploadBrokenOff


class StreamedBody:
    """A body piece by piece, as it arrives, with errors that are those of the client.

    gunicorn's own `read` collects as many bytes as it is asked for, which copies each of them five times.

    Args:
        body: Gunicorn's own.
    """

    def __init__(self, body: Body) -> None:
        self._reader = body.reader
        self._arrived = b""

    def read(self, size: int) -> bytes:
        """Return at most so many bytes, as few as have arrived; nothing at the end.

        Raises:
            UploadBrokenOff: The connection ended before the body.
            BadRequest: It is not valid HTTP.
            UploadTooSlow, ShuttingDown: As `ClientSocket.recv` says.
        """
        try:
            arrived = self._arrived or self._receive(size)
        except NoMoreData as error:
            raise UploadBrokenOff from error
        except ParseException as error:
            raise BadRequest(f"The body is not valid HTTP: {error}") from error
        self._arrived = arrived[size:]
        return arrived[:size]

    def _receive(self, size: int) -> bytes:
        """Return what gunicorn has, or else what comes next, so much if it is there; of chunks as they are."""
        reader = self._reader
        if not isinstance(reader, LengthReader):
            return next(filter(None, reader.parser), b"")
        arrived: bytes = reader.unreader.read(None, read_ahead=min(size, reader.length))[: reader.length]
        reader.length -= len(arrived)
        return arrived
