"""What processes cost, as the kernel tells."""

import os
from collections.abc import Iterable
from pathlib import Path

from tests.support.service import Service, command_line, pids_of

KIB_PER_MB = 1_000_000 / 1024


def memory_mb(pids: Iterable[int], field: str) -> float:
    """Return the sum of a field of `smaps_rollup` over processes, in MB; `Rss` counts shared pages again and again."""
    return sum(_kib(pid, field) for pid in pids) / KIB_PER_MB


def _kib(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0


def threads(pid: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def cpu_s(pid: int) -> float:
    """Return the seconds that a process and all its threads have been on a processor."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    user, system = fields[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def web_workers(service: Service) -> list[int]:
    """Return the web workers of a service: gunicorn's processes but the master."""
    master = service.process.pid if service.process is not None else None
    return [pid for pid in pids_of(service.instance) if "gunicorn" in command_line(pid) and pid != master]


def model_workers(service: Service) -> list[int]:
    """Return the processes that run models and functions; the forkserver, which all workflows share, comes first."""
    return sorted(service.worker_pids())
