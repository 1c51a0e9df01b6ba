"""Which accelerators workers take turns with."""

import re
from pathlib import Path


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
