"""Convolution as R*S shifted 1x1 convolutions, added up: no unrolled windows, so no memory for them.

    x_rs [N*P*Q, C] what position (r, s) of every window sees     w_rs [K, C] = w[:, :, r, s]

    Y = b + sum_{r,s} x_rs w_rs^T                 [N*P*Q, K]: y, channels-last
    dw_rs = dY^T x_rs      db = sum of the rows of dY      dx: dY w_rs is added where x_rs was seen

    saved : (x, w)

R*S small products in place of one large one: it reads and writes y R*S times, which is why im2col is usually faster.

Source: Vasudevan, Anderson, Gregg 2017, "Parallel multi channel convolution using general matrix multiplication" (kn2row).
"""

from __future__ import annotations

from minidl.backend import Array, xp_of
from minidl.ops.gemm import add_rows, gemm
from minidl.ops.groups import groups_of, joined
from minidl.ops.half import narrow, widen
from minidl.window import Pair, Sides, Windows, channels_first, channels_last, fold, pad


def forward(
    x: Array, w: Array, b: Array | None, *, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> tuple[Array, tuple]:
    (N, C), K = x.shape[:2], len(w)
    windows = Windows.over(x.shape, w.shape, stride, padding, dilation)
    y = joined([sum_of_shifts(x[:, c], w[k], windows) for c, k in groups_of(groups, C, K)], axis=1)  # [N*P*Q, K]
    if b is not None:
        y += b
    return channels_first(narrow(y, x).reshape(N, *windows.grid, K)), (x, w)


def sum_of_shifts(x: Array, w: Array, windows: Windows) -> Array:
    """sum_{r,s} x_rs w_rs^T, [N*P*Q, K]; half types are added up in float32."""
    (N, C), (P, Q), padded, w = x.shape[:2], windows.grid, pad(x, windows), widen(w)
    y = xp_of(x).zeros((N * P * Q, len(w)), dtype=w.dtype)
    for r, s in windows.positions():
        y += gemm(widen(padded[windows.at(r, s)]).reshape(-1, C), w[:, :, r, s].T)
    return y


def backward(dy: Array, saved: tuple, needs: tuple, *, stride: Pair, padding: Sides, dilation: Pair, groups: int) -> tuple:
    x, w = saved
    (N, C, H, W), (K, Cg) = x.shape, w.shape[:2]
    windows = Windows.over(x.shape, w.shape, stride, padding, dilation)
    dY, dx, dw = channels_last(dy).reshape(-1, K), [], xp_of(w).empty(w.shape, dtype=w.dtype)
    for c, k in groups_of(groups, C, K):
        if needs[0]:
            planes = (gemm(dY[:, k], w[k, :, r, s]) for r, s in windows.positions())
            dx.append(fold(planes, (N, Cg, H, W), windows, like=dy))
        if needs[1]:
            padded = pad(x[:, c], windows)
            for r, s in windows.positions():
                dw[k, :, r, s] = gemm(dY[:, k].T, padded[windows.at(r, s)].reshape(-1, Cg))
    return joined(dx, axis=1) if needs[0] else None, dw if needs[1] else None, add_rows(dY) if needs[2] else None
