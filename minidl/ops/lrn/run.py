"""Local response normalisation over one long run of numbers: the channels of a pixel, zeros, those of the next, and so on.

    r = s^-1/2   t = s^-1/4       y = x t^(4 beta)       dx = dy t^(4 beta) - 2 alpha beta x * window_sum(dy x t^(4 beta) t^4)

    saved : (x, t), t channels-last and of a half type in float32

Why: three additions of runs to themselves, shifted, sum all windows of five without a loop over pixels: far faster than
adding slices of channels, and faster than a product with a band matrix. Two square roots are cheaper than a power, and with t
in place of s backward needs neither: for the usual beta = 3/4, s^-beta = r t = t^2 t.
"""

from __future__ import annotations

import math

from minidl.backend import Array, xp_of
from minidl.ops.half import narrow, widen
from minidl.window import channels_first, channels_last


def forward(x: Array, *, n: int, alpha: float, beta: float, k: float, convention: str) -> tuple[Array, tuple]:
    alpha, xp = alpha if convention == "paper" else alpha / n, xp_of(x)
    z = channels_last(widen(x))
    s = alpha * window_sum(z * z, n)
    s += k
    r = xp.sqrt(1 / s)
    t = xp.sqrt(r)
    y = s_to_the_minus(beta, r, t)
    y *= z
    return channels_first(narrow(y, x)), (x, channels_first(t))


def backward(dy: Array, saved: tuple, needs: tuple, *, n: int, alpha: float, beta: float, k: float, convention: str) -> tuple:
    x, t = (channels_last(widen(a)) for a in saved)
    alpha = alpha if convention == "paper" else alpha / n
    r = t * t
    dx = s_to_the_minus(beta, r, t)
    dx *= channels_last(widen(dy))
    r *= r
    r *= dx
    r *= x  # dy x s^-beta / s
    v = (-2 * alpha * beta) * window_sum(r, n)
    v *= x
    dx += v
    return (channels_first(narrow(dx, dy)),)


def s_to_the_minus(beta: float, r: Array, t: Array) -> Array:
    """s^-beta, a new array, from r = s^-1/2 and t = s^-1/4."""
    return r * t if beta == 0.75 else t ** (4 * beta)


def window_sum(a: Array, n: int) -> Array:
    """sum_{|j-c| <= n//2} a_j over the last axis, the channels: [N, H, W, C], a view."""
    C, zeros = a.shape[-1], n // 2
    pixels = math.prod(a.shape[:-1])
    padded = xp_of(a).empty((pixels + 2, zeros + C), dtype=a.dtype)  # two pixels more, for the last windows
    padded[:, :zeros] = 0
    padded[pixels:] = 0
    padded[:pixels, zeros:] = a.reshape(-1, C)
    total = sum_of_neighbours(padded.reshape(-1), n)[: pixels * (zeros + C)]
    return total.reshape(*a.shape[:-1], zeros + C)[..., :C]


def sum_of_neighbours(run: Array, n: int) -> Array:
    """run[i] + ... + run[i+n-1] for every i where that many follow: two sums of half as many, and the last if n is odd."""
    if n == 1:
        return run
    half, many = sum_of_neighbours(run, n // 2), len(run) - n + 1
    total = half[:many] + half[n // 2 : n // 2 + many]
    if n % 2:
        total += run[n - 1 :]
    return total
