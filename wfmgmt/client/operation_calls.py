"""Requests about operations."""

from http import HTTPStatus
from typing import Unpack
from urllib.parse import quote

from wfmgmt.client.answers import Accepted
from wfmgmt.client.call import Answer, Call, WriteOptions, reader, reading, writing
from wfmgmt.client.errors import OperationNotFound
from wfmgmt.client.operations import Operation, Operations, State


def operations(
    *,
    state: State | None = None,
    kind: str | None = None,
    workflow: str | None = None,
    after: int | None = None,
    limit: int | None = None,
) -> Call[Operations]:
    """List operations, the newest first.

    Args:
        state: Of those wanted.
        kind: Of those wanted: `register`, `scale`, `release` or `apply`.
        workflow: Which they work on.
        after: The `next_after` of the page before.
        limit: Operations at most, 1 to 1000; 100 unless given.
    """
    query = {"state": state, "kind": kind, "workflow": workflow, "after": after, "limit": limit}
    return reading("/operations", reader(Operations), **query)


def last_operation(workflow: str, *, version: str | None = None) -> Call[Operation]:
    """Return the last operation on a workflow, or on one version, that is under way; the last one at all if none is.

    Raises:
        OperationNotFound: When the answer is read: none is known.
    """
    read_page = reader(Operations)

    def read(answer: Answer) -> Operation:
        page: Operations = read_page(answer)
        found = [each for each in page.operations if version in (None, each.version)]
        if not found:
            what = workflow if version is None else f"{workflow}/{version}"
            message = f"No operation on {what} is known."
            raise OperationNotFound(status=HTTPStatus.NOT_FOUND, message=message, body=answer.body)
        return next((each for each in found if not each.done), found[0])

    return reading("/operations", read, workflow=workflow)


def operation(uid: str, *, wait_s: int | None = None) -> Call[Operation]:
    """Return one operation; once it is done, or after a time, if that is given."""
    return reading(f"/operations/{quote(uid, safe='')}", reader(Operation), wait=wait_s)


def cancel(uid: str, **options: Unpack[WriteOptions]) -> Call[Accepted]:
    """Cancel an operation; nothing of it is left when it is done."""
    return writing("POST", f"/operations/{quote(uid, safe='')}/cancel", reader(Accepted), **options)
