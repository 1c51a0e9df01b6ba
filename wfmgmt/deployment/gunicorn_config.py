"""The configuration that gunicorn runs the service with, and its hooks. Only gunicorn's master may import this module.

`wfmgmt serve` names it to gunicorn; for `gunicorn app:app` in the checkout `gunicorn.conf.py` hands it on. Importing it
changes the process: gunicorn asks for its configuration before it does anything else, and some things have to be so
from the start.
"""

import gc
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from wfmgmt.deployment.host_limits import ensure_temporary_folder, forbid_core_dumps, raise_file_limit, web_limits
from wfmgmt.errors.commands import CannotStart, ResourcesExhausted
from wfmgmt.host import require_linux
from wfmgmt.logs import logging_config, open_standard_streams, write_error
from wfmgmt.settings import settings_in_force


@contextmanager
def _one_line() -> Iterator[None]:
    """End the process with one line and the documented exit code when it cannot start."""
    try:
        yield
    except (CannotStart, OSError, RuntimeError) as error:  # RuntimeError: no thread could be started.
        write_error(f"wfmgmt: {error}")
        gc.freeze()  # As at each end.
        sys.exit(getattr(error, "exit_code", ResourcesExhausted.exit_code))


# What is imported stays. So the collector of cycles is off until all is there, and has it among what is old then.
gc.disable()
open_standard_streams()
with _one_line():
    require_linux()
    _settings = settings_in_force()
# Web workers share their counters there; prometheus-client looks for this when something imports it, as all below does.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_settings.metrics_folder)  # noqa: TID251 - it takes no other way

import wfmgmt.wsgi  # noqa: E402 - web workers are copies of the master, and share what it has loaded
from wfmgmt.deployment.arbiter import ResilientArbiter  # noqa: E402 - the variable is set first
from wfmgmt.deployment.gunicorn_master import GunicornMaster  # noqa: E402
from wfmgmt.deployment.inherited_sockets import InheritedSockets  # noqa: E402
from wfmgmt.deployment.shared_metrics import CounterFiles, empty_folder  # noqa: E402

gc.freeze()
gc.unfreeze()
gc.enable()
_master = GunicornMaster(_settings)

wsgi_app = f"{wfmgmt.wsgi.__name__}:create_app()"
bind = str(_settings.management_address)
# In the titles of the master and the web workers, which are gunicorn's own.
proc_name = f"wfmgmt {_settings.instance}"
workers = _settings.web_workers
threads = _settings.web_threads
worker_class = "wfmgmt.deployment.web_worker.BufferingThreadWorker"
logger_class = "wfmgmt.deployment.gunicorn_log.GunicornLogger"
# The path without its query, which can hold the token of a download.
access_log_format = '%(h)s %(l)s %(u)s %(t)s "%(m)s %(U)s %(H)s" %(s)s %(b)s "%(f)s" "%(a)s" %({x-request-id}o)s'
logconfig_dict = logging_config(_settings.log_format, _settings.log_level, _settings.access_log)
keepalive = 30
# Headers that would change the path under which a request arrives, from a proxy that we do not expect.
forwarder_headers = ""
with _one_line():
    forbid_core_dumps()
    _limits = web_limits(_settings, raise_file_limit())
worker_connections = _limits.connections
# By files there the master knows that its web workers live; only the instance has to be writable.
worker_tmp_dir = str(_settings.run_folder)
# After this time gunicorn kills a web worker whose main loop stands still; it goes round once a second.
timeout = 30
graceful_timeout = 7
# Its server is a thread in the master, which forks.
control_socket_disable = True

# gunicorn has no types, and finds the hooks by their names and numbers of arguments.


def on_starting(server: Any) -> None:
    """Prepare the instance before the first web worker."""
    ResilientArbiter.adopt(server, _master.shared)
    with _one_line():
        inherited = InheritedSockets(os.environ)  # noqa: TID251 - systemd describes them there
        _master.start(server.cfg.address, management=inherited.management, inference=inherited.inference)
        ensure_temporary_folder(_settings)
        empty_folder(_settings)


def when_ready(server: Any) -> None:
    """Log and write down the addresses."""
    _master.announce(server.LISTENERS[0].sock.getsockname())


def pre_fork(server: Any, worker: Any) -> None:
    """Give the web worker a flag by which the master sees that it has started."""
    worker.has_started = mmap.mmap(-1, 1)


def post_fork(server: Any, worker: Any) -> None:
    """Keep gunicorn's own codes from the master: it would end at once, with 3, which stands for the database."""
    server.WORKER_BOOT_ERROR = server.APP_LOAD_ERROR = ResourcesExhausted.exit_code


def post_worker_init(worker: Any) -> None:
    """Start the housekeeping of a web worker."""
    with _one_line():
        counters = CounterFiles(_settings)
        worker.guard = worker.wsgi.extensions["wfmgmt.guard"]
        services = worker.wsgi.extensions["wfmgmt"]
        if not _master.is_open_until_first_token:
            services.access.end_anonymous_access()
        worker.take_uploads(
            max_uploads=_limits.uploads,
            timeout_s=_settings.upload_timeout_s,
            is_stopping=services.long_requests.is_stopping,
        )
        worker.housekeeping = _master.housekeeping(services, check_counters=counters.check)
        worker.housekeeping.start()
    worker.has_started[0] = True
    _master.on_web_worker_started()


def worker_exit(server: Any, worker: Any) -> None:
    """End the housekeeping, if it has begun."""
    if worker.housekeeping is not None:
        worker.housekeeping.break_off()
        worker.housekeeping.end()
    gc.freeze()  # Else Python looks for cycles in all there is before it ends, for a third of a second.


def child_exit(server: Any, worker: Any) -> None:
    """Record the end of a web worker that had not started."""
    is_stopping = not server.LISTENERS
    if not worker.has_started[0] and not is_stopping:
        _master.on_web_worker_failed()


def on_exit(server: Any) -> None:
    """Take the runtime down."""
    _master.stop()
    gc.freeze()  # As at the end of a web worker.
    if _master.exit_code:
        sys.exit(_master.exit_code)
