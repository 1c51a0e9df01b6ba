"""Tokens for tests, with sensible defaults that a test overrides."""

from typing import Any

from wfmgmt.domain.access import EVERYTHING, Role
from wfmgmt.domain.tokens import Token, token_prefix, token_sha256


def make_token(name: str = "ci", secret: str = "", **overrides: Any) -> Token:
    """Return what is kept of a token."""
    values: dict[str, Any] = {
        "id": 1,
        "name": name,
        "prefix": token_prefix(secret or "wfm_abcd"),
        "sha256": token_sha256(secret or name),
        "role": Role.VIEW,
        "scope": EVERYTHING,
        "note": "",
        "created_at": "2026-11-27T00:00:00.000000Z",
        "created_by": "cli:ops",
        "expires_at": None,
        "last_used_at": None,
        "revoked_at": None,
        "revoked_by": None,
    }
    return Token(**{**values, **overrides})


def bearer(secret: str) -> dict[str, str]:
    """Return the header that shows a token."""
    return {"Authorization": f"Bearer {secret}"}
