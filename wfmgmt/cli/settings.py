"""The start of most commands: the settings, the log as they have it, and private files."""

import logging
import logging.config
import os

from wfmgmt.deployment.instance import PRIVATE_UMASK
from wfmgmt.logs import logging_config
from wfmgmt.settings import Settings


def load_settings() -> Settings:
    """Return the settings in force, with the log set up and new files private from now on.

    Raises:
        SettingsInvalid: A setting is unknown or has a wrong value.
    """
    os.umask(PRIVATE_UMASK)
    settings = Settings.load()
    configure_log(settings)
    logging.getLogger("wfmgmt.change").setLevel(logging.WARNING)  # A command prints what it changes.
    return settings


def configure_log(settings: Settings) -> None:
    """Write the log of this process as the settings have it."""
    logging.config.dictConfig(logging_config(settings.log_format, settings.log_level, settings.access_log))
