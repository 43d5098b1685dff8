"""Max pooling on the GPU: max_pool2d.cu. A byte says which position won, and backward gathers by it.

saved : (which of the R*S positions won [N, P, Q, C], one byte each for windows of up to 256; shape of x), as the plain kernels
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array, xp_of
from minidl.cuda import Source
from minidl.ops.max_pool2d.compiled import refuses
from minidl.ops.pooling_cuda import launch
from minidl.window import Pair, Sides, Windows, channels_first, channels_last

__all__ = ["SOURCE", "backward", "forward", "refuses"]
SOURCE = Source(__file__, "max_pool2d.cu", R=3, S=3, V=4, BYTES=1)


def forward(
    x: Array, *, kernel_size: Pair, stride: Pair, padding: Sides, dilation: Pair, ceil_mode: bool, ties: str
) -> tuple[Array, tuple]:
    X, windows, xp = channels_last(x), Windows.over(x.shape, kernel_size, stride, padding, dilation, ceil_mode), xp_of(x)
    y = xp.empty((len(x), *windows.grid, x.shape[1]), dtype=x.dtype)
    code = xp.empty(y.shape, dtype=np.min_scalar_type(math.prod(kernel_size) - 1))
    launch(SOURCE, "max_pool2d_forward", X, code, y, image=x.shape, windows=windows, code=code.dtype)
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
    windows = Windows.over((N, C, H, W), kernel_size, stride, padding, dilation, ceil_mode)
    dx = xp_of(dy).empty((N, H, W, C), dtype=dy.dtype)
    launch(SOURCE, "max_pool2d_backward", channels_last(dy), code, dx, image=(N, C, H, W), windows=windows, code=code.dtype)
    return (channels_first(dx),)
