"""Memory that stays with the process, for networks on processors. glibc only.

Activations of tens of megabytes are more than glibc serves from its heap (32 MiB): each is mapped
anew, and the kernel fills it with zeros, page by page. Kept in the heap, the same pages serve
again.
"""

from __future__ import annotations

import ctypes
import platform

# malloc.h: how many blocks may be mapped; what is left at the top of the heap before it is given
# back; what is taken with it.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
MOST = 2**31 - 1
PAD = 64 << 20


def keep_memory() -> bool:
    """Keep what is freed, for all of this process. False where the allocator is another one."""
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL("libc.so.6")
    wanted = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, MOST), (M_TOP_PAD, PAD))
    return all(libc.mallopt(name, value) for name, value in wanted)
