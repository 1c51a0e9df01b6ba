"""How this process's memory allocator treats what is freed."""

import ctypes
from collections.abc import Mapping

#: Blocks up to this size come from the heap, which keeps freed memory for the next ones until so much of it is unused.
_FROM_HEAP_BYTES, _KEPT_BYTES = 8 * 1024 * 1024, 16 * 1024 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> None:
    """Have blocks of megabytes taken from memory that the process has already; forks of it do the same.

    By default the allocator gives such blocks back to the system and asks for new ones, whose pages the system has to
    find and clear: of a prediction with a body of 1 MB that took nearly half of the time.

    Source:
        GNU C library, mallopt(3). Other libraries have no such function or no such parameters, and nothing happens.
    """
    _set({_M_MMAP_THRESHOLD: _FROM_HEAP_BYTES, _M_TRIM_THRESHOLD: _KEPT_BYTES})


def share_heap_between_threads() -> None:
    """Have all threads of this process take their memory from one heap.

    By default each thread gets a heap of its own. Those of threads that unpack archives and read files keep several
    megabytes each with next to nothing in use, and never meet what the event loop frees. Only for a process whose
    threads wait most of the time: they take turns for the one heap.

    Source:
        GNU C library, mallopt(3), M_ARENA_MAX.
    """
    _set({_M_ARENA_MAX: 1})


def _set(parameters: Mapping[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in parameters.items():
            mallopt(parameter, value)


def trim_memory() -> None:
    """Give all freed memory back to the system; it takes milliseconds.

    The allocator itself gives back only what is free at the end of the heap. What lies between blocks in use stays, and
    grows with every peak: tens of megabytes after minutes of mixed load, of which nothing is in use.

    Source:
        GNU C library, malloc_trim(3).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
