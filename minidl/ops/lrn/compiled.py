"""Local response normalisation pixel by pixel, in compiled loops: x is read once, y and s^-1/4 are written once.

    t = s^-1/4       y = x t^(4 beta)       dx = dy t^(4 beta) - 2 alpha beta x * window_sum(dy x t^(4 beta) t^4)

    saved : (x, t), t channels-last

Why: whole arrays pass through memory a dozen times; here a pixel's channels stay in the nearest cache until it is done.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.window import channels_first, channels_last


def forward(x: Array, *, n: int, alpha: float, beta: float, k: float, convention: str) -> tuple[Array, tuple]:
    X, share, number = channels_last(x), alpha if convention == "paper" else alpha / n, x.dtype.type
    y, t = np.empty_like(X), np.empty_like(X)
    loops().forward(pixels(X), n, number(share), number(4 * beta), number(k), pixels(y), pixels(t))
    return channels_first(y), (x, channels_first(t))


def backward(dy: Array, saved: tuple, needs: tuple, *, n: int, alpha: float, beta: float, k: float, convention: str) -> tuple:
    x, t, dY = (channels_last(a) for a in (*saved, dy))
    dx, share, number = np.empty_like(dY), alpha if convention == "paper" else alpha / n, x.dtype.type
    loops().backward(pixels(dY), pixels(x), pixels(t), n, number(-2 * share * beta), number(4 * beta), pixels(dx))
    return (channels_first(dx),)


def pixels(a: Array) -> Array:
    """[N, H, W, C] -> [N*H*W, C], a view."""
    return a.reshape(-1, a.shape[-1])


def loops() -> Any:
    """Loaded when first called for."""
    from minidl.ops.lrn import loops

    return loops
