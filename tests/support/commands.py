"""Commands that run in the process of the tests, which saves the start of another one.

One command of a kind runs in a process of its own (`Service.command`), for its exit code and what it prints there.
"""

import io
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO
from unittest import mock

from tests.support.service import Service
from wfmgmt.cli.main import main

_STDERR = 2


def call(
    service: Service, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the `wfmgmt` command with the settings of a deployment, whose processes see the same files as this one."""
    assert not service.prefix
    settings = {**service.environment, **(environment or {})}
    body = io.BytesIO()
    out = io.TextIOWrapper(body, encoding="utf-8", write_through=True)
    with mock.patch.dict(os.environ, settings, clear=True), redirect_stdout(out), _standard_error() as err:
        try:
            code = main(arguments)
        except SystemExit as exited:
            code = int(exited.code or 0)
        err.seek(0)
        return subprocess.CompletedProcess(arguments, code, body.getvalue().decode(), err.read())


@contextmanager
def _standard_error() -> Iterator[TextIO]:
    """Give a file that gets what is written to standard error, be it by Python or to the descriptor itself."""
    kept = os.dup(_STDERR)
    try:
        with tempfile.TemporaryFile("w+", buffering=1, encoding="utf-8") as file, redirect_stderr(file):
            os.dup2(file.fileno(), _STDERR)
            try:
                yield file
            finally:
                os.dup2(kept, _STDERR)
    finally:
        os.close(kept)
