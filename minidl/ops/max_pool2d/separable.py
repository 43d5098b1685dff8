"""Max pooling in two steps: the best of each row of a window, then the best of those rows.

    t[h,q]   = max over s of x[h, q*sw + s*dw]      y[p,q] = max over r of t[p*sh + r*dh, q]

    saved : 'first': (which of the R*S positions won, one byte each for windows of up to 256; shape of x)     'even': (x, y)

Why: R + S steps in place of R*S. Columns come before rows, so that of equal values the first in reading order wins.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.backend import Array, xp_of
from minidl.ops.max_pool2d.shifts import INFINITY, backward, first_inside
from minidl.window import Pair, Sides, Windows, channels_first, pad

__all__ = ["backward", "forward"]  # what is saved is what shifts saves


def forward(
    x: Array, *, kernel_size: Pair, stride: Pair, padding: Sides, dilation: Pair, ceil_mode: bool, ties: str
) -> tuple[Array, tuple]:
    windows = Windows.over(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    number = np.min_scalar_type(math.prod(kernel_size) - 1).type  # the smallest that counts the positions
    xp, padded, (R, S) = xp_of(x), pad(x, windows, -INFINITY), kernel_size  # [N, H', W', C]
    rows, columns = (inside.astype(number) for inside in first_inside(xp, windows))
    seen = [padded[:, :, windows.at(0, s)[2]] for s in range(S)]  # each [N, H', Q, C]
    t, code = best(xp, seen, [number(s) for s in range(S)], columns[:, None])
    code = xp.broadcast_to(code, t.shape)
    cuts = [windows.at(r, 0)[1] for r in range(R)]
    codes = [code[:, cut] + number(S * r) for r, cut in enumerate(cuts)]  # each [N, P, Q, C]
    y, code = best(xp, [t[:, cut] for cut in cuts], codes, code[:, cuts[0]] + rows[:, None, None] * number(S))
    y = channels_first(y)
    return y, (code, x.shape) if ties == "first" else (x, y)


def best(xp: Any, seen: list[Array], codes: list[Any], code: Array) -> tuple[Array, Array]:
    """The largest of what is seen and its code; `code` at first, a later winner has a larger one."""
    y = seen[0]
    for value, its_code in zip(seen[1:], codes[1:], strict=True):
        code = xp.maximum(code, (value > y).view(np.uint8) * its_code)
        y = xp.maximum(y, value)
    return y, code
