"""How the address that a server listens on is written."""

import os
from typing import Any

from wfmgmt.domain.addresses import is_loopback

#: What `getsockname` returns: host and port, the path of a Unix socket, or a name of one that lies in no folder.
SocketName = tuple[Any, ...] | str | bytes


def listening_url(name: SocketName) -> str:
    """Return what a socket's `getsockname` returned as `http://host:port`, or `unix:path` for a Unix socket."""
    if isinstance(name, tuple):
        host, port = name[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return f"unix:{os.fsdecode(name).replace(chr(0), '@', 1)}"  # A name in no folder begins with it.


def is_local(name: SocketName) -> bool:
    """Return whether only this machine reaches a socket."""
    return is_loopback(str(name[0])) if isinstance(name, tuple) else True
