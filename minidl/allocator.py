"""The C library's allocator, told to keep memory that was freed.

glibc gives every large array back to the system when it is freed, and asks for it again for the next one. The system hands it
out empty, page by page: an array of 40 MB costs ten thousand page faults, as much time as a ReLU on it. After

    minidl.keep_memory()

the process keeps what it once had and reuses it. Slices of the batch (minidl/executor.py) fit the cache and hardly need it;
arrays of whole batches do.

It holds for the whole process and cannot be taken back, other libraries' arrays included, and memory that Python no longer
needs is not there for other programs. So a library does not do it unasked: `minidl train`, `evaluate`, `predict` and the
benchmarks do.

Source: the GNU C Library manual, "Malloc Tunable Parameters" (mallopt).
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8  # malloc.h
TOP_PAD = 64 << 20  # bytes asked for beyond what is needed: fewer calls to the system


@cache
def keep_memory() -> bool:
    """Keep freed memory for the next arrays, in this process, from now on. False where the C library is not glibc.

    >>> minidl.keep_memory() in (True, False)
    True
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = (
        *((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, TOP_PAD)),  # no mapping of its own, no giving back
        (M_ARENA_MAX, 1),  # what one thread freed serves the others: a tenth less memory in AlexNet's step
    )
    return all(mallopt(name, value) == 1 for name, value in settings)
