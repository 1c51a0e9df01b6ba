"""Errors about who may do what.

WfmgmtError
├── CredentialsRefused          no token that is accepted, where one is needed
├── Forbidden                   a token without the right
├── TokenExists                 a token has that name, or had it
├── TokenNotFound               no token has that name
├── EventNotFound               the audit trail has no such event
└── TooManyFailedLogins         too many refused tokens from one address
"""

from wfmgmt.errors import Unavailable, WfmgmtError


class CredentialsRefused(WfmgmtError):
    """A request shows no token that is accepted, where one is needed.

    The text is TorchServe's, and says the same for a token that is malformed, unknown, expired or revoked.
    """

    def __init__(self) -> None:
        super().__init__("Token Authorization failed. Token either incorrect, expired, or not provided correctly")


class Forbidden(WfmgmtError):
    """A client may not do what it asks for."""


class TokenExists(WfmgmtError):
    """A token has that name, or had it: the audit trail names it, so it is not given again."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"A token was called {name} already; names are not used again, since the audit trail has them."
        )


class TokenNotFound(WfmgmtError):
    """No token has that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Token not found: {name}")


class EventNotFound(WfmgmtError):
    """The audit trail has no event of that number, or a file has it by now."""

    def __init__(self, number: int, *, archived_in: str = "") -> None:
        archived = f"; it was archived, and is in the file {archived_in}" if archived_in else ""
        super().__init__(f"Event not found: {number}{archived}")


class TooManyFailedLogins(Unavailable):
    """Too many tokens from one address were refused within a minute."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("Too many refused tokens came from this address; try again later.")
        self.retry_after_s = retry_after_s
