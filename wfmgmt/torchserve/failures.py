"""What can go wrong between a TorchServe and us, in one place."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from wfmgmt.domain.faults import Fault
from wfmgmt.errors import WfmgmtError


class ServerFailed(WfmgmtError):
    """A TorchServe could not be used. It never leaves the TorchServe model server.

    Attributes:
        reason: Why, naming the server, in words for the caller.
        fault: Which kind of failure it was.
    """

    def __init__(self, server: str, what: str, fault: Fault) -> None:
        super().__init__(f"TorchServe at {server} {what}")
        self.reason = str(self)
        self.fault = fault


class ServerRefused(ServerFailed):
    """A TorchServe answered with an error of its own.

    Attributes:
        status: HTTP status.
        kind: TorchServe's name for the error.
        message: TorchServe's text.
    """

    def __init__(self, server: str, status: int, kind: str, message: str) -> None:
        super().__init__(server, f"answered {status} {kind}: {message}", Fault.FAILED)
        self.status = status
        self.kind = kind
        self.message = message


@contextmanager
def foreign_errors_mapped(server: str, timeout_s: float) -> Iterator[None]:
    """Raise ServerFailed for whatever the HTTP client or a time-out raises."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise ServerFailed(server, f"cannot be reached: {_why(error)}", Fault.UNREACHABLE) from error
    except TimeoutError as error:
        raise ServerFailed(server, f"did not answer within {timeout_s:g} s", Fault.TIMED_OUT) from error
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError) as error:
        raise ServerFailed(server, "broke off its answer", Fault.FAILED) from error
    except (aiohttp.ClientError, ValueError) as error:
        raise ServerFailed(server, "answered what is not valid HTTP", Fault.FAILED) from error


@contextmanager
def shape_checked(server: str) -> Iterator[None]:
    """Raise ServerFailed when JSON does not have the form that is expected inside."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ServerFailed(server, "answered JSON that makes no sense", Fault.FAILED) from error


def _why(error: BaseException) -> str:
    """Return in words why there is no connection."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        return cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else "certificate not accepted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.strerror or type(error.os_error).__name__
    return "no connection in time" if isinstance(error, asyncio.TimeoutError) else type(error).__name__
