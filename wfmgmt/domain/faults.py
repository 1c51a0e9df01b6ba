"""Whose fault it is when a model does not come up or does not answer."""

from enum import StrEnum


class Fault(StrEnum):
    """What failed, as far as it makes a difference to the caller."""

    #: The model: its archive, its handler or its worker.
    MODEL = "model"
    #: The archive: what its manifest names is not there, or cannot be read.
    ARCHIVE = "archive"
    #: Somebody else's model has the name on the model server.
    NAME_TAKEN = "name taken"
    #: The model server cannot be reached, or refuses our key.
    UNREACHABLE = "unreachable"
    #: The model server answered what makes no sense, failed itself, or broke off.
    BROKEN = "broken"
    #: The model server did not answer in time.
    SILENT = "silent"
    #: There are as many workers as the settings allow.
    NO_ROOM = "no room"
