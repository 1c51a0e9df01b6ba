"""How much of a file is done, for those who watch long work."""

from collections.abc import Callable

#: Called now and then with the bytes of a file that are done, 0 first, and how many it has, if that is known.
ByteCounter = Callable[[int, int | None], None]


def ignore_bytes(_done: int, _total: int | None) -> None:
    """Count nothing."""
