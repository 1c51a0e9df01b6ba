"""Who a request comes from, found out from the token that it shows."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from wfmgmt.domain.access import Caller, Role
from wfmgmt.domain.tokens import Token, is_token, token_sha256
from wfmgmt.errors.access import CredentialsRefused
from wfmgmt.http.credentials import shown_token
from wfmgmt.http.failed_logins import FailedLogins, reason_of
from wfmgmt.registry.registry import Registry, timestamp, utc_now

#: How long a token that was revoked may still be accepted.
KEPT_S = 0.5
#: How often it is recorded that a token is used.
USED_S = 60.0
_MAX_KEPT = 1000


class _Kept(NamedTuple):
    """A token, and until when it need not be looked up again."""

    token: Token
    until: float


class Access:
    """Finds out who requests come from. Thread-safe.

    Args:
        registry: Has the tokens.
        failed: Counts tokens that are refused.
        anonymous: What requests without a token may do; None for nothing.
        until_first_token: Whether they may do everything as long as there has never been a token.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        failed: FailedLogins,
        anonymous: Role | None = None,
        until_first_token: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._failed = failed
        self._anonymous = Caller(role=anonymous)
        self._until_first_token = until_first_token
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._looked_at = -KEPT_S
        self._used: dict[int, float] = {}
        self._unrecorded: set[int] = set()

    def caller(self, authorization: str | None, *, address: str) -> Caller:
        """Return who a request comes from.

        Args:
            authorization: The value of its header `Authorization`; None without one.
            address: Where it comes from.

        Raises:
            CredentialsRefused: What it shows is no token that is accepted.
            TooManyFailedLogins: The same, and that was so too often lately.
            RegistryUnavailable: The tokens cannot be read.
        """
        if authorization is None:
            return self.anonymous()
        shown = shown_token(authorization)
        token = None if shown is None or not is_token(shown) else self._valid(token_sha256(shown))
        if token is None:
            self._failed.record(address, reason_of(shown))
            raise CredentialsRefused
        return token.caller

    def former(self, authorization: str | None) -> str:
        """Return what the audit trail calls who shows a token that is not accepted any more; empty for all others.

        Raises:
            RegistryUnavailable: The tokens cannot be read.
        """
        shown = None if authorization is None else shown_token(authorization)
        if shown is None or not is_token(shown):
            return ""
        with self._registry.read() as reader:
            token = reader.tokens.known(token_sha256(shown))
        return "" if token is None else token.caller.actor

    def named(self, name: str) -> Caller | None:
        """Return who shows the token of a name; None when there is none that is accepted.

        For those who were let in by that token and cannot show it again.

        Raises:
            RegistryUnavailable: The tokens cannot be read.
        """
        with self._registry.read() as reader:
            token = reader.tokens.named(name)
        if token is None or token.revoked_at is not None or _has_expired(token):
            return None
        with self._lock:
            self._unrecorded.add(token.id)
        return token.caller

    def anonymous(self) -> Caller:
        """Return what a request without a token may do.

        Raises:
            RegistryUnavailable: It is not known whether there are tokens.
        """
        if self._until_first_token and self._clock() - self._looked_at >= KEPT_S:
            with self._registry.read() as reader:
                if reader.tokens.any():
                    self._until_first_token = False  # For good: tokens are revoked, and never removed.
            self._looked_at = self._clock()
        return Caller(role=Role.ADMIN) if self._until_first_token else self._anonymous

    def _valid(self, sha256: str) -> Token | None:
        now = self._clock()
        kept = self._kept.get(sha256)
        if kept is None or kept.until <= now or _has_expired(kept.token):
            with self._registry.read() as reader:
                token = reader.tokens.valid(sha256, timestamp(utc_now()))
            if token is None:
                self._kept.pop(sha256, None)
                return None
            kept = _Kept(token, now + KEPT_S)
            with self._lock:
                self._kept[sha256] = kept
                if len(self._kept) > _MAX_KEPT:
                    self._kept.popitem(last=False)
        if now - self._used.get(kept.token.id, -USED_S) >= USED_S:
            with self._lock:
                self._used[kept.token.id] = now
                self._unrecorded.add(kept.token.id)
        return kept.token

    def end_anonymous_access(self) -> None:
        """Let requests without a token do no more than the setting says."""
        self._until_first_token = False

    def record_uses(self) -> None:
        """Record which tokens were used lately. For one thread of a process.

        Raises:
            RegistryUnavailable, InsufficientStorage: That cannot be done; it is done the next time.
        """
        with self._lock:
            ids = list(self._unrecorded)
        if ids:
            with self._registry.write(is_durable=False) as writer:
                writer.tokens.record_uses(ids)
            with self._lock:
                self._unrecorded.difference_update(ids)


def _has_expired(token: Token) -> bool:
    return token.expires_at is not None and token.expires_at <= timestamp(utc_now())
