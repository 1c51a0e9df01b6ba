"""`wfmgmt runtime`: the runtime process."""

import argparse
import asyncio
import os
import socket

import uvloop

from wfmgmt.cli.settings import configure_log
from wfmgmt.deployment.instance import PRIVATE_UMASK, prepare_instance, runtime_lock
from wfmgmt.deployment.listening import listen
from wfmgmt.deployment.settings_handover import take_over
from wfmgmt.http.browser_guard import BrowserGuard
from wfmgmt.logs import write_error
from wfmgmt.runtime_factory import create_runtime, renew_folders
from wfmgmt.serving.allocation import share_heap_between_threads
from wfmgmt.serving.connections import ConnectionLimits
from wfmgmt.serving.process import serve
from wfmgmt.settings import Settings
from wfmgmt.titles import set_title


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    parser.add_argument("--settings-fd", type=int, help="descriptor of the settings of the service that starts it")
    parser.add_argument("--inference-fd", type=int, help="descriptor of a socket that listens already")
    parser.add_argument("--lifeline-fd", type=int, help="descriptor of a pipe whose end ends the runtime")
    parser.add_argument("--database-file", type=int, nargs=2, help="device and inode of the SQLite database")
    parser.add_argument("--umask", type=lambda text: int(text, 8), help="that of handlers; this process's own if none")


def run(options: argparse.Namespace) -> int:
    """Run until SIGTERM arrives or the service that started it is gone.

    Returns:
        0 then, 1 when the instance has a runtime already.
    """
    share_heap_between_threads()  # Before there are any.
    own_umask = os.umask(PRIVATE_UMASK)
    settings = Settings.load() if options.settings_fd is None else take_over(options.settings_fd)
    configure_log(settings)
    prepare_instance(settings)
    set_title("runtime", str(settings.instance))
    lock = runtime_lock(settings)
    if not lock.acquire():
        write_error("wfmgmt: the runtime of this instance is running already")
        return 1
    renew_folders(settings)
    database_file = tuple(options.database_file) if options.database_file else None
    worker_umask = own_umask if options.umask is None else options.umask
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            serve(
                lambda: create_runtime(settings, database_file, worker_umask=worker_umask),
                control_socket=settings.control_socket,
                inference_socket=_inference_socket(settings, options.inference_fd),
                lifeline=options.lifeline_fd,
                connection_limits=ConnectionLimits(connections=settings.max_connections),
                guard=BrowserGuard(allowed_hosts=settings.known_hosts, cors_origins=settings.cors_origins),
                forwarding=settings.forwarding,
            )
        )
    return 0


def _inference_socket(settings: Settings, descriptor: int | None) -> socket.socket:
    """Return the socket that was inherited, or one of its own."""
    if descriptor is not None:
        return socket.socket(fileno=descriptor)
    return listen("WFMGMT_INFERENCE_ADDRESS", settings.inference_address.host, settings.inference_address.port)
