"""Statistics of this process's memory, on request."""

import ctypes
import gc
import sys

from wfmgmt.control.messages import MemoryReport


class _MallInfo(ctypes.Structure):
    """The struct that mallinfo2(3) of the GNU C library returns."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")),
    )


def collect_and_measure() -> MemoryReport:
    """Free what is unreachable, and return what the memory is used for then.

    It looks at every object and so holds up all else; the runtime does it by itself now and then.
    """
    unreachable = gc.collect()
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    used_bytes = free_bytes = 0
    if mallinfo is not None:
        mallinfo.restype = _MallInfo
        info = mallinfo()
        used_bytes, free_bytes = info.uordblks + info.hblkhd, info.fordblks
    return MemoryReport(
        unreachable=unreachable, blocks=sys.getallocatedblocks(), used_bytes=used_bytes, free_bytes=free_bytes
    )
