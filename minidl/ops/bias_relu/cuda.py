"""A bias for each channel and a rectifier on the GPU: bias_relu.cu, and the sum of its partial sums (columns.py).

saved : (y,)
"""

from __future__ import annotations

from minidl.backend import Array, xp_of
from minidl.cuda import Source
from minidl.ops.columns import THREADS, joined, partial_sums, parts_of, per_channel
from minidl.ops.half import narrow
from minidl.ops.rows import as_images, as_rows

SOURCE = Source(__file__, "bias_relu.cu")


def forward(x: Array, bias: Array) -> tuple[Array, tuple]:
    X, C = as_rows(x), x.shape[1]
    Y, parts = xp_of(X).empty_like(X), parts_of(X)
    SOURCE.launch("rectified", parts.threads, X, per_channel(bias, 0, X, C), Y, *parts, C, block=THREADS)
    y = as_images(Y, x)
    return y, (y,)


def backward(dy: Array, saved: tuple, needs: tuple) -> tuple:
    (y,) = saved
    G, Y, C = as_rows(dy), as_rows(y), y.shape[1]
    dx, parts, sums = xp_of(G).empty_like(G), parts_of(G), partial_sums(G, C, 1)
    SOURCE.launch("masked", parts.threads, G, Y, dx, sums, *parts, block=THREADS)
    return as_images(dx, y) if needs[0] else None, narrow(joined(SOURCE, sums)[0], dy) if needs[1] else None
