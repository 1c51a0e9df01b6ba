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
    """Return for whom forms are made: for a session, or for the client where there is none."""
    return session_of(request) or caller().actor


def may_be_a_browser(request: Request) -> bool:
    """Return whether another page may have made a browser send a request, to which a proxy may have added a token."""
    return "Authorization" not in request.headers or "Origin" in request.headers or "Sec-Fetch-Site" in request.headers
