"""What the real processes of a service have loaded: modules, and the memory that they take."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.service import Service, wait_until

#: Python imports a module of this name whenever it starts. Each process writes down what it has loaded at this signal,
#: and commands, which do not live long enough for that, at their end.
_SITECUSTOMIZE = """
import atexit, os, signal, sys

def write(*_):
    path = os.path.join({folder!r}, str(os.getpid()))
    with open("/proc/self/smaps_rollup") as memory, open(path + ".unfinished", "w") as file:
        file.write(" ".join(sys.modules) + "\\n" + memory.read())
    os.replace(path + ".unfinished", path)

signal.signal(signal.SIGRTMIN, write)
atexit.register(write)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What one process has loaded.

    Attributes:
        modules: Names of the modules.
        rss_kib: Memory of the process, with what it shares with others.
        pss_kib: The same with its part of what it shares.
    """

    modules: frozenset[str]
    rss_kib: int
    pss_kib: int


class ModuleProbe:
    """Has the processes of a service write down what they have loaded.

    Args:
        folder: Where they write; made here.
        service: Not running yet.
    """

    def __init__(self, folder: Path, service: Service) -> None:
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(folder=str(folder)), encoding="utf-8")
        service.environment["PYTHONPATH"] = str(folder)
        self._folder = folder
        self._service = service

    def of_process(self, pid: int) -> Loaded:
        """Return what a process has loaded that has been running for a while."""
        os.kill(pid, signal.SIGRTMIN)
        return self._read(pid)

    def of_command(self, *arguments: str) -> Loaded:
        """Return what the `wfmgmt` command has loaded in the end."""
        process = subprocess.Popen(
            [sys.executable, "-m", "wfmgmt.cli.main", *arguments],
            cwd=self._service.cwd,
            env=self._service.environment,
            stdout=subprocess.DEVNULL,
        )
        assert process.wait(30) == 0
        return self._read(process.pid)

    def _read(self, pid: int) -> Loaded:
        path = self._folder / str(pid)
        wait_until(path.exists, what="the list of modules")
        modules, _, memory = path.read_text(encoding="utf-8").partition("\n")
        path.unlink()
        kib = {name: int(value) for name, value in re.findall(r"^(\w+): +(\d+) kB$", memory, re.MULTILINE)}
        return Loaded(modules=frozenset(modules.split()), rss_kib=kib["Rss"], pss_kib=kib["Pss"])
