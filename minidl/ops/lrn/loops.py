"""The loops of lrn[compiled]. A row is a pixel: its C channels lie side by side.

alpha, power, k and factor are of x's type: a Python number would make float64 of float32.
"""

from __future__ import annotations

import numpy as np

from minidl.jit import loop


@loop
def forward(x, n, alpha, power, k, y, t):  # type: ignore[no-untyped-def]
    """Fill y = x t^power and t = s^-1/4, [pixels, C]."""
    C, h, one = x.shape[1], n // 2, x.dtype.type(1)
    square, s = np.empty(C, x.dtype), np.empty(C, x.dtype)
    for p in range(len(x)):
        pixel, out, root = x[p], y[p], t[p]
        for c in range(C):
            square[c] = alpha * pixel[c] * pixel[c]
            s[c] = k
        window_sum(square, h, s)
        for c in range(C):
            r = np.sqrt(one / s[c])
            root[c] = np.sqrt(r)
            s[c] = r
        if power == 3:
            for c in range(C):
                out[c] = pixel[c] * s[c] * root[c]
        else:
            for c in range(C):
                out[c] = pixel[c] * root[c] ** power


@loop
def backward(dy, x, t, n, factor, power, dx):  # type: ignore[no-untyped-def]
    """Fill dx = dy t^power + factor x window_sum(dy x t^power t^4), [pixels, C]."""
    C, h = x.shape[1], n // 2
    g, total = np.empty(C, x.dtype), np.empty(C, x.dtype)
    for p in range(len(x)):
        pixel, root, out = x[p], t[p], dx[p]
        if power == 3:
            for c in range(C):
                out[c] = dy[p, c] * root[c] * root[c] * root[c]
        else:
            for c in range(C):
                out[c] = dy[p, c] * root[c] ** power
        for c in range(C):
            square = root[c] * root[c]
            g[c] = factor * square * square * out[c] * pixel[c]
            total[c] = 0
        window_sum(g, h, total)
        for c in range(C):
            out[c] += pixel[c] * total[c]


@loop
def window_sum(a, h, total):  # type: ignore[no-untyped-def]
    """total_c += sum_{|j-c| <= h} a_j."""
    C = len(a)
    for j in range(-h, h + 1):
        if abs(j) < C:
            to, these = total[max(0, -j) : C - max(0, j)], a[max(0, j) : C - max(0, -j)]
            for c in range(len(to)):
                to[c] += these[c]
