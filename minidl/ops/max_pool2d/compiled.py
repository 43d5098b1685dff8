"""Max pooling window by window, in compiled loops: x is read once, and y and one byte each are written once.

    y[p,q] = the largest of the window, and the number of its position, in reading order; of equals the first
    dx     : dy goes to that position

    saved : (the numbers [N, P, Q, C], shape of x), as the plain kernels have it

Why: whole arrays pass through memory R + S times; here a window's pixels stay in the nearest cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.signature import Shape
from minidl.window import Pair, Sides, Windows, channels_first, channels_last


def forward(
    x: Array, *, kernel_size: Pair, stride: Pair, padding: Sides, dilation: Pair, ceil_mode: bool, ties: str
) -> tuple[Array, tuple]:
    X, windows = channels_last(x), Windows.over(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    y = np.empty((len(x), *windows.grid, x.shape[1]), x.dtype)
    code = np.empty(y.shape, np.min_scalar_type(math.prod(kernel_size) - 1))
    loops().forward(X, kernel_size, stride, padding[::2], dilation, y, code)
    return channels_first(y), (code, x.shape)


def backward(
    dy: Array,
    saved: tuple,
    needs: tuple,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Sides,
    dilation: Pair,
    ceil_mode: bool,
    ties: str,
) -> tuple:
    code, (N, C, H, W) = saved
    dx = np.zeros((N, H, W, C), dy.dtype)
    loops().backward(channels_last(dy), code, kernel_size, stride, padding[::2], dilation, dx)
    return (channels_first(dx),)


def refuses(x: Shape, *, ties: str, **attrs: Any) -> str | None:
    return "needs ties='first', got 'even'" if ties != "first" else None


def loops() -> Any:
    """Loaded when first called for."""
    from minidl.ops.max_pool2d import loops

    return loops
