"""The cookie of a session."""

from flask import Request


def cookie_name(request: Request) -> str:
    """Return what the cookie is called: browsers keep one jar for all ports of a host, so each service has its own."""
    return f"wfmgmt-{request.environ.get('SERVER_PORT', '')}"


def session_of(request: Request) -> str:
    """Return the session that a request is sent in; empty without one."""
    return request.cookies.get(cookie_name(request), "")
