"""The deployment: `gunicorn app:app` reads this file. What it does is in `wfmgmt/deployment/`."""

import sys

from prometheus_client.multiprocess import mark_process_dead

from wfmgmt.deployment.deployment import Deployment, share_metrics
from wfmgmt.errors import CannotStart
from wfmgmt.logs import logging_config
from wfmgmt.settings import Settings


def _exit(error):
    print(f"wfmgmt: {error}", file=sys.stderr)
    sys.exit(error.exit_code)


try:
    _settings = Settings.load()
except CannotStart as error:
    _exit(error)
_deployment = Deployment(_settings)

bind = str(_settings.management_address)
workers = _settings.web_workers
threads = _settings.web_threads
worker_class = "wfmgmt.deployment.web_worker.BufferingThreadWorker"
logconfig_dict = logging_config(_settings.log_format, _settings.log_level)
keepalive = 30
timeout = 60
graceful_timeout = 7
# Its server is a thread in the master, which forks.
control_socket_disable = True


def on_starting(server):
    """Prepare the instance before the first web worker."""
    try:
        _deployment.start()
        share_metrics(_settings)
    except CannotStart as error:
        _exit(error)


def when_ready(server):
    """Tell where everything is."""
    _deployment.announce(server.LISTENERS[0].sock.getsockname())


def post_worker_init(worker):
    """Start the housekeeping of a web worker."""
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
