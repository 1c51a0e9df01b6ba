"""Answers that are kept under the idempotency keys of clients, and the requests under way whose answers will be."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update

from wfmgmt.registry.tables import idempotency_key as table


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedRequest:
    """A request that its client may repeat without doing twice what it asks for.

    Attributes:
        scope: Who sent it, with which method, where; keys of others are other keys.
        key: The client's.
        sha256: Digest over everything else in it.
    """

    scope: str
    key: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer in JSON.

    Attributes:
        body: Its bytes, which are UTF-8.
        status: Its status.
        headers: What it has of headers beside those of all answers.
    """

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """What is known of a key.

    Attributes:
        sha256: Digest of the request that used it.
        at: When that came, or was answered.
        lease: Proof that it is under way; None once it is answered.
        answer: Its answer; None while there is none.
    """

    sha256: str
    at: str
    lease: str | None
    answer: Answer | None


class KeptAnswers:
    """The table of keys in one transaction; made by `Writer.kept_answers` and valid only inside it.

    Args:
        connection: In a transaction that holds the write lock.
        now: Its time.
    """

    def __init__(self, connection: Connection, now: str) -> None:
        self._connection = connection
        self._now = now

    def find(self, request: KeyedRequest) -> KnownKey | None:
        """Return what is known of a request's key."""
        row = self._connection.execute(select(table).where(_is(request))).one_or_none()
        if row is None:
            return None
        answer = None
        if row.status is not None:
            answer = Answer(body=row.body.encode(), status=row.status, headers=json.loads(row.headers))
        return KnownKey(sha256=row.request_sha256, at=row.at, lease=row.lease, answer=answer)

    def begin(self, request: KeyedRequest, lease: str) -> None:
        """Record that a request is under way, instead of whatever had its key before."""
        self._connection.execute(delete(table).where(_is(request)))
        values = {"scope": request.scope, "key": request.key, "request_sha256": request.sha256, "lease": lease}
        self._connection.execute(insert(table).values(**values, at=self._now))

    def keep(self, request: KeyedRequest, answer: Answer) -> None:
        """Keep the answer to a request that began."""
        self._connection.execute(
            update(table)
            .where(_is(request), table.c.request_sha256 == request.sha256)
            .values(
                lease=None,
                status=answer.status,
                headers=json.dumps(dict(answer.headers)),
                body=answer.body.decode(),
                at=self._now,
            )
        )

    def forget(self, request: KeyedRequest, lease: str) -> None:
        """Free the key of a request that ended without an answer to keep."""
        self._connection.execute(delete(table).where(_is(request), table.c.lease == lease))

    def forget_older(self, at: str, *, most: int) -> None:
        """Free all keys from before a time, and the oldest ones of those that are too many."""
        self._connection.execute(delete(table).where(table.c.at < at))
        first_kept = select(table.c.at).order_by(table.c.at.desc()).offset(most - 1).limit(1).scalar_subquery()
        self._connection.execute(delete(table).where(table.c.at < first_kept))


def _is(request: KeyedRequest) -> ColumnElement[bool]:
    return and_(table.c.scope == request.scope, table.c.key == request.key)
