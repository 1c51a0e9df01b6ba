"""Tokens in the database; rows stay when they are revoked, since the audit trail names them."""

from collections.abc import Iterable

from sqlalchemy import Connection, RowMapping, bindparam, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from wfmgmt.domain.access import Role, Scope
from wfmgmt.domain.tokens import Token
from wfmgmt.errors.access import TokenExists
from wfmgmt.registry.tables import token as table

_IS_VALID = (table.c.revoked_at.is_(None), or_(table.c.expires_at.is_(None), table.c.expires_at > bindparam("now")))
_VALID = select(table).where(*_IS_VALID)
_BY_SHA256 = _VALID.where(table.c.sha256 == bindparam("sha256"))
_KNOWN = select(table).where(table.c.sha256 == bindparam("sha256"))
_BY_NAME = select(table).where(table.c.name == bindparam("name"))
_ALL = select(table).order_by(table.c.id)
_ANY = select(table.c.id).limit(1)


class TokenReader:
    """The tokens as one transaction sees them; made by `Reader.tokens` and valid only inside it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def any(self) -> bool:
        """Return whether there is a token, or was one."""
        return self._connection.execute(_ANY).first() is not None

    def valid(self, sha256: str, now: str) -> Token | None:
        """Return the token with a digest, None when there is none, or it is revoked or has expired."""
        row = self._connection.execute(_BY_SHA256, {"sha256": sha256, "now": now}).mappings().one_or_none()
        return None if row is None else _token(row)

    def known(self, sha256: str) -> Token | None:
        """Return the token with a digest, also one that is not accepted any more; None when there never was one."""
        row = self._connection.execute(_KNOWN, {"sha256": sha256}).mappings().one_or_none()
        return None if row is None else _token(row)

    def all_valid(self, now: str) -> list[Token]:
        """Return every token that is accepted."""
        return [_token(row) for row in self._connection.execute(_VALID, {"now": now}).mappings()]

    def named(self, name: str) -> Token | None:
        """Return the token of a name, revoked or not; None without one."""
        row = self._connection.execute(_BY_NAME, {"name": name}).mappings().one_or_none()
        return None if row is None else _token(row)

    def all(self) -> list[Token]:
        """Return all tokens, the oldest first, also those that are not accepted any more."""
        return [_token(row) for row in self._connection.execute(_ALL).mappings()]


class TokenWriter(TokenReader):
    """The same in a transaction that writes; made by `Writer.tokens`.

    Args:
        connection: In a transaction that holds the write lock.
        now: Its time.
    """

    def __init__(self, connection: Connection, now: str) -> None:
        super().__init__(connection)
        self._now = now

    def add(self, new: Token) -> Token:
        """Record a token and return it as it is kept: with the number of its row, and when it was made.

        Raises:
            TokenExists: Another one has the name, or had it.
        """
        values = {
            "name": new.name,
            "prefix": new.prefix,
            "sha256": new.sha256,
            "role": new.role.value,
            "workflows": str(new.scope),
            "note": new.note,
            "created_at": self._now,
            "created_by": new.created_by,
            "expires_at": new.expires_at,
        }
        if self.named(new.name) is not None:
            raise TokenExists(new.name)
        try:
            row = self._connection.execute(insert(table).values(values).returning(*table.c)).mappings().one()
        except IntegrityError as error:
            raise TokenExists(new.name) from error
        return _token(row)

    def revoke(self, name: str, actor: str) -> None:
        """Have a token accepted no more."""
        self._connection.execute(
            update(table)
            .where(table.c.name == name, table.c.revoked_at.is_(None))
            .values(revoked_at=self._now, revoked_by=actor)
        )

    def record_uses(self, ids: Iterable[int]) -> None:
        """Record that tokens were accepted."""
        self._connection.execute(update(table).where(table.c.id.in_(list(ids))).values(last_used_at=self._now))


def _token(row: RowMapping) -> Token:
    values = dict(row)
    role, workflows = values.pop("role"), values.pop("workflows")
    return Token(
        **values,
        role=Role(role),
        scope=Scope(None if workflows == "*" else tuple(workflows.split(","))),
    )
