"""The cookie of a session, and for whom forms are made."""

from flask import Request

from wfmgmt.api.access import caller


def cookie_name(request: Request) -> str:
    """Return what the cookie is called: browsers keep one jar for all ports of a host, so each service has its own."""
    return f"wfmgmt-{request.environ.get('SERVER_PORT', '')}"


def session_of(request: Request) -> str:
    """Return the session that a request is sent in; empty without one."""
    return request.cookies.get(cookie_name(request), "")


def form_owner(request: Request) -> str:
    """Return for whom forms are made: for the session that lets the client in, or for the client where none does.

    A cookie by itself may hold anything, so it stands for nobody.
    """
    is_in_session = "Authorization" not in request.headers and caller().is_known
    return f"session\n{session_of(request)}" if is_in_session else f"actor\n{caller().actor}"


def may_be_a_browser(request: Request) -> bool:
    """Return whether another page may have made a browser send a request, to which a proxy may have added a token."""
    return "Authorization" not in request.headers or "Origin" in request.headers or "Sec-Fetch-Site" in request.headers
