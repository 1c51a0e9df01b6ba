"""Who may do what: roles, the workflows that they reach, and the clients that have them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from wfmgmt.errors import BadRequest
from wfmgmt.errors.access import CredentialsRefused, Forbidden

#: What the audit trail calls a client that shows no token.
ANONYMOUS = "anonymous"
#: What is before the name of a token in that of an actor.
ACTOR_PREFIX = "token:"
#: Names of workflows, in which `*` stands for any characters and `?` for one.
PATTERN_FORM = "[A-Za-z0-9._*?-]{1,128}"
MAX_PATTERNS = 100
_PATTERN = re.compile(PATTERN_FORM)


class Role(StrEnum):
    """What a client may do."""

    #: Send requests through workflows.
    PREDICT = "predict"
    #: Read what is registered and how it runs.
    VIEW = "view"
    #: Read the audit trail, too.
    AUDIT = "audit"
    #: Change how workflows run: workers, settings, releases; and cancel operations.
    OPERATE = "operate"
    #: Change what is registered: register, unregister, and the archives in the stores.
    REGISTER = "register"
    #: Everything, also tokens.
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """Return whether this role may do all that another one may."""
        return other in _INCLUDED[self]


_INCLUDED: Mapping[Role, frozenset[Role]] = {
    Role.PREDICT: frozenset({Role.PREDICT}),
    Role.VIEW: frozenset({Role.VIEW}),
    Role.AUDIT: frozenset({Role.VIEW, Role.AUDIT}),
    Role.OPERATE: frozenset({Role.PREDICT, Role.VIEW, Role.OPERATE}),
    Role.REGISTER: frozenset({Role.PREDICT, Role.VIEW, Role.OPERATE, Role.REGISTER}),
    Role.ADMIN: frozenset(Role),
}


@dataclass(frozen=True, slots=True)
class Scope:
    """A set of workflows, by their names.

    Attributes:
        patterns: Patterns of which a name has to fit one, as `PATTERN_FORM` says; None when every name does.
    """

    patterns: tuple[str, ...] | None = None

    @classmethod
    def of(cls, patterns: Iterable[str]) -> "Scope":
        """Return the scope of these patterns, each once; everything when there are none, or one is `*`.

        Raises:
            BadRequest: A text is no pattern, or there are too many.
        """
        found = tuple(dict.fromkeys(patterns))
        for each in found:
            if _PATTERN.fullmatch(each) is None:
                raise BadRequest(
                    f"Pattern {each!r}: expected the name of a workflow, in which * and ? stand for others."
                )
        if len(found) > MAX_PATTERNS:
            raise BadRequest(f"Expected {MAX_PATTERNS} patterns of workflows at most, got {len(found)}.")
        return cls(None if not found or "*" in found else found)

    def __contains__(self, workflow: str) -> bool:
        return self.patterns is None or any(fnmatchcase(workflow, pattern) for pattern in self.patterns)

    def __str__(self) -> str:
        return "*" if self.patterns is None else ",".join(self.patterns)


EVERYTHING = Scope()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The client that a request comes from.

    Attributes:
        shown: What it shows: `token:NAME`, or `anonymous` when it shows no token.
        user: Whom a trusted proxy names as its user; may be empty.
        role: What it may do; None when it may do nothing.
        scope: The workflows that it may do that with; all others do not exist for it.
        expires_at: When its token expires; None when that does not, or it has none.
    """

    shown: str = ANONYMOUS
    user: str = ""
    role: Role | None = None
    scope: Scope = EVERYTHING
    expires_at: str | None = None

    @property
    def actor(self) -> str:
        """What the audit trail calls it."""
        return f"{self.shown} ({self.user})" if self.user else self.shown

    @property
    def is_known(self) -> bool:
        """Whether it showed a token."""
        return self.shown != ANONYMOUS

    def may(self, role: Role) -> bool:
        """Return whether it may do what a role may."""
        return self.role is not None and self.role.includes(role)

    def sees(self, workflow: str) -> bool:
        """Return whether a list may name a workflow to it."""
        return self.may(Role.VIEW) and workflow in self.scope

    def check(self, role: Role) -> None:
        """Check that it may do what a role may.

        Raises:
            CredentialsRefused: It showed no token, and needs one.
            Forbidden: Its token is not enough.
        """
        if self.may(role):
            return
        if not self.is_known:
            raise CredentialsRefused
        raise Forbidden(f"{self.actor} has the role {self.role}, which is not enough; it takes {role}.")
