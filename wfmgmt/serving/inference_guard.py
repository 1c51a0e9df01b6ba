"""The browser guard of the inference address, ahead of aiohttp's routing and of reading bodies."""

from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web

from wfmgmt.domain.forwarding import Forwarding
from wfmgmt.errors import CrossOriginRefused
from wfmgmt.http.answers import NO_CACHE, REQUEST_ID, sane_request_id
from wfmgmt.http.browser_guard import LOG, BrowserGuard
from wfmgmt.http.refusals import Refusals
from wfmgmt.serving.inference_access import CLIENT, client_of
from wfmgmt.serving.inference_protocol import own_error

_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class InferenceGuard:
    """Refuses requests that web pages may have sent, answers preflights, and lets allowed pages read answers.

    Args:
        guard: Decides.
        forwarding: Says which proxies are believed about where a request comes from.
        count_refused: Counts one refused request for the metrics, by the check that it did not pass.
    """

    def __init__(self, guard: BrowserGuard, *, forwarding: Forwarding, count_refused: Callable[[str], None]) -> None:
        self._guard = guard
        self._forwarding = forwarding
        self._refusals = Refusals(LOG, count_refused)

    def around(self, handler: _Handler) -> _Handler:
        """Return a handler that passes on what is not refused."""

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            header = partial(_header, request)
            if self._forwarding.is_on:
                request[CLIENT] = self._forwarding.client(request.remote or "", header("X-Forwarded-For"))
            try:
                sent = self._forwarding.as_browsers_send(request.remote or "", header)
                self._guard.check(request.method, request.path, sent)
            except CrossOriginRefused as error:
                refused = _own(request, own_error(error))
                request_id = refused.headers[REQUEST_ID]
                self._refusals.record(error.check, str(error), client=client_of(request), request_id=request_id)
                return refused
            if self._guard.is_preflight(request.method, header):
                return _own(request, web.Response(status=204))
            return await handler(request)

        return answer

    def add_headers(self, request: web.BaseRequest, answer: web.StreamResponse) -> None:
        """Add what lets pages of allowed origins read an answer."""
        header = partial(_header, request)
        is_preflight = self._guard.is_preflight(request.method, header)
        answer.headers.update(self._guard.answer_headers(header, is_preflight=is_preflight))


def _own(request: web.BaseRequest, answer: web.Response) -> web.Response:
    answer.headers.update({**NO_CACHE, REQUEST_ID: sane_request_id(request.headers.get(REQUEST_ID))})
    return answer


def _header(request: web.BaseRequest, name: str) -> str | None:
    value = request.headers.get(name)
    if value is None:
        return None
    values = request.headers.getall(name)
    return value if len(values) == 1 else ",".join(values)
