"""The requests about tokens; they belong to those of `calls`."""

from collections.abc import Sequence
from typing import Unpack
from urllib.parse import quote

from wfmgmt.client.answers import Status
from wfmgmt.client.call import Call, WriteOptions, given, reader, reading, writing
from wfmgmt.client.tokens import Caller, CreatedToken, Role, Token, Tokens


def whoami() -> Call[Caller]:
    """Say who the client is, and what it may do."""
    return reading("/whoami", reader(Caller))


def tokens() -> Call[tuple[Token, ...]]:
    """List all tokens, also those that are not accepted any more."""
    read = reader(Tokens)
    return reading("/tokens", lambda answer: read(answer).tokens)


def create_token(
    name: str,
    role: Role,
    *,
    workflows: Sequence[str] = (),
    expires: str | None = None,
    note: str | None = None,
    **options: Unpack[WriteOptions],
) -> Call[CreatedToken]:
    """Make a token. The secret is in this answer only.

    Args:
        name: What to call it; no token may have been called so before.
        role: What its owner may do.
        workflows: Patterns of the names of workflows that it may do that with; all unless given.
        expires: How long it is accepted, like `90d` or `12h`; for ever unless given.
        note: What it is for.
        options: What every change takes.
    """
    query = given(name=name, role=role, workflows=",".join(workflows) or None, expires=expires, note=note)
    return writing("POST", "/tokens", reader(CreatedToken), query=query, **options)


def revoke_token(name: str, **options: Unpack[WriteOptions]) -> Call[Status]:
    """Have a token accepted no more, within a second."""
    return writing("DELETE", f"/tokens/{quote(name, safe='')}", reader(Status), **options)
