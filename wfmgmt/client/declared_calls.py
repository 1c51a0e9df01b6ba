"""Requests about declared state."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from wfmgmt.client.call import Call, given, reader, reading, writing
from wfmgmt.client.declared import ApplyResults, Drift, Drifted
from wfmgmt.client.operations import applied

_TAKES_S = 300.0


def apply(
    declaration: str | Mapping[str, Any],
    *,
    source: str | None = None,
    prune: bool | None = None,
    adopt: bool | None = None,
    dry_run: bool | None = None,
    reason: str | None = None,
    idempotency_key: str | None = None,
) -> Call[ApplyResults]:
    """Bring workflows to what is declared.

    Args:
        declaration: The text of a file, or the same as JSON: `{"wfmgmt": 1, "workflows": {…}}`.
        source: Where it is declared; `default` unless given. What comes from other sources is left alone.
        prune: Whether what comes from this source goes that is not declared any more.
        adopt: Whether workflows that come from elsewhere are taken over.
        dry_run: Whether only to find out what would be done.
        reason: Why, for the audit trail.
        idempotency_key: A key of the caller's own, under which it is done once, also by several calls.

    Raises:
        ConflictStatus: When the answer is read: some workflows could not be brought to what is declared.
    """
    query = given(source=source, prune=prune, adopt=adopt, dry_run=dry_run)
    text = declaration if isinstance(declaration, str) else json.dumps(declaration, ensure_ascii=False)
    call: Call[ApplyResults] = writing(
        "POST",
        "/apply",
        reader(ApplyResults),
        query=query,
        takes_s=_TAKES_S,
        reason=reason,
        idempotency_key=idempotency_key,
    )
    headers = {**call.headers, "Content-Type": "application/yaml"}
    return replace(call, headers=headers, body=text.encode(), of_operation=applied)


def drift() -> Call[tuple[Drifted, ...]]:
    """List what was changed by others since it was applied."""
    read = reader(Drift)
    return reading("/drift", lambda answer: read(answer).drift)
