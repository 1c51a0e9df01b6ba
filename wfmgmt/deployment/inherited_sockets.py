"""Listening sockets that systemd, or what does as it does, holds for the service while that is not running."""

import fcntl
import os
import socket
import stat
from collections.abc import MutableMapping

from wfmgmt.errors.commands import SettingsInvalid
from wfmgmt.http.addresses import SocketName

#: The first descriptor that systemd passes.
_FIRST = 3
_MANAGEMENT, _INFERENCE = "management", "inference"
_ORDER = (_MANAGEMENT, _INFERENCE)


class InheritedSockets:
    """The sockets that were passed to this process as `sd_listen_fds(3)` describes it.

    gunicorn takes all passed sockets for its own, so that of the inference address is taken out before.

    Attributes:
        management: Where the one for the management address listens, if there is one; gunicorn takes it.
        inference: That for the inference address, if there is one.

    Args:
        environ: The environment, from which all of it is removed that gunicorn must not see.

    Raises:
        SettingsInvalid: They are no sockets or too many, or their names are not different.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self.management: SocketName | None = None
        self.inference: socket.socket | None = None
        names = environ.pop("LISTEN_FDNAMES", "").split(":")
        if environ.get("LISTEN_PID") != str(os.getpid()):
            return
        planes = planes_of(_count(environ.get("LISTEN_FDS", "0")), names)
        taken = {plane: fcntl.fcntl(_FIRST + at, fcntl.F_DUPFD_CLOEXEC, 64) for at, plane in enumerate(planes)}
        for at in range(len(planes)):
            os.close(_FIRST + at)
        if _INFERENCE in taken:
            self.inference = socket.socket(fileno=taken[_INFERENCE])
        if _MANAGEMENT in taken:
            os.dup2(taken[_MANAGEMENT], _FIRST)
            with socket.socket(fileno=taken[_MANAGEMENT]) as management:
                self.management = management.getsockname()
            environ["LISTEN_FDS"] = "1"
        else:
            del environ["LISTEN_PID"]
            environ.pop("LISTEN_FDS", None)


def _count(text: str) -> int:
    """Return how many sockets there are, all of which have to be open."""
    if not (text.isascii() and text.isdigit()):
        raise SettingsInvalid(f"LISTEN_FDS: expected a number of sockets, got {text[:100]!r}")
    count = int(text[:100])
    for at in range(min(count, len(_ORDER))):
        try:
            is_socket = stat.S_ISSOCK(os.fstat(_FIRST + at).st_mode)
        except OSError:
            is_socket = False
        if not is_socket:
            raise SettingsInvalid(f"LISTEN_FDS: expected descriptor {_FIRST + at} to be a socket, got {count} sockets")
    return count


def planes_of(count: int, names: list[str]) -> tuple[str, ...]:
    """Return which plane each socket is for: by its name if all are named so, else in the order of the planes.

    Raises:
        SettingsInvalid: They are too many, or their names are not different.
    """
    if count > len(_ORDER):
        raise SettingsInvalid(f"LISTEN_FDS: expected a socket for management and one for inference, got {count}")
    if len(names) == count and set(names) <= set(_ORDER):
        if len(set(names)) < count:
            raise SettingsInvalid(f"LISTEN_FDNAMES: expected different names, got {':'.join(names)}")
        return tuple(names)
    return _ORDER[:count]
