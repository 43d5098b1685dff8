"""Convolution as the textbook has it: a filter is laid over a window of the image, multiplied, and added up.

    y[n,k,p,q]   = b[k] + sum_{c,r,s} x[n, c, p*sh + r*dh - top, q*sw + s*dw - left] w[k,c,r,s]

    dx[n,c,h,v] += dy[n,k,p,q] w[k,c,r,s]     for every window (p, q) that has (h, v) at its position (r, s)
    dw[k,c,r,s] += dy[n,k,p,q] x[n,c,h,v]     the same pairs
    db[k]        = sum_{n,p,q} dy[n,k,p,q]

    saved : (x, w)

Forward looks at x through a window; backward sends dy back through the same window. Filter k sees only the channels of its
group. All images are done at once, everything else is a Python loop: slow, and the one to read first.

Source: LeCun, Bottou, Bengio, Haffner 1998, section II; groups: Krizhevsky, Sutskever, Hinton 2012, section 3.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from minidl.backend import Array, xp_of
from minidl.window import Pair, Sides, Windows


def forward(
    x: Array, w: Array, b: Array | None, *, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> tuple[Array, tuple]:
    windows = Windows.over(x.shape, w.shape, stride, padding, dilation)
    y = xp_of(x).empty((len(x), len(w), *windows.grid), dtype=x.dtype)
    padded = with_border(x, padding)
    for k, p, q, here in places(w, windows, groups):
        seen = padded[here]  # [N, Cg, R, S]
        y[:, k, p, q] = (seen * w[k]).sum(axis=(1, 2, 3))
        if b is not None:
            y[:, k, p, q] += b[k]
    return y, (x, w)


def backward(dy: Array, saved: tuple, needs: tuple, *, stride: Pair, padding: Sides, dilation: Pair, groups: int) -> tuple:
    x, w = saved
    xp, (top, _, left, _), (H, W) = xp_of(dy), padding, x.shape[2:]
    windows = Windows.over(x.shape, w.shape, stride, padding, dilation)
    padded = with_border(x, padding)
    dx, dw = xp.zeros_like(padded), xp.zeros_like(w)
    for k, p, q, here in places(w, windows, groups) if needs[0] or needs[1] else ():
        d = dy[:, k, p, q].reshape(-1, 1, 1, 1)  # [N, 1, 1, 1]
        if needs[0]:
            dx[here] += d * w[k]
        if needs[1]:
            dw[k] += (d * padded[here]).sum(axis=0)
    return (
        dx[:, :, top : top + H, left : left + W] if needs[0] else None,
        dw if needs[1] else None,
        dy.sum(axis=(0, 2, 3)) if needs[2] else None,
    )


def with_border(x: Array, padding: Sides) -> Array:
    """x with zeros around it."""
    top, bottom, left, right = padding
    return xp_of(x).pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))


def places(w: Array, windows: Windows, groups: int) -> Iterator[tuple]:
    """(k, p, q, index): for each filter and window, where in the padded image they meet."""
    (K, Cg, R, S), (P, Q) = w.shape, windows.grid
    (sh, sw), (dh, dw) = windows.stride, windows.dilation
    for k, p, q in product(range(K), range(P), range(Q)):
        first = k // (K // groups) * Cg  # the first channel of the filter's group
        rows = slice(p * sh, p * sh + dh * (R - 1) + 1, dh)
        columns = slice(q * sw, q * sw + dw * (S - 1) + 1, dw)
        yield k, p, q, (slice(None), slice(first, first + Cg), rows, columns)
