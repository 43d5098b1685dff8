"""How many neighbours in memory a thread of a CUDA kernel takes at once: the V of packs.cuh.

A GPU reads 16 bytes in one instruction, if they begin at a multiple of 16. So a kernel whose arrays end in C channels is
compiled for a V that divides C: what is computed once for a thread, which pixel it has, is then shared by V numbers.
The tiles of gemm.cu and implicit_gemm.cu are copied so, too.
"""

from __future__ import annotations

from collections.abc import Sequence

from minidl.backend import Array
from minidl.cuda.tables import address

AT_ONCE = 16  # bytes


def pack_size(most: int, *arrays: Array, counts: Sequence[int] = ()) -> int:
    """The V for arrays [..., C]: the largest power of 2 up to `most` that divides C, and at whose multiples the arrays begin.

    counts  what else it has to divide: where a group's channels begin, and how many they are

    >>> import numpy as np
    >>> from minidl.cuda.packs import pack_size
    >>> [pack_size(4, np.empty((2, C), np.float32)) for C in (64, 6, 3)]
    [4, 2, 1]
    >>> pack_size(4, np.empty((2, 64), np.float32), counts=(32, 6))
    2
    """
    V = 1
    while most >= 2 * V and all(_allows(2 * V, a) for a in arrays) and not any(n % (2 * V) for n in counts):
        V *= 2
    return V


def _allows(V: int, a: Array) -> bool:
    return a.shape[-1] % V == 0 and address(a) % min(AT_ONCE, V * a.itemsize) == 0
