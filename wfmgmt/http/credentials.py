"""The header `Authorization`, as far as it carries tokens."""

import re

from wfmgmt.domain.tokens import is_token, token_sha256

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)


def shown_token(authorization: str) -> str | None:
    """Return the digest of the token that a header shows; None when it shows none that can exist.

    Several headers of that name arrive as one, with commas, and show none.
    """
    found = _BEARER.fullmatch(authorization)
    return token_sha256(found[1]) if found is not None and is_token(found[1]) else None
