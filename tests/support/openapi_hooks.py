"""What Schemathesis has to know beside the description: rules that OpenAPI 3.0 cannot state.

They are documented in words, and answered with a 400 of their own.
"""

import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response

_RULES = (
    "Parameter url is required.",  # In the query or in the body.
    "Parameters next_page_token and after: give one of them, not both.",
    "of the multipart body has no name; expected a form field.",
    "The multipart body cannot be read: part 1 has no head of its own.",  # That is how a form without fields is sent.
)


@schemathesis.hook
def filter_failure(_context: object, _failure: Failure, _case: object, response: Response) -> bool:
    """Return whether a failure counts."""
    return response.status_code != 400 or not any(rule in response.text for rule in _RULES)
