"""The access log of the inference address, as aiohttp calls it."""

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from wfmgmt.http import access_log
from wfmgmt.http.answers import REQUEST_ID
from wfmgmt.serving.answers import VERSION_HEADER

#: Key of a request: the workflow that it names.
WORKFLOW = web.RequestKey("workflow", str)
#: Key of a request: where it comes from, when a proxy says so.
CLIENT = web.RequestKey("client", str)


def client_of(request: web.BaseRequest) -> str:
    """Return where a request comes from; empty for a local client."""
    return request.get(CLIENT) or request.remote or ""


class InferenceAccessLogger(AbstractAccessLogger):
    """Logs requests that were answered."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Log one."""
        access_log.log_request(
            method=request.method,
            target=request.raw_path,
            status=response.status,
            took_s=time,
            size_bytes=response.content_length or 0,
            client=client_of(request),
            request_id=response.headers.get(REQUEST_ID, ""),
            workflow=request.get(WORKFLOW),
            version=response.headers.get(VERSION_HEADER),
        )

    @property
    def enabled(self) -> bool:
        """Whether any request gets a line; aiohttp asks once for each connection."""
        return access_log.is_on()
