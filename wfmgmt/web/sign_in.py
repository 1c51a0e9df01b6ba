"""Signing in with a token, and out again."""

from http import HTTPStatus

from flask import Blueprint, Response, request

from wfmgmt.domain.access import Caller
from wfmgmt.errors.access import CredentialsRefused, TooManyFailedLogins
from wfmgmt.services.sessions import SESSION_S, Sessions
from wfmgmt.web.rendering import page, see_other
from wfmgmt.web.session import cookie_name, session_of

LOGIN = "/ui/login"
#: What is sent before there is a session; the guard of the address keeps pages of others from sending it.
UNGUARDED = frozenset({LOGIN, f"{LOGIN}/"})
_PAGES = "/ui/"


def session_caller(sessions: Sessions) -> Caller | None:
    """Return in whose session a request is sent; only the page has sessions."""
    if request.url_rule is None or not request.url_rule.rule.startswith(_PAGES):
        return None
    session = session_of(request)
    return sessions.caller(session) if session else None


def add_sign_in(blueprint: Blueprint, sessions: Sessions) -> None:
    """Add the routes to a blueprint."""

    @blueprint.get(LOGIN)
    def show_login() -> Response:
        return page("login.html", next=_next(request.args.get("next", "")))

    @blueprint.post(LOGIN)
    def sign_in() -> Response:
        """Begin a session of who shows a token that is accepted."""
        following = _next(request.form.get("next", ""))
        try:
            session = sessions.begin(request.form.get("token", "").strip(), address=request.remote_addr or "")
        except CredentialsRefused as error:
            return page("login.html", HTTPStatus.UNAUTHORIZED, next=following, problem=str(error))
        except TooManyFailedLogins as error:
            refused = page("login.html", HTTPStatus.TOO_MANY_REQUESTS, next=following, problem=str(error))
            refused.headers["Retry-After"] = str(error.retry_after_s)
            return refused
        answer = see_other(following)
        answer.set_cookie(
            cookie_name(request),
            session,
            max_age=SESSION_S,
            path=_PAGES,
            secure=request.is_secure,
            httponly=True,
            samesite="Strict",
        )
        return answer

    @blueprint.post("/ui/logout")
    def sign_out() -> Response:
        """End the session in this browser."""
        answer = see_other(LOGIN)
        answer.delete_cookie(cookie_name(request), path=_PAGES, secure=request.is_secure, httponly=True)
        return answer


def _next(address: str) -> str:
    """Return the page that somebody wanted who has to sign in first; never one of another server."""
    is_ours = address.startswith(_PAGES) and address.isprintable() and not address.startswith(LOGIN)
    return address if is_ours else _PAGES
