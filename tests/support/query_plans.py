"""How SQLite looks for what the registry asks for."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Engine, event


class Statement(NamedTuple):
    """A statement as it went to the driver."""

    sql: str
    parameters: Any


@contextmanager
def executed_statements() -> Iterator[list[Statement]]:
    """Give what is executed while the block runs."""
    found: list[Statement] = []

    def record(_connection: object, _cursor: object, sql: str, parameters: object, *_: object) -> None:
        found.append(Statement(sql, parameters))

    event.listen(Engine, "before_cursor_execute", record)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", record)


def query_plan(database: Path, statements: Sequence[Statement]) -> str:
    """Return how SQLite carries out these statements, a step in each line."""
    with closing(sqlite3.connect(database)) as connection:
        return "\n".join(
            detail
            for each in statements
            for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {each.sql}", each.parameters)
        )
