"""Max pooling position by position: each of the R*S positions is compared with the best so far, for all windows at once.

saved : 'first': (which of the R*S positions won, one byte each for windows of up to 256; shape of x)     'even': (x, y)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minidl.backend import Array, xp_of
from minidl.window import Pair, Sides, Windows, channels_first, channels_last, fold, pad

INFINITY, NAN = float("inf"), float("nan")


def forward(
    x: Array, *, kernel_size: Pair, stride: Pair, padding: Sides, dilation: Pair, ceil_mode: bool, ties: str
) -> tuple[Array, tuple]:
    windows = Windows.over(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    code_type = np.min_scalar_type(math.prod(kernel_size) - 1).type  # the smallest that counts the positions
    xp, padded = xp_of(x), pad(x, windows, -INFINITY)  # [N, H', W', C]
    first, *others = windows.positions()
    y = padded[windows.at(*first)]  # [N, P, Q, C]
    rows, columns = first_inside(xp, windows)
    code = xp.broadcast_to((rows[:, None] * kernel_size[1] + columns)[:, :, None].astype(code_type), y.shape)
    for i, position in enumerate(others, start=1):
        seen = padded[windows.at(*position)]
        code = xp.maximum(code, (seen > y) * code_type(i))  # a later winner has a larger code
        y = xp.maximum(y, seen)
    y = channels_first(y)
    return y, (code, x.shape) if ties == "first" else (x, y)


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
    x_shape = saved[1] if ties == "first" else saved[0].shape
    windows = Windows.over(x_shape, kernel_size, stride, padding, dilation, ceil_mode)
    shares = to_first if ties == "first" else in_equal_parts
    return (fold(shares(channels_last(dy), saved, windows), x_shape, windows, like=dy),)


def first_inside(xp: Any, windows: Windows) -> tuple[Array, Array]:
    """The number of the first row [P] and column [Q] of each window that is not padding: where all are -infinity, they win."""
    rows, columns = (
        xp.maximum(before + gap - 1 - step * xp.arange(count), 0) // gap  # what padding is left, in gaps, rounded up
        for before, gap, step, count in zip(windows.padding[::2], windows.dilation, windows.stride, windows.grid, strict=True)
    )
    return rows, columns


def to_first(dy: Array, saved: tuple, windows: Windows) -> Iterator[Array]:
    """For each window position what goes back through it: dy where it won, [N, P, Q, C]."""
    code, _ = saved
    for i, _ in enumerate(windows.positions()):
        yield (code == i).astype(dy.dtype) * dy


def in_equal_parts(dy: Array, saved: tuple, windows: Windows) -> Iterator[Array]:
    """For each window position what goes back through it: its part of dy where it holds the maximum, [N, P, Q, C]."""
    padded, y = pad(saved[0], windows, NAN), channels_last(saved[1])  # NaN equals no maximum, not even -infinity
    won = [padded[windows.at(*position)] == y for position in windows.positions()]
    share = dy / xp_of(dy).maximum(sum(mask.astype(dy.dtype) for mask in won), 1)  # 1: for windows that are NaN
    for mask in won:
        yield share * mask
