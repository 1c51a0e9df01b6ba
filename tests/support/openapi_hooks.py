"""What Schemathesis has to know beside the description: rules that OpenAPI 3.0 cannot state.

They are documented in words; most are answered with a 400 of their own.
"""

from http import HTTPStatus
from typing import Any

import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response

_Case = schemathesis.Case[Any]
_RULES = (
    "Parameter url is required.",  # In the query or in the body.
    "Parameter action is required",
    "Expected min_worker or max_worker, or both.",
    "Expected one of min_worker, max_worker",
    "Expected a routing table",
    "max_worker cannot be less than min_worker.",
    "has no model whose workers could be scaled.",
    *("PreconditionFailedException", "IdempotencyKeyReusedException", "Header Idempotency-Key"),
    # Parts of a routing table that have to fit each other.
    *(
        "is required.",
        "add up to",
        "is in routes twice",
        "has a share in routes",
        "the default version",
        "guard: ",
        "steps",
    ),
    *("paused: ", "traffic: unknown key", "mirror.", "weight: expected at most", "sticky.header: ", "routes: "),
    "Parameters next_page_token and after: give one of them, not both.",
    "Parameters state and after: give one of them, not both;",
    # Archives: their form, their names, which depend on the store, and digests that they have to have.
    *("The body is not an archive: ", "File name ", "DigestMismatchException", "Header Repr-Digest: "),
    "of the multipart body has no name; expected a form field.",
    "The multipart body cannot be read: part 1 has no head of its own.",  # That is how a form without fields is sent.
)


@schemathesis.hook
def filter_case(_context: object, case: _Case) -> bool:
    """Return whether to send a request: not one with two names, since links follow the one that does not count."""
    return "workflow_name" not in _overridden(case)


@schemathesis.hook
def filter_failure(_context: object, _failure: Failure, case: _Case, response: Response) -> bool:
    """Return whether a failure counts."""
    if _overridden(case) or case.path_parameters.get("name") == "":  # A link follows an empty name to another path.
        return False
    if response.status_code == HTTPStatus.REQUEST_URI_TOO_LONG:  # Several texts in the query, each of which is allowed.
        return False
    return response.status_code not in {400, 412, 422} or not any(rule in response.text for rule in _RULES)


def _overridden(case: _Case) -> set[str]:
    """Return the parameters of the query that do not count, as the body has them, too."""
    return set(case.query) & set(case.body) if isinstance(case.body, dict) else set()
