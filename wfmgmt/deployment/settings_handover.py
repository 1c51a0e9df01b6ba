"""The settings that a service started with, handed to each runtime that it starts; the file may have changed since."""

import errno
import fcntl
import os
import pickle

from wfmgmt.settings import Settings

#: Says that the content never becomes a program; some hosts want it. Older Pythons have no name for it.
_NOEXEC_SEAL = 0x0008
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


def hand_over(settings: Settings) -> int:
    """Return a descriptor from which processes that inherit it can take settings, each of them once."""
    descriptor = _memory_file()
    os.write(descriptor, pickle.dumps(settings))
    # Other processes of our user can open it by /proc; from here on none can change what the runtime unpickles.
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor


def take_over(descriptor: int) -> Settings:
    """Return the settings that the process which started this one has handed over."""
    content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)  # Others read by the same position.
    os.close(descriptor)
    settings: Settings = pickle.loads(content)  # noqa: S301 - sealed by the service before any runtime was started
    return settings


def _memory_file() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("wfmgmt-settings", flags | _NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return os.memfd_create("wfmgmt-settings", flags)  # Linux before 6.3
