"""Whose fault it is when a model does not come up or does not answer."""

import errno
from enum import StrEnum

#: How the operating system says that it is out of processes, memory or descriptors.
_LACKS = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})


class Fault(StrEnum):
    """What failed, as far as it makes a difference to the caller."""

    #: The model: its archive, its handler or its worker.
    MODEL = "model"
    #: The archive: what its manifest names is not there, or cannot be read.
    ARCHIVE = "archive"
    #: The file of the archive: it is missing, damaged, or not the one that was checked.
    FILE = "file"
    #: The model of another owner has the name on the model server.
    NAME_TAKEN = "name taken"
    #: The model server cannot be reached, refuses our key, or lost the process that starts its workers.
    UNREACHABLE = "unreachable"
    #: The model server answered what makes no sense, failed itself, or broke off.
    FAILED = "failed"
    #: The model server did not answer in time.
    TIMED_OUT = "timed out"
    #: There are as many workers as the settings allow, or as the host has processes, memory and descriptors for.
    NO_ROOM = "no room"


def is_lack(number: object) -> bool:
    """Return whether an error number says that the host is out of something that others may give back."""
    return number in _LACKS
