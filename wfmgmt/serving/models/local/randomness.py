"""Global random number generators: a fork has a copy of each, which would give every worker the same numbers."""

import contextlib
import os
import sys
from collections.abc import Callable
from types import ModuleType

_SEED_BYTES = 4


def _seed_torch(torch: ModuleType) -> None:
    """Seed the CPU and, without initialising them, all accelerators; see `torch.manual_seed`."""
    torch.manual_seed(int.from_bytes(os.urandom(_SEED_BYTES)))


# Python's `random` seeds itself after a fork; `secrets`, `uuid4` and `ssl` ask the system or notice forks, too. scipy
# and scikit-learn draw from numpy's generator.
_SEEDERS: dict[str, Callable[[ModuleType], None]] = {
    "numpy.random": lambda random: random.seed(),
    "torch": _seed_torch,
}


def seed_loaded_modules() -> None:
    """Seed the global generators of the modules that are loaded already; none is imported for it.

    A library that cannot be seeded, such as one whose generator was replaced, says so in the worker's log.
    """
    for name, seed in _SEEDERS.items():
        module = sys.modules.get(name)
        if module is None:
            continue
        try:
            seed(module)
        except Exception as exc:  # noqa: BLE001 - it is a library's code, whose failure is no reason to have no worker
            with contextlib.suppress(OSError, ValueError):
                print(f"{name} could not be seeded anew: {exc}", file=sys.stderr)  # noqa: T201 - the worker's log
