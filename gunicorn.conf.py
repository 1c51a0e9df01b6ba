"""The deployment: `gunicorn app:app` reads this file. What it does is in `wfmgmt/deployment/`."""

import os
import resource
import sys

from wfmgmt.errors import CannotStart
from wfmgmt.logs import logging_config, open_standard_streams, write_error
from wfmgmt.settings import Settings


def _exit(error):
    write_error(f"wfmgmt: {error}")
    sys.exit(error.exit_code)


open_standard_streams()
try:
    _settings = Settings.load()
except CannotStart as error:
    _exit(error)
# Web workers share their counters there; prometheus-client looks for this when something imports it, as all below does.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_settings.metrics_folder)  # noqa: TID251 - its only way to be told

from prometheus_client.multiprocess import mark_process_dead  # noqa: E402

from wfmgmt.deployment.deployment import Deployment  # noqa: E402
from wfmgmt.deployment.shared_metrics import empty_folder, reserve_files  # noqa: E402

_deployment = Deployment(_settings)

bind = str(_settings.management_address)
workers = _settings.web_workers
threads = _settings.web_threads
worker_class = "wfmgmt.deployment.web_worker.BufferingThreadWorker"
logconfig_dict = logging_config(_settings.log_format, _settings.log_level)
keepalive = 30
# Headers that would change the path under which a request arrives, from a proxy that we do not expect.
forwarder_headers = ""
# Each has a descriptor; half of them are left for everything else.
worker_connections = min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
timeout = 60
graceful_timeout = 7
# Its server is a thread in the master, which forks.
control_socket_disable = True


def on_starting(server):
    """Prepare the instance before the first web worker."""
    try:
        has_sockets = "LISTEN_FDS" in os.environ  # noqa: TID251 - from systemd, which gunicorn prefers to addresses
        _deployment.start([] if has_sockets else server.cfg.address)
        empty_folder(_settings)
    except CannotStart as error:
        _exit(error)


def when_ready(server):
    """Tell where everything is."""
    _deployment.announce(server.LISTENERS[0].sock.getsockname())


def post_worker_init(worker):
    """Start the housekeeping of a web worker."""
    reserve_files(_settings)
    worker.guard = worker.wsgi.extensions["wfmgmt.guard"]
    worker.housekeeping = _deployment.housekeeping(worker.wsgi.extensions["wfmgmt"])
    worker.housekeeping.start()


def worker_exit(server, worker):
    """End it."""
    worker.housekeeping.end()


def child_exit(server, worker):
    """Drop the gauges of a web worker that is gone."""
    mark_process_dead(worker.pid)


def on_exit(server):
    """Take the runtime down."""
    _deployment.stop()
    if _deployment.exit_code:
        sys.exit(_deployment.exit_code)
