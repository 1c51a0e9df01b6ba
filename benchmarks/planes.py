"""What each kind of process loads, what that costs, and how soon a command is done."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.processes import KIB_PER_MB
from examples.build import build
from tests.support.loaded_modules import Loaded, ModuleProbe
from tests.support.processes import runtime_pid, web_workers
from tests.support.service import Service

ROUNDS = 9
_COMMANDS = (("--version",), ("audit", "verify"))


def loading(folder: Path) -> list[Figure]:
    """Look at the processes of a service with the sequential example, and at two commands beside it."""
    service = Service(folder, web_workers=2)
    build(service.workflow_store, service.model_store)
    probe = ModuleProbe(folder / "modules", service)
    figures: list[Figure] = []
    with service:
        assert service.register("sequential.war").ok
        assert service.process is not None
        pids = {
            "gunicorn's master": service.process.pid,
            "a web worker": web_workers(service)[0],
            "the runtime": runtime_pid(service),
        }
        for what, pid in pids.items():
            figures += _figures(what, probe.of_process(pid))
        for arguments in _COMMANDS:
            figures += _figures(f"`wfmgmt {' '.join(arguments)}`", probe.of_command(*arguments))
    return [*figures, *_durations(service)]


def _figures(what: str, loaded: Loaded) -> Iterator[Figure]:
    yield Figure(what=f"{what} has loaded", value=len(loaded.modules), unit="modules")
    yield Figure(what=f"{what}, RSS", value=loaded.rss_kib / KIB_PER_MB, unit="MB")
    yield Figure(what=f"{what}, PSS", value=loaded.pss_kib / KIB_PER_MB, unit="MB")


def _durations(service: Service) -> Iterator[Figure]:
    del service.environment["PYTHONPATH"]
    for arguments in _COMMANDS:
        command, spent_ms = [sys.executable, "-m", "wfmgmt.cli.main", *arguments], []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            subprocess.run(command, cwd=service.cwd, env=service.environment, stdout=subprocess.DEVNULL, check=True)
            spent_ms.append((time.perf_counter() - began) * 1000)
        what = f"`wfmgmt {' '.join(arguments)}`, median of {ROUNDS}"
        yield Figure(what=what, value=statistics.median(spent_ms), unit="ms")
