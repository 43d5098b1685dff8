"""Stochastic pooling on the GPU: stochastic_pool2d.cu draws the positions that the plain kernel draws, and backward gathers.

saved : training:   (which of the R*S positions was drawn [N, P, Q, C], R*S for none; shape of x), as the plain kernel
        evaluation: (x, y)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.backend import Array, xp_of
from minidl.cuda import Source
from minidl.ops.pooling_cuda import launch
from minidl.window import Pair, Sides, Windows, channels_first, channels_last

SOURCE = Source(__file__, "stochastic_pool2d.cu", R=3, S=3, V=8, BYTES=1)
DRAWN_TOGETHER = 8  # channels that share a block of Philox


def forward(
    x: Array, key: Array, *, kernel_size: Pair, stride: Pair, padding: Sides, ceil_mode: bool, training: bool
) -> tuple[Array, tuple]:
    X, xp, windows = channels_last(x), xp_of(x), Windows.over(x.shape, kernel_size, stride, padding, ceil_mode=ceil_mode)
    y, number = xp.empty((len(x), *windows.grid, x.shape[1]), dtype=x.dtype), counting(kernel_size)
    if not training:
        launch(SOURCE, "stochastic_pool2d_mean", X, y, image=x.shape, windows=windows, code=number)
        return (y := channels_first(y)), (x, y)
    code, key, largest = xp.empty(y.shape, dtype=number), xp.ascontiguousarray(key), X.max(axis=(1, 2))
    how: dict[str, Any] = {"image": x.shape, "windows": windows, "code": number, "most": DRAWN_TOGETHER}
    launch(SOURCE, "stochastic_pool2d_draw", X, largest, key, code, y, **how)
    return channels_first(y), (code, x.shape)


def backward(
    dy: Array, saved: tuple, needs: tuple, *, kernel_size: Pair, stride: Pair, padding: Sides, ceil_mode: bool, training: bool
) -> tuple:
    dY, xp, number = channels_last(dy), xp_of(dy), counting(kernel_size)
    N, C, H, W = saved[1] if training else saved[0].shape
    windows = Windows.over((N, C, H, W), kernel_size, stride, padding, ceil_mode=ceil_mode)
    dx = xp.empty((N, H, W, C), dtype=dy.dtype)
    how: dict[str, Any] = {"image": (N, C, H, W), "windows": windows, "code": number}
    if training:
        launch(SOURCE, "stochastic_pool2d_gather", dY, saved[0], dx, **how)
        return channels_first(dx), None
    x, y = (channels_last(a) for a in saved)
    share = xp.empty(dY.shape, dtype=np.promote_types(dy.dtype, np.float32))  # dy / S of each window
    launch(SOURCE, "stochastic_pool2d_share", x, dY, share, **how)
    launch(SOURCE, "stochastic_pool2d_spread", x, y, share, dx, **how)
    return channels_first(dx), None


def counting(kernel_size: Pair) -> np.dtype:
    """The smallest type that counts the positions of a window and one more."""
    return np.min_scalar_type(math.prod(kernel_size))
