"""Which service uses a PostgreSQL database: a row that it renews, by the clock of the database."""

from typing import NamedTuple

from sqlalchemy import Connection, delete, text

from wfmgmt.registry.tables import heartbeat

#: A heartbeat that is older belongs to a service that died without a word.
FRESH_S = 30

_NOW = "to_char(clock_timestamp() AT TIME ZONE 'UTC', :form)"
_STALE = "to_char((clock_timestamp() - make_interval(secs => :fresh_s)) AT TIME ZONE 'UTC', :form)"
_BEAT = text(
    f"INSERT INTO heartbeat (id, holder, seen_at) VALUES (1, :holder, {_NOW}) "  # noqa: S608 - constants
    "ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, seen_at = excluded.seen_at "
    f"WHERE heartbeat.holder = excluded.holder OR heartbeat.seen_at < {_STALE} RETURNING id"
)
_FORM = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'


class Heartbeat(NamedTuple):
    """The last sign of life of a service.

    Attributes:
        holder: Which one.
        seen_at: When, by the clock of the database.
    """

    holder: str
    seen_at: str


def beat(connection: Connection, holder: str) -> Heartbeat | None:
    """Show that this service lives, unless another one does: then return its last sign of life."""
    parameters = {"holder": holder, "form": _FORM, "fresh_s": FRESH_S}
    if connection.execute(_BEAT, parameters).first() is not None:
        return None
    return Heartbeat(*connection.execute(heartbeat.select()).one()[1:])


def end(connection: Connection, holder: str) -> None:
    """Let others have the database."""
    connection.execute(delete(heartbeat).where(heartbeat.c.holder == holder))
