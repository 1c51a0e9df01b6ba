"""Starting a forkserver process, with the environment that its workers inherit."""

import asyncio
import json
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wfmgmt.domain.faults import is_lack
from wfmgmt.serving.models.local import frames

_MODULE = "wfmgmt.serving.models.local.forkserver"
_IMPORT_ROOT = Path(__file__).parents[4]


class ForkFailed(Exception):
    """No worker process could be started; the text says why. It never leaves the local model server.

    Attributes:
        is_lack: Whether the host is out of processes, memory or descriptors.
    """

    def __init__(self, reason: str, number: object = None) -> None:
        super().__init__(reason)
        self.is_lack = is_lack(number)


class ForkserverLost(ForkFailed):
    """The forkserver died before it forked."""


class ForkserverNotStarted(ForkserverLost):
    """The forkserver died before it could fork at all."""


class PreloadFailed(ForkFailed):
    """The settings let no worker start; the text names the setting, and the module that cannot be imported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEnvironment:
    """The environment that all workers inherit from the forkserver.

    Attributes:
        interpreter: The beginning of the command line: a Python, and options for it.
        environment: Environment variables; None gives them those of this process.
        preload: Modules that are imported once, before any worker is forked.
        memory_bytes: Address space that each worker may have; None for no limit.
        message_bytes: Longest payload that a worker may send.
        log_level: Level from which on what handlers log is passed on.
        umask: Their umask; None for that of this process.
        instance: Stands in the titles of all, to show whose they are.
    """

    interpreter: tuple[str, ...] = (sys.executable,)
    environment: Mapping[str, str] | None = None
    preload: tuple[str, ...] = ()
    memory_bytes: int | None = None
    message_bytes: int = frames.MAX_PAYLOAD_BYTES
    log_level: str = "info"
    umask: int | None = None
    instance: str = ""

    def to_json(self) -> str:
        """Return what the forkserver has to know, as `forkserver` describes it."""
        return json.dumps(
            {
                "preload": self.preload,
                "memory_bytes": self.memory_bytes,
                "log_level": self.log_level,
                "umask": self.umask,
                "instance": self.instance,
            }
        )


async def start_forkserver(
    control: socket.socket, log_fd: int, environment: WorkerEnvironment
) -> asyncio.subprocess.Process:
    """Start the process in a session of its own: signals to the runtime's group or terminal are not meant for it.

    What modules print while they are imported goes into a pipe, too: who does not read the log must not hold them up.
    """
    return await asyncio.create_subprocess_exec(
        *environment.interpreter,
        "-m",
        _MODULE,
        str(control.fileno()),
        environment.to_json(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log_fd,
        stderr=log_fd,
        pass_fds=(control.fileno(),),
        cwd=_IMPORT_ROOT,
        env=environment.environment,
        start_new_session=True,
    )
