"""Who requests to the inference address come from, by the tokens of the registry, which are kept in memory."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from wfmgmt.backoff import Backoff
from wfmgmt.domain.access import Caller, Role
from wfmgmt.domain.tokens import Token, token_sha256
from wfmgmt.errors import RegistryUnavailable, WfmgmtError
from wfmgmt.errors.access import CredentialsRefused
from wfmgmt.http.credentials import shown_token
from wfmgmt.http.failed_logins import FailedLogins, reason_of

_log = logging.getLogger("wfmgmt.inference")

#: How often it is looked whether tokens have changed, how often they are read in any case, and pauses after failures.
LOOK_S, READ_S, MAX_PAUSE_S = 0.5, 60.0, 5.0
#: How often it is recorded which tokens are used.
RECORD_S = 60.0
#: Headers whose tokens are remembered; one token can be shown in more than one way.
_MAX_SHOWN = 1000


class TokenView(Protocol):
    """The tokens in the registry, as the runtime uses them. Blocking, so it is called in threads; thread-safe."""

    def last_change(self) -> int:
        """Return the number of the registry's last change.

        Raises:
            WfmgmtError: The database cannot be read.
        """

    def tokens(self) -> tuple[Sequence[Token], bool]:
        """Return the tokens that are accepted, and whether there has ever been one.

        Raises:
            WfmgmtError: The database cannot be read.
        """

    def record_uses(self, ids: Sequence[int]) -> None:
        """Write down that tokens were used.

        Raises:
            WfmgmtError: The database cannot be written.
        """


class _Accepted(NamedTuple):
    """A token that is accepted: who shows it, the number of its row, and until when as seconds since the epoch."""

    caller: Caller
    id: int
    until: float


class InferenceTokens:
    """Decides about requests without a look into the database. For the event loop only.

    Args:
        view: The tokens.
        failed: Counts tokens that are refused.
        anonymous: What requests without a token may do; None for nothing.
        until_first_token: Whether they may do everything as long as there has never been a token.
        has_open_predictions: Whether predictions need no token.
        has_open_metrics: Whether metrics need no token.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        view: TokenView,
        *,
        failed: FailedLogins,
        anonymous: Role | None,
        until_first_token: bool,
        has_open_predictions: bool,
        has_open_metrics: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._view = view
        self._failed = failed
        self._anonymous = Caller(role=anonymous)
        self._until_first_token = until_first_token
        self.has_open_predictions = has_open_predictions
        self.has_open_metrics = has_open_metrics
        self._clock = clock
        self._accepted: dict[str, _Accepted] | None = None
        #: Digests of what was shown since tokens were read: each request of a client shows the same, and to read it
        #: takes a while. The secrets themselves are kept nowhere.
        self._shown: dict[bytes, _Accepted] = {}
        self._has_tokens = True
        self._read_change, self._read_at = -1, 0.0
        self._used: set[int] = set()

    def caller(self, authorizations: Sequence[str], address: Callable[[], str]) -> Caller:
        """Return who a request comes from.

        Args:
            authorizations: The values of its headers `Authorization`.
            address: Gives where it comes from, which only refusals need.

        Raises:
            CredentialsRefused: What it shows is no token that is accepted.
            TooManyFailedLogins: The same, and that was so too often lately.
            RegistryUnavailable: The tokens could not be read yet.
        """
        if not authorizations:
            return self.anonymous
        if self._accepted is None:
            raise RegistryUnavailable("The tokens could not be read yet; try again later.")
        authorization = ",".join(authorizations)
        digest = hashlib.sha256(authorization.encode("utf-8", "surrogatepass")).digest()
        found = self._shown.get(digest) or self._find(authorization, digest, self._accepted)
        if found is None or found.until <= self._clock():
            self._failed.record(address(), reason_of(shown_token(authorization)))
            raise CredentialsRefused
        self._used.add(found.id)
        return found.caller

    def _find(self, authorization: str, digest: bytes, accepted: Mapping[str, _Accepted]) -> _Accepted | None:
        """Return the token that a header shows, if it is accepted, and remember that."""
        shown = shown_token(authorization)
        found = None if shown is None else accepted.get(token_sha256(shown))
        if found is not None and len(self._shown) < _MAX_SHOWN:
            self._shown[digest] = found
        return found

    @property
    def anonymous(self) -> Caller:
        """What a request without a token may do."""
        if self._until_first_token and not self._has_tokens:
            return Caller(role=Role.ADMIN)
        return self._anonymous

    async def keep_current(self) -> None:
        """Follow the registry, for as long as the runtime runs. It reads only: a write may have to wait for others."""
        backoff = Backoff(LOOK_S, MAX_PAUSE_S)
        while True:
            pause_s = LOOK_S if await self.try_to_look() else backoff.next_pause()
            if pause_s == LOOK_S:
                backoff.reset()
            await asyncio.sleep(pause_s)

    async def try_to_look(self) -> bool:
        """Read the tokens if need be; return False when that is not possible, so that those that are known stay."""
        try:
            await self.look()
        except WfmgmtError as error:
            _log.warning("the tokens cannot be read, so those that are known stay: %s", error)
            return False
        return True

    async def look(self) -> None:
        """Read the tokens if the registry has changed, and now and then in any case.

        Raises:
            WfmgmtError: The database cannot be used.
        """
        change = await asyncio.to_thread(self._view.last_change)
        is_due = self._clock() - self._read_at >= READ_S
        if change == self._read_change and not is_due:
            return
        tokens, has_tokens = await asyncio.to_thread(self._view.tokens)
        self._accepted = {token.sha256: _Accepted(token.caller, token.id, token.expires_at_s) for token in tokens}
        self._shown = {}
        self._has_tokens = has_tokens
        self._read_change, self._read_at = change, self._clock()

    async def keep_recording_uses(self) -> None:
        """Record now and then which tokens are used, for as long as the runtime runs."""
        while True:
            await asyncio.sleep(RECORD_S)
            await self.record_uses()

    async def record_uses(self) -> None:
        """Record which tokens were used lately; those that cannot be recorded now are the next time."""
        used, self._used = self._used, set()
        if not used:
            return
        try:
            await asyncio.to_thread(self._view.record_uses, list(used))
        except WfmgmtError as error:
            self._used |= used
            _log.warning("the use of tokens cannot be recorded now: %s", error)
