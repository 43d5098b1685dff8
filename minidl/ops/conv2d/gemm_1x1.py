"""Convolution by 1 x 1 filters: a matrix product over the channels, and nothing else.

    X  [N*P*Q, C]  the pixels as rows; with stride, every sh-th row and sw-th column of the image
    W  [K, C]      the filters

    Y = X W^T + b      dX = dY W      dW = dY^T X      db = sum of the rows of dY

    saved : (x, w)

Nothing is unrolled, padded or added back. Larger filters and padding are refused.

Source: Lin, Chen, Yan 2014, "Network in network", section 3.1; Szegedy et al. 2015 (GoogLeNet) made it common.
"""

from __future__ import annotations

from typing import Any

from minidl.backend import Array, xp_of
from minidl.ops.gemm import add_rows, gemm
from minidl.ops.groups import groups_of, joined
from minidl.signature import Shape
from minidl.window import Pair, Sides, channels_first, channels_last


def forward(
    x: Array, w: Array, b: Array | None, *, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> tuple[Array, tuple]:
    (C, K), seen = (x.shape[1], len(w)), pixels(x, stride)  # [N, P, Q, C]
    X, W = seen.reshape(-1, C), w.reshape(K, -1)
    Y = joined([gemm(X[:, c], W[k].T) for c, k in groups_of(groups, C, K)], axis=1)
    if b is not None:
        Y += b
    return channels_first(Y.reshape(*seen.shape[:3], K)), (x, w)


def backward(dy: Array, saved: tuple, needs: tuple, *, stride: Pair, padding: Sides, dilation: Pair, groups: int) -> tuple:
    x, w = saved
    C, K, dx, dw = x.shape[1], len(w), None, None
    dY, W, parts = channels_last(dy).reshape(-1, K), w.reshape(K, -1), groups_of(groups, C, K)
    if needs[0]:
        dX = joined([gemm(dY[:, k], W[k]) for _, k in parts], axis=1)
        dx = sent_back(dX.reshape(len(dy), *dy.shape[2:], C), x.shape, stride)
    if needs[1]:
        X = pixels(x, stride).reshape(-1, C)
        dw = joined([gemm(dY[:, k].T, X[:, c]) for c, k in parts], axis=0).reshape(w.shape)
    return dx, dw, add_rows(dY) if needs[2] else None


def pixels(x: Array, stride: Pair) -> Array:
    """[N, C, H, W] -> [N, P, Q, C]: what the filters see."""
    return channels_last(x[:, :, :: stride[0], :: stride[1]])


def sent_back(dX: Array, shape: Shape, stride: Pair) -> Array:
    """[N, P, Q, C] -> [N, C, H, W], the adjoint of `pixels`."""
    if stride == (1, 1):
        return channels_first(dX)
    N, C, H, W = shape
    dx = xp_of(dX).zeros((N, H, W, C), dtype=dX.dtype)
    dx[:, :: stride[0], :: stride[1]] = dX
    return channels_first(dx)


def refuses(x: Shape, w: Shape, b: Shape | None, *, padding: Sides, **attrs: Any) -> str | None:
    R, S = w[2:]
    if (R, S) != (1, 1):
        return f"needs a 1x1 filter, got {R}x{S}"
    return f"needs padding 0, got {padding}" if any(padding) else None
