"""Tokens: secrets that clients show, of which only digests are kept.

A token is `wfm_`, 30 random characters and six that are a checksum of those: what was mistyped, cut off or made up is
refused without a look into the database, and scanners find tokens that were committed by accident.

Source:
    GitHub, "Behind GitHub's new authentication token formats" (prefix, base 62, CRC-32).
"""

import hashlib
import math
import re
import secrets
import string
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from wfmgmt.domain.access import ACTOR_PREFIX, Caller, Role, Scope

PREFIX = "wfm_"
NAME_FORM = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_CHARS, _CHECKSUM_CHARS = 30, 6
_TOKEN = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{_RANDOM_CHARS}}})([0-9A-Za-z]{{{_CHECKSUM_CHARS}}})")
#: Characters of a token that are kept, by which its owner recognises it.
_SHOWN_CHARS = len(PREFIX) + 4
_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is kept of a token; times are texts as the database has them.

    Attributes:
        id: Number of its row.
        name: What it is called; the actor of its requests is `token:` and this.
        prefix: Its first characters.
        sha256: The digest of all of it.
        role: What its owner may do.
        scope: With which workflows.
        note: What it is for; may be empty.
        created_at: When it was made.
        created_by: By whom.
        expires_at: When it stops being accepted; None when it does not.
        last_used_at: When it was accepted last, to the minute; None when it never was.
        revoked_at: When it was revoked; None when it was not.
        revoked_by: By whom; None likewise.
    """

    id: int
    name: str
    prefix: str
    sha256: str
    role: Role
    scope: Scope
    note: str
    created_at: str
    created_by: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None
    revoked_by: str | None

    @property
    def expires_at_s(self) -> float:
        """When it stops being accepted, as seconds since the epoch; infinity when it does not."""
        return math.inf if self.expires_at is None else datetime.fromisoformat(self.expires_at).timestamp()

    @property
    def caller(self) -> Caller:
        """Who shows it."""
        return Caller(shown=f"{ACTOR_PREFIX}{self.name}", role=self.role, scope=self.scope, expires_at=self.expires_at)


def new_token() -> str:
    """Return a new token."""
    return token_of("".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARS)))


def token_of(random: str) -> str:
    """Return the token with these random characters."""
    return f"{PREFIX}{random}{_checksum(random)}"


def is_token(text: str) -> bool:
    """Return whether a text has the form of a token, and its checksum fits."""
    found = _TOKEN.fullmatch(text)
    return found is not None and _checksum(found[1]) == found[2]


def has_token(text: str) -> bool:
    """Return whether there is a token somewhere in a text."""
    return any(_checksum(found[1]) == found[2] for found in _TOKEN.finditer(text))


def token_sha256(token: str) -> str:
    """Return the digest under which a token is kept, in hexadecimal digits.

    A token has 178 random bits, so nothing slower than SHA-256 is needed to keep it from being guessed.
    """
    return hashlib.sha256(token.encode()).hexdigest()


def token_prefix(token: str) -> str:
    """Return the part of a token that may be shown."""
    return token[:_SHOWN_CHARS]


def expiry(text: str, now: datetime) -> datetime:
    """Return when a token expires, of a time to live like `90d`, `12h`, `30m`, `60s`.

    Raises:
        ValueError: The text is none; the message says what is expected.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"expected a time like 90d, 12h, 30m or 60s, got {text!r}")
    try:
        return now.astimezone(UTC) + timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError as error:
        raise ValueError(f"{text!r} ends after the year 9999") from error


def _checksum(random: str) -> str:
    """Return the CRC-32 of a text in base 62."""
    value, digits = zlib.crc32(random.encode()), ""
    for _ in range(_CHECKSUM_CHARS):
        value, digit = divmod(value, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
