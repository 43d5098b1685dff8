"""Softmax on the GPU: softmax.cu, a block for each row. Along another axis than the last one, rows are copied together before.

saved : (y,) with the axis last, of a half type in float32
"""

from __future__ import annotations

import numpy as np

from minidl.backend import Array, xp_of
from minidl.cuda import Source, threads_for

SOURCE = Source(__file__, "softmax.cu")


def forward(x: Array, *, axis: int) -> tuple[Array, tuple]:
    return forward_of(x, axis, SOURCE, logs=False)


def backward(dy: Array, saved: tuple, needs: tuple, *, axis: int) -> tuple:
    return backward_of(dy, saved, axis, SOURCE, logs=False)


def forward_of(x: Array, axis: int, source: Source, logs: bool) -> tuple[Array, tuple]:
    """Softmax, or with `logs` its logarithm."""
    xp, lines = xp_of(x), as_lines(x, axis)
    y, (rows, C) = xp.empty_like(lines), lines.reshape(-1, lines.shape[-1]).shape
    kept = y if y.dtype != np.float16 else xp.empty(y.shape, dtype=np.float32)
    source.launch("softmax_forward", rows * threads_for(C), lines, y, kept, rows, C, logs, block=threads_for(C))
    return xp.moveaxis(y, -1, axis), (kept,)


def backward_of(dy: Array, saved: tuple, axis: int, source: Source, logs: bool) -> tuple:
    (y,), xp, lines = saved, xp_of(dy), as_lines(dy, axis)
    dx, (rows, C) = xp.empty_like(lines), lines.reshape(-1, lines.shape[-1]).shape
    source.launch("softmax_backward", rows * threads_for(C), lines, y, dx, rows, C, logs, block=threads_for(C))
    return (xp.moveaxis(dx, -1, axis),)


def as_lines(x: Array, axis: int) -> Array:
    """The axis last, contiguous."""
    return xp_of(x).ascontiguousarray(xp_of(x).moveaxis(x, axis, -1))
