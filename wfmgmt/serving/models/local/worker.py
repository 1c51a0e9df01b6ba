"""The worker: a process that imports handlers and holds them initialised.

It is forked by the forkserver and talks with the runtime over one socket, in frames:

    runtime → worker   {"op": "load", "directory", "archive", "entries": [{"node", "handler", "model_name"}],
                        "context": {"manifest", "system_properties"}}
    worker → runtime   {"op": "loading", "node"} before each entry, then {"op": "ready"},
                       or {"op": "failed", "node", "error", "traceback"} followed by exit code 1
    runtime → worker   {"op": "stop"}, or the end of the stream: exit code 0

One worker hosts one model, or all functions of one workflow. Standard output and standard error are the log's; the
protocol has a socket of its own, so nothing that a handler prints can disturb it.
"""

import os
import socket
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from wfmgmt.serving.models.local import frames
from wfmgmt.serving.models.local.context import Context
from wfmgmt.serving.models.local.handlers import EntryPoint, HandlerNotFound, load_entry_point

_MAX_ERROR_CHARS = 2_000
_MAX_TRACEBACK_CHARS = 64_000

# Taken before any handler runs and can change sys.path. Longer ones first, since one may contain another.
_INTERPRETER_FOLDERS = sorted({*sys.path, sys.prefix, sys.base_prefix} - {"", "/"}, key=len, reverse=True)


def main(sock: socket.socket) -> int:
    """Serve one runtime until it says stop or is gone; return the exit code."""
    worker = _Worker(sock)
    try:
        if not worker.load(frames.receive(sock).header):
            return 1
        while frames.receive(sock).header["op"] != "stop":
            pass
    except EOFError:
        return 0
    return 0


class _Worker:
    """The handlers of one process.

    Attributes:
        entry_points: What is to be called with data, by node; it also keeps alive what the handlers built.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.entry_points: dict[str, EntryPoint] = {}
        self._sock = sock
        self._pid = os.getpid()

    def load(self, order: Mapping[str, Any]) -> bool:
        """Load all entries in their order, report, and tell whether all went well."""
        directory: str = order["directory"]
        os.chdir(directory)
        sys.path.insert(0, directory)
        for entry in order["entries"]:
            self._send({"op": "loading", "node": entry["node"]})
            context = Context(model_name=entry["model_name"], **order["context"])
            try:
                self.entry_points[entry["node"]] = load_entry_point(entry["handler"], context)
            except BaseException as exc:  # noqa: BLE001 - SystemExit and the like are failures to load, too
                error = hide_host_paths(describe_error(exc), directory=directory, archive=order["archive"])
                trace = "".join(traceback.format_exception(exc))[-_MAX_TRACEBACK_CHARS:]
                self._send({"op": "failed", "node": entry["node"], "error": error, "traceback": trace})
                return False
        self._send({"op": "ready"})
        return True

    def _send(self, header: Mapping[str, Any]) -> None:
        """Send one message, unless this is a copy of the worker that a handler forked and let run on."""
        if os.getpid() != self._pid:
            os._exit(0)
        frames.send(self._sock, header)


def describe_error(exc: BaseException) -> str:
    """Return the error as one text for the caller: `TypeName: message`, or the bare text of our own error."""
    try:
        message = str(exc)
    except Exception:  # noqa: BLE001 - the handler's exception class can do anything
        message = "(its text cannot be read)"
    if not isinstance(exc, HandlerNotFound):
        name = type(exc).__name__
        message = f"{name}: {message}" if message else name
    return message[:_MAX_ERROR_CHARS]


def hide_host_paths(text: str, *, directory: str, archive: str) -> str:
    """Replace the folder of the archive by the archive's name, and those of the interpreter by `python`."""
    for path in sorted({directory, os.path.realpath(directory)}, key=len, reverse=True):
        text = text.replace(path, archive)
    for path in _INTERPRETER_FOLDERS:
        text = text.replace(path, "python")
    return text
