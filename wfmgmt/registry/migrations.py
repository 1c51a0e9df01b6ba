"""Alembic over the migrations of the registry; imported only where there is something to migrate."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from wfmgmt.registry.schema import MIGRATIONS


def alembic_config() -> Config:
    """Return Alembic's configuration for our migrations, without the logging of `alembic.ini`."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))  # Options are interpolated.
    return config


def migrate(connection: Connection) -> None:
    """Bring the schema up to date, in the transaction that the connection is in."""
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
