"""The accelerators that workers share."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Accelerators:
    """The accelerators of this machine and how many workers have each. For the event loop only.

    Args:
        count: How many there are.
    """

    def __init__(self, count: int = 0) -> None:
        self._users = [0] * count

    @contextmanager
    def use(self) -> Iterator[int | None]:
        """Give the accelerator that the fewest workers have, the first of several; None when there are none."""
        if not self._users:
            yield None
            return
        gpu_id = self._users.index(min(self._users))
        self._users[gpu_id] += 1
        try:
            yield gpu_id
        finally:
            self._users[gpu_id] -= 1


def count_accelerators(devices: Path = Path("/dev"), visible: str | None = None) -> int:
    """Return how many NVIDIA devices there are for workers to use.

    Args:
        devices: Folder of the system's device files.
        visible: CUDA_VISIBLE_DEVICES as workers will see it: a list of devices separated by commas, of which those
            after a negative number do not count; None when it is not set.

    Source:
        NVIDIA's CUDA programming guide on CUDA_VISIBLE_DEVICES. Handlers number the devices that are left from 0.
    """
    present = sum(re.fullmatch(r"nvidia[0-9]+", path.name) is not None for path in devices.iterdir())
    if visible is None:
        return present
    listed = [name.strip() for name in visible.split(",")]
    hidden = [index for index, name in enumerate(listed) if not name or name.startswith("-")]
    return min(present, hidden[0] if hidden else len(listed))
