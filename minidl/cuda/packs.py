"""How many neighbours in memory a thread of a CUDA kernel takes at once: the V of packs.cuh.

A GPU reads 16 bytes in one instruction, if they begin at a multiple of 16. So a kernel whose arrays end in C channels is
compiled for a V that divides C: what is computed once for a thread, which pixel it has, is then shared by V numbers.
"""

from __future__ import annotations

from minidl.backend import Array
from minidl.cuda import address

AT_ONCE = 16  # bytes


def pack_size(most: int, *arrays: Array) -> int:
    """The V for arrays [..., C]: the largest power of 2 up to `most` that divides C, and at whose multiples the arrays begin.

    >>> import numpy as np
    >>> from minidl.cuda.packs import pack_size
    >>> [pack_size(4, np.empty((2, C), np.float32)) for C in (64, 6, 3)]
    [4, 2, 1]
    """
    V = 1
    while most >= 2 * V and all(_allows(2 * V, a) for a in arrays):
        V *= 2
    return V


def _allows(V: int, a: Array) -> bool:
    return a.shape[-1] % V == 0 and address(a) % min(AT_ONCE, V * a.itemsize) == 0
