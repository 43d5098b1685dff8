"""Transposed convolution as the textbook has it: every pixel of x is a stamp that leaves its filter on y.

    y[n, k, h*sh + r*dh - top, v*sw + s*dw - left] += x[n,c,h,v] w[c,k,r,s]     for all n, c, k, h, v, r, s; then b[k] is added

    dx[n,c,h,v] = sum_{k,r,s} dy[n, k, h*sh + r*dh - top, v*sw + s*dw - left] w[c,k,r,s]
    dw[c,k,r,s] = sum_{n,h,v} dy[the same] x[n,c,h,v]
    db[k]       = sum_{n,p,q} dy[n,k,p,q]

    saved : (x, w)

It is direct convolution with the two halves changed over: forward scatters through the windows, backward gathers.
"""

from __future__ import annotations

from minidl.backend import Array, xp_of
from minidl.ops.conv2d.direct import places, with_border
from minidl.window import Pair, Sides, Windows


def forward(
    x: Array, w: Array, b: Array | None, *, stride: Pair, padding: Sides, output_padding: Pair, groups: int, dilation: Pair
) -> tuple[Array, tuple]:
    N, (Kg, R, S), (top, bottom, left, right) = len(x), w.shape[1:], padding
    windows = Windows(x.shape[2:], (R, S), stride, padding, dilation)
    P, Q = windows.image(output_padding)
    padded = xp_of(x).zeros((N, groups * Kg, top + P + bottom, left + Q + right), dtype=x.dtype)
    for c, h, v, here in places(w, windows, groups):
        padded[here] += x[:, c, h, v].reshape(N, 1, 1, 1) * w[c]  # [N, Kg, R, S]
    y = padded[:, :, top : top + P, left : left + Q]
    return y if b is None else y + b.reshape(-1, 1, 1), (x, w)


def backward(
    dy: Array, saved: tuple, needs: tuple, *, stride: Pair, padding: Sides, output_padding: Pair, groups: int, dilation: Pair
) -> tuple:
    x, w = saved
    xp, N = xp_of(dy), len(x)
    windows = Windows(x.shape[2:], w.shape[2:], stride, padding, dilation)
    padded, dx, dw = with_border(dy, padding), xp.zeros_like(x), xp.zeros_like(w)
    for c, h, v, here in places(w, windows, groups) if needs[0] or needs[1] else ():
        seen = padded[here]  # [N, Kg, R, S]
        if needs[0]:
            dx[:, c, h, v] = (seen * w[c]).sum(axis=(1, 2, 3))
        if needs[1]:
            dw[c] += (x[:, c, h, v].reshape(N, 1, 1, 1) * seen).sum(axis=0)
    return dx if needs[0] else None, dw if needs[1] else None, dy.sum(axis=(0, 2, 3)) if needs[2] else None
