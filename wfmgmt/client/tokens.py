"""Tokens as the service shows them, as frozen values."""

from datetime import datetime
from typing import Literal

from pydantic.dataclasses import dataclass

from wfmgmt.client.call import CAMEL_CASE

Role = Literal["predict", "view", "audit", "operate", "register", "admin"]


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Caller:
    """Who the client is, and what it may do.

    Attributes:
        actor: What the audit trail calls it.
        role: What it may do; None for nothing.
        workflows: Patterns of the names of workflows that it may do that with.
        expires_at: When its token expires, if it does.
    """

    actor: str
    role: Role | None
    workflows: tuple[str, ...]
    expires_at: datetime | None


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Token:
    """A token without its secret.

    Attributes:
        name: What it is called; the actor of its requests is `token:` and this.
        prefix: Its first characters.
        role: What its owner may do.
        workflows: Patterns of the names of workflows that it may do that with.
        created_at: When it was made.
        created_by: By whom.
        expires_at: When it stops being accepted, if it does.
        last_used_at: When it was accepted last, to the minute.
        revoked_at: When it was revoked, if it was.
        revoked_by: By whom.
        note: What it is for.
    """

    name: str
    prefix: str
    role: Role
    workflows: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    note: str


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class CreatedToken(Token):
    """A token that was made, with its secret, which the service shows once."""

    token: str


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Tokens:
    """All tokens."""

    tokens: tuple[Token, ...]
