"""Convolution by Fourier transform: what slides over the map becomes a product at every frequency.

    x^, w^, y^     transforms of x, w and y on a grid that holds the padded image; w^* is the conjugate

    y^ = sum_c x^_c w^*_kc        dx^ = sum_k dy^_k w^_kc        dw^ = sum_n x^_c dy^*_k        y = the inverse of y^, + b

At each frequency that is a matrix product of complex numbers, [N, C] by [C, K]. On a grid as large as the padded image nothing
that wraps around reaches y, dx or dw. Its size is rounded up to 2^i 3^j 5^k, which are transformed fastest.

    saved : (x, w)

The work does not depend on the filter's size, so it pays for large filters, and for large batches: w^ is as large as the image
whatever R and S are, and is made once per call (the batch is not sliced). Stride is 1; dilation costs nothing.

Source: Mathieu, Henaff, LeCun 2014, "Fast training of convolutional networks through FFTs".
"""

from __future__ import annotations

from typing import Any

from minidl.backend import Array, xp_of
from minidl.ops.gemm import add_rows, product
from minidl.ops.groups import groups_of, joined
from minidl.ops.half import narrow, widen
from minidl.signature import Shape
from minidl.window import Pair, Sides, Windows, channels_first, channels_last, pad, span


def forward(
    x: Array, w: Array, b: Array | None, *, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> tuple[Array, tuple]:
    C, K, windows = x.shape[1], len(w), Windows.over(x.shape, w.shape, stride, padding, dilation)
    X, W = spectrum(pad(x, windows), windows, x.shape), spectrum(spread(w, dilation), windows, x.shape).conj()
    Y = joined([product(X[..., c], W[..., k, :].swapaxes(2, 3)) for c, k in groups_of(groups, C, K)], axis=3)
    y = image(Y, windows, x.shape, (0, 0), windows.grid)
    return channels_first(narrow(y if b is None else y + widen(b), x)), (x, w)


def backward(dy: Array, saved: tuple, needs: tuple, *, stride: Pair, padding: Sides, dilation: Pair, groups: int) -> tuple:
    x, w = saved
    (H, Wd), K, parts = x.shape[2:], len(w), groups_of(groups, x.shape[1], len(w))
    windows, dx, dw = Windows.over(x.shape, w.shape, stride, padding, dilation), None, None
    if needs[0] or needs[1]:
        dY = spectrum(channels_last(dy), windows, x.shape)
    if needs[0]:
        W = spectrum(spread(w, dilation), windows, x.shape)
        dX = joined([product(dY[..., k], W[..., k, :]) for _, k in parts], axis=3)
        dx = channels_first(narrow(image(dX, windows, x.shape, (padding[0], padding[2]), (H, Wd)), x))
    if needs[1]:
        X = spectrum(pad(x, windows), windows, x.shape)
        dW = joined([product(dY[..., k].conj().swapaxes(2, 3), X[..., c]) for c, k in parts], axis=2)
        dw = image(dW, windows, x.shape, (0, 0), span(windows.size, dilation))[:, :: dilation[0], :: dilation[1]]
        dw = xp_of(w).ascontiguousarray(narrow(channels_first(dw), w))
    return dx, dw, add_rows(channels_last(dy).reshape(-1, K)) if needs[2] else None


def refuses(x: Shape, w: Shape, b: Shape | None, *, stride: Pair, **attrs: Any) -> str | None:
    return f"needs stride 1, got {stride}" if stride != (1, 1) else None


def spectrum(images: Array, windows: Windows, shape: Shape) -> Array:
    """[N, h, w, C], real -> [frequencies down, frequencies across, N, C], complex; zeros where the grid is larger."""
    return xp_of(images).fft.rfft2(widen(images).transpose(1, 2, 0, 3), s=grid(windows, shape), axes=(0, 1))


def image(Y: Array, windows: Windows, shape: Shape, first: Pair, size: Pair) -> Array:
    """The inverse of `spectrum`: `size` rows and columns of it, from `first` on, [N, rows, columns, K]."""
    (top, left), (rows, columns) = first, size
    y = xp_of(Y).fft.irfft2(Y, s=grid(windows, shape), axes=(0, 1))[top : top + rows, left : left + columns]
    return xp_of(Y).ascontiguousarray(y.transpose(2, 0, 1, 3))


def spread(w: Array, dilation: Pair) -> Array:
    """[K, C, R, S] -> [K, high, wide, C]: the filter with its gaps."""
    K, C, R, S = w.shape
    if dilation == (1, 1):
        return w.transpose(0, 2, 3, 1)
    wide = xp_of(w).zeros((K, *span((R, S), dilation), C), dtype=w.dtype)
    wide[:, :: dilation[0], :: dilation[1]] = w.transpose(0, 2, 3, 1)
    return wide


def grid(windows: Windows, shape: Shape) -> Pair:
    """The padded image's size, each side rounded up to a product of 2s, 3s and 5s."""
    rows, columns = windows.padded(shape)
    return smooth(rows), smooth(columns)


def smooth(n: int) -> int:
    """The next number that only 2, 3 and 5 divide: 227 -> 240."""
    rest = n
    for p in (2, 3, 5):
        while rest % p == 0:
            rest //= p
    return n if rest == 1 else smooth(n + 1)
