"""The accelerators that workers share."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class Accelerators:
    """The accelerators of this machine and how many workers have each. For the event loop only.

    Args:
        devices: What CUDA_VISIBLE_DEVICES calls each.
    """

    def __init__(self, devices: Sequence[str] = ()) -> None:
        self._users = dict.fromkeys(devices, 0)

    @contextmanager
    def use(self) -> Iterator[str | None]:
        """Give the accelerator that the fewest workers have, the first of several; None when there are none."""
        if not self._users:
            yield None
            return
        device = min(self._users, key=lambda each: self._users[each])
        self._users[device] += 1
        try:
            yield device
        finally:
            self._users[device] -= 1


def visible_devices(folder: Path = Path("/dev"), visible: str | None = None) -> tuple[str, ...]:
    """Return what CUDA_VISIBLE_DEVICES calls each NVIDIA device that there is for workers to use.

    Args:
        folder: Has the system's device files.
        visible: CUDA_VISIBLE_DEVICES of the service: numbers or identities of devices separated by commas, of which
            those after a number that no device has do not count; None when it is not set.

    Source:
        NVIDIA's CUDA programming guide on CUDA_VISIBLE_DEVICES.
    """
    present = sum(re.fullmatch(r"nvidia[0-9]+", path.name) is not None for path in folder.iterdir())
    numbers = tuple(map(str, range(present)))
    if visible is None or not present:
        return numbers
    listed = [name.strip() for name in visible.split(",")]
    is_there = [name in numbers or name.startswith(("GPU-", "MIG-")) for name in listed]
    return tuple(listed[: is_there.index(False)] if False in is_there else listed)
