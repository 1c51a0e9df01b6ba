"""Sockets that listen on the addresses of the settings."""

import socket

from wfmgmt.domain.limits import LISTEN_BACKLOG
from wfmgmt.errors.commands import SettingsInvalid


def listen(settings_name: str, host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Raises:
        SettingsInvalid: The address cannot be listened on; the text names the setting.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(LISTEN_BACKLOG)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise SettingsInvalid(f"{settings_name}: cannot listen on {host}:{port}: {error.strerror}") from error
    return sock
