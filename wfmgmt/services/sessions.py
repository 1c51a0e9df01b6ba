"""Sessions of people at the page: they sign in with a token once, and a cookie stands for it then.

A session is a text that is signed with a key of the installation and names the token, so nothing is kept of it, and any
web worker can read it. It ends with its token, or after eight hours. The token itself is not in it.
"""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from wfmgmt.domain.access import ACTOR_PREFIX, Caller
from wfmgmt.services.access import Access

#: How long a session lasts.
SESSION_S = 8 * 3600
_KEY_BYTES = 32


class Sessions:
    """Begins sessions and recognises them. Thread-safe.

    Args:
        access: Has the tokens.
        key_file: Has the key, which is made when the first session begins; without it all sessions have ended.
        clock: Seconds since the epoch.
    """

    def __init__(self, access: Access, key_file: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._access = access
        self._key_file = key_file
        self._clock = clock
        self._key_read = b""

    def begin(self, token: str, *, address: str) -> str:
        """Return a session of who shows a token.

        Raises:
            CredentialsRefused, TooManyFailedLogins, RegistryUnavailable: As for a request that shows it.
            OSError: The key cannot be written.
        """
        caller = self._access.caller(f"Bearer {token}", address=address)
        content = f"{int(self._clock()) + SESSION_S}.{secrets.token_hex(8)}.{caller.shown.removeprefix(ACTOR_PREFIX)}"
        return f"{self._signature('session', content)}.{content}"

    def caller(self, session: str) -> Caller | None:
        """Return whose session this is; None when it is none, or has ended.

        Raises:
            RegistryUnavailable: The tokens cannot be read.
        """
        signature, _, content = session.partition(".")
        expires_at, _, rest = content.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature("session", content).encode()):
            return None
        return self._access.named(rest.partition(".")[2]) if self._clock() < int(expires_at) else None

    def form_token(self, owner: str) -> str:
        """Return what forms carry that are made for a session, or a client, so that no other page can send them."""
        return self._signature("form", owner)

    def is_form_token(self, shown: str, owner: str) -> bool:
        """Return whether a form was made for this session or client."""
        return hmac.compare_digest(shown.encode(), self.form_token(owner).encode())

    def _signature(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}\n{text}".encode(), hashlib.sha256).hexdigest()

    @property
    def _key(self) -> bytes:
        if not self._key_read:
            self._key_read = self._key_of_file()
        return self._key_read

    def _key_of_file(self) -> bytes:
        """Return the key that all web workers have; the file appears whole, whichever of them makes it."""
        with suppress(FileNotFoundError):
            if len(key := self._key_file.read_bytes()) == _KEY_BYTES:
                return key
            self._key_file.unlink()  # Anybody could sign with an empty one.
        new = self._key_file.with_name(f"{self._key_file.name}.{secrets.token_hex(8)}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(new, self._key_file)
        finally:
            new.unlink()
        return self._key_file.read_bytes()
