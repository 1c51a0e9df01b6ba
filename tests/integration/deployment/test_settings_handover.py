"""The settings that a service hands to its runtime."""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from wfmgmt.deployment.settings_handover import hand_over, take_over
from wfmgmt.settings import Settings


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> Settings:
    return Settings.load({}, instance=tmp_path, allowed_urls="https://a/.*", torchserve_management_key="secret")


def test_settings_arrive_as_they_were(settings: Settings) -> None:
    """Patterns and secrets too."""
    taken = take_over(hand_over(settings))
    assert taken == settings
    assert taken.allowed_urls == (re.compile("https://a/.*"),)


@pytest.mark.parametrize(
    "change",
    [lambda fd: os.write(fd, b"x"), lambda fd: os.ftruncate(fd, 0), lambda fd: os.ftruncate(fd, 1 << 20)],
    ids=["write", "shrink", "grow"],
)
def test_settings_handed_over_cannot_be_changed(settings: Settings, change: Callable[[int], object]) -> None:
    """Any process of the same user can open the file by /proc, and the runtime unpickles what it finds there."""
    descriptor = hand_over(settings)
    opened = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            change(opened)
    finally:
        os.close(opened)
    assert take_over(descriptor) == settings


def test_settings_are_handed_over_on_an_older_linux(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses flags that it does not know."""
    create, known = os.memfd_create, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING

    def older(name: str, flags: int) -> int:
        if flags & ~known:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return create(name, flags)

    monkeypatch.setattr(os, "memfd_create", older)
    assert take_over(hand_over(settings)) == settings
