"""Errors between a TorchServe and its client."""

import ssl
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from wfmgmt.domain.faults import Fault
from wfmgmt.domain.names import printable
from wfmgmt.errors import WfmgmtError
from wfmgmt.torchserve.responses import UNKNOWN_PATH

WRONG_ADDRESS = "; is it the management address of a TorchServe?"


class ServerFailed(WfmgmtError):
    """A TorchServe could not be used. The model server never lets it out, but says what it means there.

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
        hint = WRONG_ADDRESS if kind == UNKNOWN_PATH else ""
        super().__init__(server, f"answered {status} {printable(f'{kind}: {message}')}{hint}", Fault.FAILED)
        self.status = status
        self.kind = kind
        self.message = message


@contextmanager
def foreign_errors_mapped(server: str, timeout_s: float) -> Iterator[None]:
    """Raise ServerFailed for everything that the HTTP client or a time-out raises."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        _free_frames(error)
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
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ServerFailed(server, f"answered with unexpected JSON{WRONG_ADDRESS}", Fault.FAILED) from error


def _free_frames(error: BaseException | None) -> None:
    """Clear the frames of a failed connection, of which one of aiohttp's holds the error that holds it.

    Such a circle would keep the body of the request until the cycle collector runs.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__


def _why(error: BaseException) -> str:
    """Return in words why there is no connection."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        return cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else "certificate not accepted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.strerror or type(error.os_error).__name__
    return "no connection in time"
