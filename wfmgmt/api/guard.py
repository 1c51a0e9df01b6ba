"""The WSGI layer before Flask's routing and reading of bodies: the browser guard, request ids, common headers."""

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from wfmgmt.api.metrics import Metrics
from wfmgmt.domain.forwarding import Forwarding
from wfmgmt.errors import CrossOriginRefused
from wfmgmt.http.answers import NO_CACHE, REQUEST_ID, error_body, sane_request_id, status_and_type
from wfmgmt.http.browser_guard import LOG, BrowserGuard, Header
from wfmgmt.http.refusals import Refusals

#: Where the application finds the id of a request.
REQUEST_ID_KEY = "wfmgmt.request_id"
#: Where it finds the user whom a trusted proxy names.
USER_KEY = "wfmgmt.user"


class Refusal(NamedTuple):
    """Why a request is refused, and the id under which its answer and the log know it."""

    error: CrossOriginRefused
    request_id: str


class ManagementGuard:
    """Refuses requests for the web worker, which sees them early, and for the application, which sees all of them.

    Args:
        guard: Decides.
        metrics: Counts what is refused.
    """

    def __init__(self, guard: BrowserGuard, metrics: Metrics) -> None:
        self.guard = guard
        self._metrics = metrics
        self._refusals = Refusals(LOG, metrics.count_refused)

    def refusal(self, method: str, path: str, header: Header, *, client: str) -> Refusal | None:
        """Return why a request is refused, counted and logged; None when it is not."""
        try:
            self.guard.check(method, path, header)
        except CrossOriginRefused as error:
            refusal = Refusal(error, sane_request_id(header(REQUEST_ID)))
            self._refusals.record(error.check, str(error), client=client, request_id=refusal.request_id)
            self.count(HTTPStatus.FORBIDDEN)
            return refusal
        return None

    def count(self, status: int) -> None:
        """Count an answer that the guard gives for the application."""
        self._metrics.count(method="other", route="unknown", status=status, duration_s=0.0)


class GuardedApplication:
    """A WSGI application that answers only what the guard lets through, and gives every answer the common headers.

    Args:
        application: The application behind the guard.
        guard: Refuses requests.
        forwarding: Says which proxies are believed.
    """

    def __init__(
        self, application: Callable[..., Iterable[bytes]], guard: ManagementGuard, forwarding: Forwarding
    ) -> None:
        self._application = application
        self._guard = guard
        self._forwarding = forwarding

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""

        def header(name: str) -> str | None:
            value: str | None = environ.get("HTTP_" + name.upper().replace("-", "_"))
            return value

        peer = environ.get("REMOTE_ADDR", "")
        environ[USER_KEY] = self._forwarding.user(peer, header)
        environ["REMOTE_ADDR"] = self._forwarding.client(peer, header("X-Forwarded-For"))
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        sent = self._forwarding.as_browsers_send(peer, header)
        refused = self._guard.refusal(method, path, sent, client=environ.get("REMOTE_ADDR", ""))
        is_preflight = refused is None and self._guard.guard.is_preflight(method, header)
        request_id = refused.request_id if refused else sane_request_id(header(REQUEST_ID))
        more = self._guard.guard.answer_headers(header, is_preflight=is_preflight)
        common = [*NO_CACHE.items(), (REQUEST_ID, request_id), *more.items()]
        if refused is not None:
            status, kind = status_and_type(refused.error)
            body = error_body(status, kind, str(refused.error))
            own = {"Content-Type": "application/json", "Content-Length": str(len(body))}
            start_response("403 FORBIDDEN", [*own.items(), *common])
            return [body]
        if is_preflight:
            self._guard.count(HTTPStatus.NO_CONTENT)
            start_response("204 NO CONTENT", common)
            return []
        environ[REQUEST_ID_KEY] = request_id
        return self._application(
            environ, lambda status, headers, *rest: start_response(status, _with(headers, common), *rest)
        )


def _with(headers: Sequence[tuple[str, str]], common: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers of an answer with the common ones; what it says itself about caching holds."""
    if any(name == "Cache-Control" for name, _ in headers):
        common = [(name, value) for name, value in common if name not in NO_CACHE]
    return [*headers, *common]
