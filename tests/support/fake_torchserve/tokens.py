"""The keys of a fake's clients, which it writes into a file and asks for."""

import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.fake_torchserve.answers import OwnError

MANAGEMENT, INFERENCE, API = "management", "inference", "API"
_LIFE = timedelta(minutes=60)


class Tokens:
    """Keys that requests have to show.

    Args:
        folder: Where `key_file.json` is written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "key_file.json"
        self._keys: dict[str, str] = {}
        self._expire_at: dict[str, datetime] = {}
        for kind in (MANAGEMENT, INFERENCE, API):
            self._renew(kind)
        self._write()

    def authorize(self, kind: str, header: str | None) -> None:
        """Check the header of a request.

        Raises:
            OwnError: It is not the key of this kind, or no longer.
        """
        if header != f"Bearer {self._keys[kind]}" or self._expire_at[kind] <= datetime.now(UTC):
            act = "Authentication" if kind == API else "Authorization"
            raise _invalid_key(act)

    def rotate(self, kind: str | None, header: str | None) -> None:
        """Replace a key, as `GET /token` does: the new one is in the file only, the old one is dead.

        Raises:
            OwnError: The header does not show the API's key, or there are no keys of this kind.
        """
        self.authorize(API, header)
        if kind not in {MANAGEMENT, INFERENCE}:
            raise _invalid_key("Authentication")
        self._renew(kind)
        self._write()

    def expire(self, kind: str) -> None:
        """Let the time of a key be over."""
        self._expire_at[kind] = datetime.now(UTC)

    def _renew(self, kind: str) -> None:
        self._keys[kind] = secrets.token_urlsafe(6)
        self._expire_at[kind] = datetime.max.replace(tzinfo=UTC) if kind == API else datetime.now(UTC) + _LIFE

    def _write(self) -> None:
        content = {
            kind: {"key": key, "expiration time": self._expire_at[kind].strftime("%Y-%m-%dT%H:%M:%S.%f000Z")}
            for kind, key in self._keys.items()
        }
        del content[API]["expiration time"]
        self.path.touch(mode=0o600)
        self.path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _invalid_key(act: str) -> OwnError:
    message = f"Token {act} failed. Token either incorrect, expired, or not provided correctly"
    return OwnError(400, "InvalidKeyException", message)
