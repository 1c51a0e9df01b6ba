"""Listening sockets that are passed to a service as systemd passes them."""

import socket
import sys

from tests.support.service import Service

#: Passes descriptors from 3 on to the command, and says so to the process that it becomes.
_AS_SYSTEMD = """
import os, sys
descriptors, names, *command = sys.argv[1:]
descriptors = [int(each) for each in descriptors.split(",")]
for at, descriptor in enumerate(descriptors):
    os.dup2(descriptor, 3 + at)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(descriptors)), LISTEN_FDNAMES=names)
os.execv(command[0], command)
"""


def pass_sockets(service: Service, *sockets: socket.socket, names: str) -> None:
    """Have a service started with these sockets, of these names with colons between them, in its place."""
    service.pass_fds = tuple(each.fileno() for each in sockets)
    descriptors = ",".join(map(str, service.pass_fds))
    service.command_line = [sys.executable, "-c", _AS_SYSTEMD, descriptors, names, *service.command_line]
