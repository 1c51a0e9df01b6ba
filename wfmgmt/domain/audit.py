"""Audit events, and the chain of hashes that makes tampering visible."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from json.encoder import encode_basestring
from typing import Any, NamedTuple, Self

from wfmgmt.domain.redaction import redacted

#: What the first event of a chain names as its predecessor.
FIRST_PREVIOUS_HASH = "0" * 64
#: Longest text in the detail of an event; what comes from a client can be of any length.
MAX_TEXT_CHARS = 1000
#: Digits of a hash in a receipt.
RECEIPT_DIGITS = 16
#: The columns under the hash of an event, in the order of their names; the number is a text there, too.
HASHED = ("action", "actor", "address", "at", "detail", "id", "outcome", "request_id", "workflow")
_LINE = "{" + ",".join(f'"{name}":%s' for name in HASHED) + "}"


class AuditAction(StrEnum):
    """The kind of change that an audit event records."""

    REGISTER = "register"
    UNREGISTER = "unregister"
    REGISTER_VERSION = "register-version"
    UNREGISTER_VERSION = "unregister-version"
    SET_DEFAULT = "set-default"
    TRAFFIC = "traffic"
    ROLLBACK = "rollback"
    ROLLOUT = "rollout"
    GUARD = "guard"
    SCALE = "scale"
    UPDATE = "update"
    RESET = "reset"
    UPLOAD = "upload"
    REMOVE_ARCHIVE = "remove-archive"
    APPLY = "apply"
    IMPORT = "import"
    TOKEN_CREATE = "token-create"  # noqa: S105 - an action, no secret
    TOKEN_REVOKE = "token-revoke"  # noqa: S105 - likewise
    RECONCILE = "reconcile"
    CANCEL = "cancel"
    ARCHIVE = "archive"


class AuditOutcome(StrEnum):
    """How the change of an audit event ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Receipt(NamedTuple):
    """Proof of a row of the audit trail: its number and its hash, or the first digits of that."""

    id: int
    hash: str

    def __str__(self) -> str:
        return f"{self.id}:{self.hash[:RECEIPT_DIGITS]}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `number:digits`.

        Raises:
            ValueError: The text has another form.
        """
        found = re.fullmatch("([1-9][0-9]{0,17}):([0-9a-f]{8,64})", text.strip().lower())
        if found is None:
            raise ValueError(f"expected a receipt like 1234:bd455153b55779db, got {text[:40]!r}")
        return cls(int(found[1]), found[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The client or command that asked for a change.

    Attributes:
        actor: `token:NAME`, or `anonymous` for requests without a token; `cli:<user>`, `housekeeping`, `runtime`.
        address: Remote address of the request; empty when there is none.
        request_id: The `x-request-id` of the answer; empty when there is none.
    """

    actor: str
    address: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One entry of the audit trail: who asked for which change, and how it ended.

    Attributes:
        origin: Who asked.
        action: What was done.
        workflow: Name of the workflow; empty when the request did not get far enough to have one.
        outcome: How it ended.
        detail: Plain JSON values: archive digest, nodes, error.
        operation: The operation whose end, or change, it records, which gets its receipt; empty when there is none. It
            is no part of the entry.
    """

    origin: Origin
    action: AuditAction
    workflow: str
    outcome: AuditOutcome
    detail: Mapping[str, Any] = field(default_factory=dict)
    operation: str = ""


class ChainBroken(Exception):
    """An event of the audit trail does not fit.

    Args:
        number: Its number.
        reason: What is wrong with it.
    """

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"row {number} does not fit: {reason}")
        self.number = number
        self.reason = reason


def bounded(value: object) -> object:
    """Return a detail whose texts have no secrets of addresses and are cut where they are too long, saying how much."""
    if isinstance(value, str):
        text = redacted(value)
        more = len(text) - MAX_TEXT_CHARS
        return text if more <= 0 else f"{text[:MAX_TEXT_CHARS]}… ({more} more characters)"
    if isinstance(value, Mapping):
        return {str(bounded(key)): bounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [bounded(each) for each in value]
    return value


def canonical_json(value: object) -> str:
    """Return the one text that stands for a JSON value in the table and under the hash.

    Lone surrogates, which JSON can carry and a database cannot, are written as question marks.
    """
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "replace").decode("utf-8")


def hashed_line(columns: Iterable[str]) -> bytes:
    """Return what is under the hash of an event: the canonical JSON of its columns, given in the order of `HASHED`.

    Millions are made of them, so they are not made by the general encoder, which takes three times as long.
    """
    return (_LINE % tuple(map(encode_basestring, columns))).encode("utf-8", "replace")


def event_hash(previous_hash: str, line: bytes) -> str:
    """Return the SHA-256 in hex over the previous event's hash and this one's line."""
    return hashlib.sha256(b"%s\n%s" % (previous_hash.encode(), line)).hexdigest()
