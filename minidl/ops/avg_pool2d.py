"""Average pooling: the mean of what each window sees.

    y[n,c,p,q]   = 1 / D[p,q] * sum over r, s of x[n, c, p*sh + r - top, q*sw + s - left]
    dx[n,c,h,v] += dy[n,c,p,q] / D[p,q]   for every window (p, q) that sees (h, v)

    x [N, C, H, W]   y [N, C, P, Q]       P = floor((H + top + bottom - R) / sh) + 1,   Q likewise

kernel_size        R, S; with stride (kernel_size if not given) an int or a pair
padding            zeros around x, in every form of conv2d, at most half of the window
ceil_mode          True rounds P up: one more window for a rest, if it starts inside x or the padding before it
count_include_pad  True: D counts padding too; False: D counts what lies inside x. What a last window of ceil_mode covers
                   beyond the padding is never counted (PyTorch's rules)

saved : shape of x

Source: LeCun, Bottou, Bengio, Haffner 1998, section II (there with a trained factor and bias after it).
"""

from __future__ import annotations

import math
from itertools import product, repeat
from typing import Any

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops import pooling
from minidl.ops.half import narrow, widen
from minidl.window import Pair, Sides, Windows, channels_first, channels_last, fold, pad


def forward(
    x: Array, *, kernel_size: Pair, stride: Pair, padding: Sides, ceil_mode: bool, count_include_pad: bool
) -> tuple[Array, Any]:
    windows = Windows.over(x.shape, kernel_size, stride, padding, ceil_mode=ceil_mode)
    padded = pad(widen(x), windows)
    first, *others = windows.positions()
    total = padded[windows.at(*first)].copy()  # [N, P, Q, C]
    for position in others:
        total += padded[windows.at(*position)]
    return channels_first(narrow(total / counted(total, x.shape, windows, count_include_pad), x)), x.shape


def backward(
    dy: Array,
    saved: Any,
    needs: tuple,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Sides,
    ceil_mode: bool,
    count_include_pad: bool,
) -> tuple:
    windows = Windows.over(saved, kernel_size, stride, padding, ceil_mode=ceil_mode)
    share = channels_last(dy)
    share = share / counted(share, saved, windows, count_include_pad)  # [N, P, Q, C]
    return (fold(repeat(share, math.prod(kernel_size)), saved, windows, like=dy),)


def counted(like: Array, x_shape: tuple, windows: Windows, count_include_pad: bool) -> Array:
    """D [P, Q, 1]: how many positions of each window count."""
    xp, lengths = xp_of(like), []
    for axis, length in enumerate(x_shape[2:]):
        before, after = windows.padding[2 * axis : 2 * axis + 2]
        low, high = (-before, length + after) if count_include_pad else (0, length)
        starts = xp.arange(windows.grid[axis]) * windows.stride[axis] - before  # made where `like` is: nothing is copied there
        lengths.append(xp.minimum(starts + windows.size[axis], high) - xp.maximum(starts, low))
    rows, columns = (n.astype(like.dtype) for n in lengths)
    return rows[:, None, None] * columns[None, :, None]


def definition(
    x: np.ndarray, *, kernel_size: Pair, stride: Pair, padding: Sides, ceil_mode: bool, count_include_pad: bool
) -> np.ndarray:
    (N, C, H, W), (R, S), (_, bottom, _, right) = x.shape, kernel_size, padding
    rows = pooling.starts(H, R, stride[0], padding[:2], 1, ceil_mode)
    columns = pooling.starts(W, S, stride[1], padding[2:], 1, ceil_mode)
    y = np.zeros((N, C, len(rows), len(columns)))
    for (n, c), (p, first_row), (q, first_column) in product(np.ndindex(N, C), enumerate(rows), enumerate(columns)):
        total, count = 0.0, 0
        for h, v in product(range(first_row, first_row + R), range(first_column, first_column + S)):
            inside = 0 <= h < H and 0 <= v < W
            total += x[n, c, h, v] if inside else 0.0
            count += inside or (count_include_pad and h < H + bottom and v < W + right)
        y[n, c, p, q] = total / count
    return y


def problem(d: Draw) -> Problem:
    x, attrs = pooling.ask(d)
    return Problem((d.array(*x),), {**attrs, "count_include_pad": d.one_of("count_include_pad", (True, False))})


WORKLOADS = {
    "lenet.S2": {"N": 128, "C": 6, "H": 28, "W": 28, "kernel_size": 2},
    "googlenet.head": {"N": 128, "C": 512, "H": 14, "W": 14, "kernel_size": 5, "stride": 3},
    "inception_v3.mixed": {"N": 32, "C": 288, "H": 35, "W": 35, "kernel_size": 3, "stride": 1, "padding": 1},
}

avg_pool2d = Op(
    "avg_pool2d",
    "x[N,C,H,W] -> y[N,C,P,Q]",
    definition,
    problem,
    doc=__doc__,
    attrs={"kernel_size": None, "stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True},
    shape=pooling.shape,
    canonical=pooling.canonical,
    workloads=WORKLOADS,
    cost=lambda x, **attrs: Cost(other=math.prod(pooling.shape(x, **attrs)) * math.prod(attrs["kernel_size"])),
    sees=pooling.sees,
)
avg_pool2d.kernel("shifts", forward, backward)
