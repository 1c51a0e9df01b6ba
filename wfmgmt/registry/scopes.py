"""Scopes as conditions of queries, so that what is outside of one never leaves the database."""

from sqlalchemy import ColumnElement, Connection, or_

from wfmgmt.domain.access import Scope

_TO_LIKE = str.maketrans({"*": "%", "?": "_", "_": r"\_"})


def within(connection: Connection, column: ColumnElement[str], scope: Scope) -> list[ColumnElement[bool]]:
    """Return the conditions under which the name in a column is in a scope; none when every name is.

    SQLite has patterns of this form, in which case matters, and uses an index for their beginning; its `LIKE` ignores
    case. PostgreSQL has `LIKE`, in which it matters.
    """
    if scope.patterns is None:
        return []
    if connection.dialect.name == "sqlite":
        return [or_(*(column.op("GLOB")(pattern) for pattern in scope.patterns))]
    return [or_(*(column.like(pattern.translate(_TO_LIKE), escape="\\") for pattern in scope.patterns))]
