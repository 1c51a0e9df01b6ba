"""What the runtime costs while nobody asks anything of it and nothing changes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.processes import cpu_s
from tests.support.records import fill
from tests.support.service import CHECKOUT, Service, wait_until
from wfmgmt.control.client import RuntimeClient
from wfmgmt.errors import RuntimeUnavailable
from wfmgmt.registry.schema import upgrade

MANY = 100_000
#: From the start to the minute that is measured, so that one whole comparison with the registry is in it.
_SETTLE_S = 30
_MINUTE_S = 60


def idling(folder: Path) -> list[Figure]:
    """Let a runtime idle for a minute over many rows that it does not load, for they are being registered."""
    service = Service(folder)
    url = f"sqlite:///{service.database}"
    upgrade(url)
    fill(url, MANY, status="registering")
    command = [sys.executable, "-m", "wfmgmt.cli.main", "runtime"]
    with service.log.open("ab") as log:
        runtime = subprocess.Popen(command, cwd=CHECKOUT, env=service.environment, stdout=log, stderr=log)
    try:
        client = RuntimeClient(service.run_folder / "runtime.sock")
        wait_until(lambda: _has_read(client), timeout_s=60, what="the first look at the registry")
        time.sleep(_SETTLE_S)  # Nothing tells when a start has had its last effect.
        before_s = cpu_s(runtime.pid)
        time.sleep(_MINUTE_S)  # The idle minute is what is measured.
        spent_s = cpu_s(runtime.pid) - before_s
    finally:
        os.kill(runtime.pid, signal.SIGTERM)
        runtime.wait(30)
    what = f"processor time of the runtime in an idle minute with {MANY:,} workflows"
    return [Figure(what=what, value=spent_s * 1000, unit="ms", at_most=600)]


def _has_read(client: RuntimeClient) -> bool:
    try:
        return client.changes(epoch="", since=0, wait_s=0).is_complete
    except RuntimeUnavailable:
        return False
