"""Limits on workers, which also make the kernel kill them first when memory runs short.

A handler is as trusted as the service's user: these keep accidents from taking the service along, and make attacks on
other processes of that user harder, no more (`docs/explanation/security.md`).
"""

import contextlib
import ctypes
import os
import resource
import signal

#: Of the processes and threads that the service's user may have, so many, or a quarter if that is less, are for the
#: service alone: for web workers, the runtime, and new workers in the place of those that took all others.
RESERVED_PROCESSES = 512
#: Out of 1000: a worker is killed for want of memory before a process of the service that has half the machine's.
_OOM_SCORE = 500
_SYSTEM_LIMITS = ("/proc/sys/kernel/threads-max", "/proc/sys/kernel/pid_max")

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_LIBC = ctypes.CDLL(None)


def _prctl(option: int, value: int) -> None:
    _LIBC.prctl(option, value, 0, 0, 0)


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send this process a signal when its parent dies."""
    _prctl(_PR_SET_PDEATHSIG, signal_number)


def adopt_orphans() -> None:
    """Become the parent of descendants that lose theirs."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children() -> list[int]:
    """Return this process's children, adopted ones included; none where the system does not say."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as listing:  # noqa: PTH123 - pathlib costs memory
            return [int(pid) for pid in listing.read().split()]
    except OSError:
        return []


def kill_descendants() -> None:
    """Kill all that this process has started, which has to adopt orphans: what they started is its child after them."""
    while pids := children():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def hide_memory() -> None:
    """Keep other processes of our user from reading this one's memory and environment; there are no core dumps then."""
    _prctl(_PR_SET_DUMPABLE, 0)


def process_limit() -> int | None:
    """Return how many processes and threads the service's user may have before workers get no more; None for no limit.

    The kernel counts those of one user, and checks each fork against the limit of the process that forks, so a lower
    limit for workers leaves the difference to the service. It lets root, and CAP_SYS_RESOURCE, pass.
    """
    limits = []
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft)
    for path in (*_SYSTEM_LIMITS, *cgroup_limits()):
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:  # noqa: PTH123 - pathlib costs memory
            limits.append(int(file.read()))
    if not limits:
        return None
    return min(limits) - min(RESERVED_PROCESSES, min(limits) // 4)


def cgroup_limits(listing: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> list[str]:
    """Return the files with the process limit of our control group, such as systemd's TasksMax, and of those around it.

    Where there is no limit, the file says `max` or does not exist.
    """
    with contextlib.suppress(OSError), open(listing, encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs memory
        for line in file:
            if line.startswith("0::/"):
                names = [name for name in line[4:].strip().split("/") if name]
                return ["/".join((root, *names[:depth], "pids.max")) for depth in range(len(names) + 1)]
    return []


def harden_worker(*, processes: int | None, memory_bytes: int | None) -> None:
    """Bound what this worker may have, for good, and have the kernel pick it first.

    Args:
        processes: What `process_limit` of the service returned.
        memory_bytes: Address space; None for no limit.
    """
    if processes is not None:
        _lower(resource.RLIMIT_NPROC, processes)
    if memory_bytes is not None:
        _lower(resource.RLIMIT_AS, memory_bytes)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 1)  # While it is not, its files in /proc are root's.
    _raise_oom_score()
    hide_memory()


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _raise_oom_score() -> None:
    path = "/proc/self/oom_score_adj"
    with contextlib.suppress(OSError, ValueError), open(path, "r+", encoding="ascii") as file:  # noqa: PTH123 - see above
        score = max(int(file.read()), _OOM_SCORE)
        file.seek(0)
        file.write(str(score))


def address_space_bytes() -> int:
    """Return how much address space this process has; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - see above
        return int(file.read().split()[0]) * resource.getpagesize()
    return 0
