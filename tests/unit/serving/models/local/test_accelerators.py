"""Accelerators, from made-up lists of devices."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from wfmgmt.serving.models.local.accelerators import Accelerators, visible_devices

FILES = ("nvidia0", "nvidia1", "nvidia10", "nvidiactl", "nvidia-uvm", "null")


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        (None, ("0", "1", "2")),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("2, 0", ("2", "0")),
        ("1,-1,0", ("1",)),
        ("0,3,1", ("0",)),
        ("GPU-8932f937,GPU-1f7f6ae2", ("GPU-8932f937", "GPU-1f7f6ae2")),
        ("MIG-c6d4f1ef-42e4", ("MIG-c6d4f1ef-42e4",)),
    ],
)
def test_devices_are_those_that_the_service_may_see(
    tmp_path: Path, visible: str | None, devices: tuple[str, ...]
) -> None:
    """As CUDA reads its variable: what follows a number that no device has does not count."""
    for name in FILES:
        (tmp_path / name).touch()
    assert visible_devices(tmp_path, visible) == devices


def test_no_devices_are_made_up(tmp_path: Path) -> None:
    """A variable may be left over on a machine without any."""
    assert visible_devices(tmp_path, "0,1") == ()
    assert visible_devices(tmp_path, "GPU-8932f937") == ()


def test_worker_gets_the_device_that_fewest_have() -> None:
    """The first of several; what a worker that is gone had is free again."""
    accelerators = Accelerators(("2", "GPU-1f7f6ae2"))
    with ExitStack() as workers:
        assert [workers.enter_context(accelerators.use()) for _ in range(3)] == ["2", "GPU-1f7f6ae2", "2"]
        with accelerators.use() as device:
            assert device == "GPU-1f7f6ae2"
        assert workers.enter_context(accelerators.use()) == "GPU-1f7f6ae2"
    with accelerators.use() as device:
        assert device == "2"


def test_worker_gets_no_device_where_there_is_none() -> None:
    """Its handler computes on the processor."""
    with Accelerators().use() as device:
        assert device is None
