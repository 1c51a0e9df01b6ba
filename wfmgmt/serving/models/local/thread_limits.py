"""Threads of libraries that were loaded before a worker was forked: these do not read the environment again."""

import contextlib
import sys
from collections.abc import Callable
from types import ModuleType

# What a worker imports itself reads the environment. Of what was preloaded, these take another number; threadpoolctl
# has it for OpenBLAS, BLIS, MKL and OpenMP, whichever of them are loaded, and so for numpy, scipy and scikit-learn.
_SETTERS: dict[str, Callable[[ModuleType, int], object]] = {
    "torch": lambda torch, threads: torch.set_num_threads(threads),
    "numexpr": lambda numexpr, threads: numexpr.set_num_threads(threads),
    "threadpoolctl": lambda threadpoolctl, threads: threadpoolctl.threadpool_limits(threads),
}


def limit_loaded_modules(threads: int) -> None:
    """Have the modules that are loaded already use so many threads; none is imported for it.

    A library that fails at it says so in the worker's log.
    """
    for name, limit in _SETTERS.items():
        module = sys.modules.get(name)
        if module is None:
            continue
        try:
            limit(module, threads)
        except Exception as exc:  # noqa: BLE001 - it is a library's code, whose failure is no reason to have no worker
            with contextlib.suppress(OSError, ValueError):
                print(f"{name} could not be given {threads} threads: {exc}", file=sys.stderr)  # noqa: T201 - the worker's log
