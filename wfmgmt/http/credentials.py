"""The header `Authorization`, as far as it carries tokens."""

import re

_BEARER = re.compile("bearer +([!-~]+)", re.ASCII | re.IGNORECASE)


def shown_token(authorization: str) -> str | None:
    """Return what a header shows as a token, in ASCII, which need not be one; None without.

    Several headers of that name arrive as one, with commas, and show none.
    """
    found = _BEARER.fullmatch(authorization)
    return None if found is None else found[1]
