"""Run the migrations, on the connection of `wfmgmt.registry.schema` or on one for the `alembic` command."""

from alembic import context
from sqlalchemy import Connection, text

from wfmgmt.registry.schema import locked_connection
from wfmgmt.registry.tables import metadata
from wfmgmt.settings import Settings


def run(connection: Connection) -> None:
    """Run within the transaction that the connection is in."""
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
    if connection.dialect.name == "sqlite":
        broken = connection.execute(text("PRAGMA foreign_key_check")).first()
        if broken is not None:
            message = f"the migration left a row without its parent: {tuple(broken)}"
            raise RuntimeError(message)


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with locked_connection(Settings.load().database) as own:
        run(own)
