"""`wfmgmt serve`: the whole service under gunicorn, in any folder."""

import argparse
import os
import sys

#: Where gunicorn finds its configuration, which names the application, too.
CONFIGURATION = "python:wfmgmt.deployment.gunicorn_config"


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Say that there are none of its own."""
    parser.epilog = "Settings are WFMGMT_… variables. All options are gunicorn's, like --access-logfile FILE."


def run(options: argparse.Namespace) -> int:
    """Become gunicorn's master, which gets the signals and sockets that are sent to this process."""
    command = [sys.executable, "-m", "gunicorn", "--config", CONFIGURATION, *options.gunicorn_options]
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter, with what the operator typed
