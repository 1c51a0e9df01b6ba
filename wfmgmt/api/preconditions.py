"""Revisions of workflows as entity tags: `ETag`, `If-Match` and `If-None-Match`."""

import re
from collections.abc import Container
from http import HTTPStatus

from flask import Request, Response

from wfmgmt.api.parameters import Parameters
from wfmgmt.services.changes import AnyRevision
from wfmgmt.services.operations import MAX_WAIT_S

#: A tag of ours has one form, and no more digits than a database can hold.
_ASYNCHRONOUS, _WAIT = "respond-async", "wait="
_REVISION = re.compile("[1-9][0-9]{0,17}")


def etag(value: int | str) -> str:
    """Return the entity tag of a revision, or of a digest."""
    return f'"{value}"'


def expected_revisions(request: Request) -> Container[int | None] | None:
    """Return at which revisions a change may be made; None when the request has no condition.

    `*` stands for any, and a tag that is none of ours for no revision at all. Quotes may be missing, as in a shell.
    """
    if "If-Match" not in request.headers:
        return None
    tags = request.if_match
    if tags.star_tag:
        return AnyRevision()
    return frozenset(int(tag) for tag in tags.as_set() if _REVISION.fullmatch(tag or ""))


def preferred_wait_s(request: Request) -> float | None:
    """Return how long a client wants to wait for an answer that may come later; None when it waits for the end.

    Preferences that are not known are ignored, as RFC 7240 has it.
    """
    preferences = [each.strip() for each in request.headers.get("Prefer", "").lower().split(",")]
    waits = [int(each[len(_WAIT) :]) for each in preferences if re.fullmatch(f"{_WAIT}[0-9]{{1,9}}", each)]
    if not waits and _ASYNCHRONOUS not in preferences:
        return None
    return min(waits[0], MAX_WAIT_S) if waits else 0.0


def later_wait_s(request: Request, parameters: Parameters) -> float | None:
    """Return how long to wait for what may be carried out later; None when the client waits for the end."""
    wait_s = preferred_wait_s(request)
    return 0.0 if wait_s is None and parameters.flag("synchronous") is False else wait_s


def with_etag(request: Request, answer: Response, value: int | str) -> Response:
    """Return the answer to a GET with its entity tag, or that the client has it already."""
    if "If-None-Match" in request.headers and request.if_none_match.contains_weak(str(value)):
        answer = Response(status=HTTPStatus.NOT_MODIFIED)
    answer.headers["ETag"] = etag(value)
    return answer
