"""The settings that a service started with, handed to each runtime that it starts; the file may have changed since."""

import os
import pickle

from wfmgmt.settings import Settings


def hand_over(settings: Settings) -> int:
    """Return a descriptor from which processes that inherit it can take settings, each of them once."""
    descriptor = os.memfd_create("wfmgmt-settings")
    os.write(descriptor, pickle.dumps(settings))
    return descriptor


def take_over(descriptor: int) -> Settings:
    """Return the settings that the process which started this one has handed over."""
    content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)  # Others read by the same position.
    os.close(descriptor)
    settings: Settings = pickle.loads(content)  # noqa: S301 - only the service itself can write there
    return settings
