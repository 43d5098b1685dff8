"""Dropout on the GPU: dropout.cu draws the mask in forward and again in backward.

saved : (key,)
"""

from __future__ import annotations

import math

from minidl.backend import Array, xp_of
from minidl.cuda import Source
from minidl.cuda.packs import AT_ONCE, pack_size

SOURCE = Source(__file__, "dropout.cu", V=4)


def forward(x: Array, key: Array, *, p: float, style: str, training: bool) -> tuple[Array, tuple]:
    return dropped(x, key, p, style, training), (key,)


def backward(dy: Array, saved: tuple, needs: tuple, *, p: float, style: str, training: bool) -> tuple:
    (key,) = saved
    return dropped(dy, key, p, style, training), None


def dropped(a: Array, key: Array, p: float, style: str, training: bool) -> Array:
    """The map of forward and of backward. In evaluation it draws nothing: there the formula is as good."""
    if not training:
        return a if style == "inverted" else a * (1 - p)
    xp, N, D = xp_of(a), len(a), math.prod(a.shape[1:])
    images, key = xp.ascontiguousarray(a).reshape(N, D), xp.ascontiguousarray(key)
    y, V = xp.empty_like(images), pack_size(AT_ONCE // a.itemsize, images)
    scale = a.dtype.type(1 / (1 - p) if style == "inverted" else 1)  # rounded as the formula rounds it
    SOURCE.launch("dropped", N * -(-D // 8), images, key, y, N, D, int(p * 2**32) - 2**31, float(scale), V=V)
    return y.reshape(a.shape)
