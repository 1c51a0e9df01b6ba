"""How this process's memory allocator treats what is freed."""

import ctypes
import sys

#: Blocks up to this size come from the heap, which keeps freed memory for the next ones until so much of it is unused.
_FROM_HEAP_BYTES, _KEPT_BYTES = 8 * 1024 * 1024, 16 * 1024 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Have blocks of megabytes taken from memory that the process has already; forks of it do the same.

    By default the allocator gives such blocks back to the system and asks for new ones, whose pages the system has to
    find and clear: of a prediction with a body of 1 MB that took nearly half of the time.

    Source:
        GNU C library, mallopt(3). Other libraries have no such function or no such parameters, and nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _FROM_HEAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def trim_memory() -> None:
    """Give freed memory back to the system, wherever it lies; it takes milliseconds.

    The allocator itself gives back only what is free at the end of the heap. What lies between blocks in use stays, and
    grows with every peak: tens of megabytes after minutes of mixed load, of which nothing is in use.

    Source:
        GNU C library, malloc_trim(3).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
