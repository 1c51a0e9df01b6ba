"""A workflow whose model comes up when the test lets it, and registrations that wait for that."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import requests

from tests.support.evidence import rows
from tests.support.factories import make_mar, make_war
from tests.support.service import Service, wait_until


def make_slow_workflow(service: Service, gate: Path) -> Path:
    """Put `slow.war` into the store, and return the gate: while that file is there, the model does not come up.

    Its worker writes its process id to a file beside it, see `loading_worker`.
    """
    gate.touch()
    source = (
        "import os, time\n"
        f"with open({str(_mark(gate))!r}, 'w') as mark:\n    print(os.getpid(), file=mark)\n"
        f"while os.path.exists({str(gate)!r}):\n    time.sleep(0.01)\n"
    )
    make_war(service.workflow_store, name="slow", spec="models: {s: {url: slow.mar}}\ndag: {s: []}\n")
    make_mar(service.model_store, name="slow", source=f"{source}def handle(data, context):\n    return None\n")
    return gate


def loading_worker(gate: Path) -> int:
    """Return the process id of the worker that waits at a gate."""
    wait_until(lambda: _mark(gate).exists() and _mark(gate).read_text(), what="a worker at the gate")
    return int(_mark(gate).read_text())


def _mark(gate: Path) -> Path:
    return gate.with_name(f"{gate.name}.worker")


@contextlib.contextmanager
def in_background(service: Service, url: str) -> Iterator["Future[requests.Response]"]:
    """Register in a thread; give what will be answered once the registration is under way."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(service.register, url)
        wait_until(lambda: rows(service, "SELECT 1 FROM v_workflow WHERE status = 'registering'"), what="the claim")
        yield answer
