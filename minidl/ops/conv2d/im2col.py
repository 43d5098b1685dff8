"""Convolution as one matrix product: every window unrolled into a row.

    X  [N*P*Q, R*S*C]  the windows of x as rows: unfold(x)
    F  [K, R*S*C]      the filters as rows, in the same order
    Y = X F^T + b      [N*P*Q, K]: y, channels-last

    dF = dY^T X        db = sum of the rows of dY        dX = dY F, and dx = fold(dX)

    saved : (x, w). X has R*S times the elements of x. Keeping it would cost that memory; building it again in backward costs
            7 % of the product for AlexNet's conv2, half of it where channels are as few as 16.

dX is not built whole either: its columns for position (r, s) are dY w[:, :, r, s], and are added to dx at once. Groups are
convolutions of their own: one product for each.

Source: Chellapilla, Puri, Simard 2006, "High performance convolutional neural networks for document processing".
"""

from __future__ import annotations

import math

from minidl.backend import Array, xp_of
from minidl.ops.gemm import add_rows, gemm
from minidl.ops.groups import groups_of, joined
from minidl.signature import Shape
from minidl.window import Pair, Sides, Windows, channels_first, channels_last, fold, unfold


def forward(
    x: Array, w: Array, b: Array | None, *, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> tuple[Array, tuple]:
    (N, C), K = x.shape[:2], len(w)
    windows = Windows.over(x.shape, w.shape, stride, padding, dilation)
    y = joined([gemm(unfold(x[:, c], windows), rows(w[k]).T) for c, k in groups_of(groups, C, K)], axis=1)  # [N*P*Q, K]
    if b is not None:
        y += b
    return channels_first(y.reshape(N, *windows.grid, K)), (x, w)


def backward(dy: Array, saved: tuple, needs: tuple, *, stride: Pair, padding: Sides, dilation: Pair, groups: int) -> tuple:
    x, w = saved
    (N, C, H, W), (K, Cg, R, S) = x.shape, w.shape
    windows = Windows.over(x.shape, w.shape, stride, padding, dilation)
    dY, dx, dw = channels_last(dy).reshape(-1, K), [], []  # [N*P*Q, K]
    for c, k in groups_of(groups, C, K):
        if needs[0]:
            columns = (gemm(dY[:, k], w_rs) for w_rs in by_position(w[k]))
            dx.append(fold(columns, (N, Cg, H, W), windows, like=dy))
        if needs[1]:
            dw.append(gemm(dY[:, k].T, unfold(x[:, c], windows)))  # [K / groups, R*S*Cg]
    return (
        joined(dx, axis=1) if needs[0] else None,
        joined(dw, axis=0).reshape(K, R, S, Cg).transpose(0, 3, 1, 2) if needs[1] else None,
        add_rows(dY) if needs[2] else None,
    )


def columns(x: Shape, w: Shape, b: Shape | None, *, stride: Pair, padding: Sides, dilation: Pair, groups: int) -> int:
    """Elements of X for one image and group."""
    return math.prod(Windows.over(x, w, stride, padding, dilation).grid) * math.prod(w[1:])


def rows(w: Array) -> Array:
    """[K, C, R, S] -> [K, R*S*C], the order of what unfold gives."""
    return w.transpose(0, 2, 3, 1).reshape(len(w), -1)


def by_position(w: Array) -> Array:
    """[K, C, R, S] -> [R*S, K, C]: the filters' part at each window position."""
    K, C, R, S = w.shape
    return xp_of(w).ascontiguousarray(w.transpose(2, 3, 0, 1)).reshape(R * S, K, C)
