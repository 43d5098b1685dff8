"""Convolution on the GPU as one matrix product for each group: columns by im2col.cu, db by columns.cu.

    X  [N*P*Q, R*S*Cg]  the windows of x as rows: unfold      F  [K, R*S*Cg]  the filters as rows, in the same order

    Y = X F^T + b     dF = dY^T X     dX = dY F, and dx = fold(dX)     db = sums of the columns of dY

    saved : (x, w). X is made again in backward.

X is R*S times as large as x: it is made for a part of the batch at a time (parts.py). Filters of 1x1 that see every pixel need
no columns: there the products are those of gemm_1x1.

Why: two launches around a product of two dimensions, the one that every library computes fastest. dx is gathered, without
atomics.

Source: Chellapilla, Puri, Simard 2006; on GPUs: Jia 2014, "Learning semantic image representations at a large scale" (Caffe).
"""

from __future__ import annotations

import math

from minidl.backend import Array, xp_of
from minidl.cuda import Source
from minidl.ops.columns import SOURCE as COLUMNS
from minidl.ops.columns import column_sums
from minidl.ops.conv2d import gemm_1x1
from minidl.ops.conv2d.im2col import rows
from minidl.ops.conv2d.parts import parts_of, too_large
from minidl.ops.gemm import gemm
from minidl.ops.groups import groups_of
from minidl.ops.half import narrow, widen
from minidl.signature import Shape
from minidl.window import Pair, Sides, Windows, channels_first, channels_last

RUN = 16  # rows that a thread walks down
SOURCE = Source(__file__, "im2col.cu", also=(COLUMNS,), RUN=RUN)


def forward(
    x: Array, w: Array, b: Array | None, *, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> tuple[Array, tuple]:
    (N, C), K = x.shape[:2], len(w)
    windows = Windows.over(x.shape, w.shape, stride, padding, dilation)
    if sees_pixels(windows):
        product, _ = gemm_1x1.forward(x, w, None, stride=stride, padding=padding, dilation=dilation, groups=groups)
        put(Y := channels_last(product), b, Y, slice(0, K))
        return channels_first(Y), (x, w)
    pixels, F, parts = channels_last(x), rows(w), parts_of(len(x), largest(x.shape, w.shape, windows))
    alone = len(parts) == groups == 1  # a single product is y: nothing is put together
    y: Array = None if alone else xp_of(x).empty((N, *windows.grid, K), dtype=x.dtype)
    for part in parts:
        for c, k in groups_of(groups, C, K):
            Y = gemm(unfold(pixels[part], windows, c), F[k].T)
            put(Y, b, Y if alone else y[part], k)
    return channels_first((Y if alone else y).reshape(N, *windows.grid, K)), (x, w)


def backward(dy: Array, saved: tuple, needs: tuple, *, stride: Pair, padding: Sides, dilation: Pair, groups: int) -> tuple:
    x, w = saved
    windows, dx, dw = Windows.over(x.shape, w.shape, stride, padding, dilation), None, None
    if sees_pixels(windows):
        both = (*needs[:2], False)
        dx, dw, _ = gemm_1x1.backward(dy, saved, both, stride=stride, padding=padding, dilation=dilation, groups=groups)
    elif needs[0] or needs[1]:
        dx, dw = gradients(dy, x, w, windows, groups, needs)
    return dx, dw, column_sums(channels_last(dy).reshape(-1, len(w))) if needs[2] else None


def gradients(dy: Array, x: Array, w: Array, windows: Windows, groups: int, needs: tuple) -> tuple[Array | None, Array | None]:
    """dx and dw, part by part."""
    xp, (N, C, H, W), K = xp_of(dy), x.shape, len(w)
    dY, F = channels_last(dy), rows(w)
    pixels: Array = channels_last(x) if needs[1] else None
    dx: Array = xp.empty((N, H, W, C), dtype=dy.dtype) if needs[0] else None
    dF: Array = xp.zeros_like(widen(F)) if needs[1] else None
    for part in parts_of(len(x), largest(x.shape, w.shape, windows)):
        for c, k in groups_of(groups, C, K):
            d = xp.ascontiguousarray(dY[part].reshape(-1, K)[:, k])
            if needs[0]:
                fold(gemm(d, F[k]), dx[part], windows, c)
            if needs[1]:
                dF[k] += gemm(d.T, unfold(pixels[part], windows, c))
    dw = narrow(dF, dy).reshape(K, *windows.size, -1).transpose(0, 3, 1, 2) if needs[1] else None
    return channels_first(dx) if needs[0] else None, dw


def unfold(pixels: Array, windows: Windows, c: slice) -> Array:
    """[N, H, W, C] -> [N*P*Q, R*S*Cg]: the columns of one group's channels."""
    places = len(pixels) * math.prod(windows.grid)
    X = xp_of(pixels).empty((places, math.prod(windows.size) * (c.stop - c.start)), dtype=pixels.dtype)
    SOURCE.launch("unfold", -(-places // RUN) * X.shape[1], pixels, X, places, *numbers(pixels, windows, c), RUN=RUN)
    return X


def fold(dX: Array, dx: Array, windows: Windows, c: slice) -> None:
    """The adjoint of unfold: fill one group's channels of dx [N, H, W, C]."""
    N, H, W, _ = dx.shape
    count = N * H * -(-W // RUN) * (c.stop - c.start)
    SOURCE.launch("fold", count, dX, dx, N * H, *numbers(dx, windows, c), RUN=RUN)


def numbers(pixels: Array, windows: Windows, c: slice) -> tuple[int, ...]:
    """What unfold and fold should know of the geometry."""
    top, _, left, _ = windows.padding
    channels = (*pixels.shape[1:], c.start, c.stop - c.start)
    return *windows.grid, *channels, *windows.size, *windows.stride, *windows.dilation, top, left


def put(Y: Array, b: Array | None, y: Array, k: slice) -> None:
    """y[:, k] = Y + b[k], of a product Y [N*P*Q, K / groups] and channels-last y; where Y is y, only b is added."""
    many, K = k.stop - k.start, y.shape[-1]
    if b is not None:
        places = Y.size // many
        b = xp_of(b).ascontiguousarray(b)
        SOURCE.launch("add_bias", -(-places // RUN) * many, Y, b, y, places, many, K, k.start, RUN=RUN)
    elif Y is not y:
        y[..., k] = Y.reshape(*y.shape[:-1], many)


def sees_pixels(windows: Windows) -> bool:
    """Does every window see one pixel, and the windows all of them? Then the pixels are the columns."""
    return windows.size == windows.stride == (1, 1) and not any(windows.padding)


def largest(x: Shape, w: Shape, windows: Windows) -> int:
    """How many numbers an image has, in x, in y, or in a group's columns."""
    return max(math.prod(x[1:]), math.prod(windows.grid) * max(w[0], math.prod(w[1:])))


def refuses(x: Shape, w: Shape, b: Shape | None, *, stride: Pair, padding: Sides, dilation: Pair, groups: int) -> str | None:
    return too_large(largest(x, w, Windows.over(x, w, stride, padding, dilation)))
