"""Tokens: made, shown once, listed and revoked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from wfmgmt.domain.access import Role, Scope
from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome
from wfmgmt.domain.plans import Plan, PlanAction
from wfmgmt.domain.tokens import Token, has_token, new_token, token_prefix, token_sha256
from wfmgmt.errors import BadRequest
from wfmgmt.errors.access import TokenExists, TokenNotFound
from wfmgmt.registry.reading import Reader
from wfmgmt.registry.registry import Registry, timestamp
from wfmgmt.services.changes import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """A token that is to be made.

    Attributes:
        name: What to call it.
        role: What its owner may do.
        scope: With which workflows.
        expires_at: When it stops being accepted; None for never.
        note: What it is for; may be empty.
    """

    name: str
    role: Role
    scope: Scope
    expires_at: datetime | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """A token that was made, and the secret, which is not kept."""

    token: Token
    secret: str


class Tokens:
    """Makes and revokes tokens. Thread-safe.

    Args:
        registry: The registry.
        on_created: Called after a token was made.
    """

    def __init__(self, registry: Registry, *, on_created: Callable[[], None] = lambda: None) -> None:
        self._registry = registry
        self._on_created = on_created

    def create(self, wanted: TokenRequest, change: Change) -> Created:
        """Make a token.

        Raises:
            TokenExists: Another one has the name, or had it.
            BadRequest: There is a token in the name or the note.
        """
        _check(wanted)
        secret = new_token()
        token = Token(
            id=0,
            name=wanted.name,
            prefix=token_prefix(secret),
            sha256=token_sha256(secret),
            role=wanted.role,
            scope=wanted.scope,
            note=wanted.note,
            created_at="",
            created_by=change.origin.actor,
            expires_at=None if wanted.expires_at is None else timestamp(wanted.expires_at),
            last_used_at=None,
            revoked_at=None,
            revoked_by=None,
        )
        change.check_plan(_plan(PlanAction.CREATE, wanted.name))
        with self._registry.write() as writer:
            token = writer.tokens.add(token)
            writer.record_change()
            detail = {
                "token": token.name,
                "prefix": token.prefix,
                "role": token.role.value,
                "workflows": str(token.scope),
                "expires_at": token.expires_at,
                "note": token.note,
            }
            writer.record(_event(AuditAction.TOKEN_CREATE, detail, change))
        self._on_created()
        return Created(token=token, secret=secret)

    def plan_to_create(self, wanted: TokenRequest, change: Change) -> Plan:
        """Return what `create` would do.

        Raises:
            TokenExists: Another token has the name, or had it.
            BadRequest: There is a token in the name or the note.
        """
        _check(wanted)
        with self._registry.read() as reader:
            if reader.tokens.named(wanted.name) is not None:
                raise TokenExists(wanted.name)
        plan = _plan(PlanAction.CREATE, wanted.name)
        change.check_plan(plan)
        return plan

    def revoke(self, name: str, change: Change) -> Token:
        """Have a token accepted no more, within a second; one that is revoked already stays as it is.

        Raises:
            TokenNotFound: There is none of that name.
        """
        plan = self.plan_to_revoke(name, change)
        with self._registry.write() as writer:
            if plan.action is not PlanAction.NONE:
                writer.tokens.revoke(name, change.origin.actor)
                writer.record_change()
                detail = {"token": name, "prefix": _named(writer, name).prefix}
                writer.record(_event(AuditAction.TOKEN_REVOKE, detail, change))
            token = _named(writer, name)
            change.on_made(writer, token)
        return token

    def plan_to_revoke(self, name: str, change: Change) -> Plan:
        """Return what `revoke` would do.

        Raises:
            TokenNotFound: There is no token of that name.
        """
        with self._registry.read() as reader:
            token = _named(reader, name)
        plan = _plan(PlanAction.REMOVE if token.revoked_at is None else PlanAction.NONE, name)
        change.check_plan(plan)
        return plan

    def all(self) -> Sequence[Token]:
        """Return all tokens, the oldest first, also those that are not accepted any more."""
        with self._registry.read() as reader:
            return reader.tokens.all()


def _named(reader: Reader, name: str) -> Token:
    token = reader.tokens.named(name)
    if token is None:
        raise TokenNotFound(name)
    return token


def _plan(action: PlanAction, name: str) -> Plan:
    return Plan(action=action, workflow="", uid=name, routes_before={}, routes_after={})


def _event(action: AuditAction, detail: Mapping[str, str | None], change: Change) -> AuditEvent:
    return AuditEvent(
        origin=change.origin,
        action=action,
        workflow="",
        outcome=AuditOutcome.SUCCEEDED,
        detail={**{name: value for name, value in detail.items() if value}, **change.stated_reason},
    )


def _check(wanted: TokenRequest) -> None:
    """Refuse to keep a token where it would be shown."""
    if has_token(wanted.name) or has_token(wanted.note):
        raise BadRequest("The name or the note has a token in it, which would be kept and shown; revoke that one.")
