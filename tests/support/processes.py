"""The processes of a deployment: which are there, how much they hold, and how they are replaced."""

import os
import signal
import threading
from pathlib import Path
from typing import Self

from tests.support.service import Service, command_line, is_runtime, pids_of, wait_until

MIB = 1024 * 1024


def web_workers(service: Service) -> list[int]:
    """Return the process ids of the web workers."""
    master = service.process.pid if service.process else 0
    return [pid for pid in pids_of(service.instance) if "gunicorn" in command_line(pid) and pid != master]


def reload(service: Service, *, timeout_s: float) -> None:
    """Have gunicorn replace its web workers, as SIGHUP does, and wait for the two new ones."""
    assert service.process is not None
    before = set(web_workers(service))
    service.process.send_signal(signal.SIGHUP)
    wait_until(
        lambda: len(now := set(web_workers(service))) == 2 and not now & before,
        timeout_s=timeout_s,
        what="new web workers",
    )


def cpu_s(pid: int) -> float:
    """Return the seconds that a process and all its threads have been on a processor."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


class MemoryWatch:
    """Looks at the memory of processes again and again while a block runs.

    Attributes:
        growth_bytes: The most that one of them grew.
    """

    def __init__(self, pids: list[int]) -> None:
        self.growth_bytes = 0
        self._before = {pid: resident_bytes(pid) for pid in pids}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            growth = [resident_bytes(pid) - before for pid, before in self._before.items()]
            self.growth_bytes = max(self.growth_bytes, *growth)


def runtime_pids(service: Service) -> list[int]:
    """Return the process ids of the runtime: of one that ends and the next one, for a moment."""
    return [pid for pid in pids_of(service.instance) if is_runtime(command_line(pid))]


def runtime_pid(service: Service) -> int:
    """Return the process id of the runtime."""
    found: list[int] = wait_until(lambda: runtime_pids(service), what="a runtime")
    return found[0]
