"""The loops of max_pool2d[compiled], on maps [N, H, W, C]."""

from __future__ import annotations

import numpy as np

from minidl.jit import loop


@loop
def forward(x, size, stride, corner, gaps, y, code):  # type: ignore[no-untyped-def]
    """Fill y and code [N, P, Q, C]: the largest of each window, and which of its R*S positions it has; the first of equals.

    corner  the rows and columns of padding before the image     gaps  the dilation
    """
    _, H, W, C = x.shape
    for n in range(len(x)):
        for p in range(y.shape[1]):
            for q in range(y.shape[2]):
                best, where, empty = y[n, p, q], code[n, p, q], True
                for r in range(size[0]):
                    h = p * stride[0] + r * gaps[0] - corner[0]
                    for s in range(size[1]):
                        v, number = q * stride[1] + s * gaps[1] - corner[1], r * size[1] + s
                        if not (0 <= h < H and 0 <= v < W):
                            continue
                        pixel = x[n, h, v]
                        if empty:
                            for c in range(C):
                                best[c] = pixel[c]
                                where[c] = number
                        else:
                            for c in range(C):
                                larger = pixel[c] > best[c] or pixel[c] != pixel[c]  # NaN stays
                                best[c] = pixel[c] if larger else best[c]
                                where[c] = number if larger else where[c]
                        empty = False
                if empty:
                    best[:] = -np.inf
                    where[:] = 0


@loop
def backward(dy, code, size, stride, corner, gaps, dx):  # type: ignore[no-untyped-def]
    """Add dy [N, P, Q, C] to dx [N, H, W, C] where the largest were."""
    (_, H, W, C), zero = dx.shape, dx.dtype.type(0)
    for n in range(len(dx)):
        for p in range(dy.shape[1]):
            for q in range(dy.shape[2]):
                g, where = dy[n, p, q], code[n, p, q]
                for r in range(size[0]):
                    h = p * stride[0] + r * gaps[0] - corner[0]
                    for s in range(size[1]):
                        v, number = q * stride[1] + s * gaps[1] - corner[1], r * size[1] + s
                        if 0 <= h < H and 0 <= v < W:
                            to = dx[n, h, v]
                            for c in range(C):
                                to[c] += g[c] if where[c] == number else zero
