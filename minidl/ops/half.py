"""Half types and where they are too narrow: sums, norms and statistics are computed in float32.

    z = widen(x)                    float16 -> float32
    ...
    return narrow(y, x)             float32 -> float16

For float32 and float64 neither does anything, and neither copies.
"""

from __future__ import annotations

import numpy as np

from minidl.backend import Array

HALF = 2  # bytes: float16 and bfloat16


def widen(a: Array) -> Array:
    """The array in float32 if its type is a half type; otherwise itself."""
    return a.astype(np.float32) if a.dtype.itemsize == HALF else a


def narrow(a: Array, like: Array) -> Array:
    """The array in the type of `like` if that is a half type; otherwise itself."""
    return a.astype(like.dtype) if like.dtype.itemsize == HALF else a
