"""Batch normalisation, residual and rectifier on the GPU: batch_norm_relu.cu, after the statistics of batch_norm.cu.

saved : (x, weight, bias, mean, (var + eps)^-1/2, y), y None where there is no residual: its sign is computed again
"""

from __future__ import annotations

from minidl.backend import Array, xp_of
from minidl.cuda import Source
from minidl.ops.batch_norm import cuda as batch_norm
from minidl.ops.batch_norm.cuda import statistics, to_x
from minidl.ops.columns import THREADS, joined, partial_sums, parts_of, per_channel
from minidl.ops.half import narrow
from minidl.ops.rows import as_images, as_rows

SOURCE = Source(__file__, "batch_norm_relu.cu", also=(batch_norm.SOURCE,))


def forward(
    x: Array, weight: Array | None, bias: Array | None, residual: Array | None, *, eps: float
) -> tuple[Array, tuple, tuple]:
    X, C = as_rows(x), x.shape[1]
    mean, var, inverse_std = statistics(X, C, eps)
    w, b, Y, parts = per_channel(weight, 1, X, C), per_channel(bias, 0, X, C), xp_of(X).empty_like(X), parts_of(X)
    more = X if residual is None else as_rows(residual)  # without one, X in its place is not read
    SOURCE.launch(
        "rectified", parts.threads, X, w, b, mean, inverse_std, more, Y, int(residual is not None), *parts, C, block=THREADS
    )
    y = as_images(Y, x)
    return y, (x, weight, bias, mean, inverse_std, None if residual is None else y), (mean, var)


def backward(dy: Array, saved: tuple, needs: tuple, *, eps: float) -> tuple:
    x, weight, bias, mean, inverse_std, y = saved
    X, G, C = as_rows(x), as_rows(dy), x.shape[1]
    w, b, parts, sums = per_channel(weight, 1, X, C), per_channel(bias, 0, X, C), parts_of(X), partial_sums(X, C, 2)
    Y, masked = (G, G) if y is None else (as_rows(y), xp_of(X).empty_like(X))  # without a residual neither read nor written
    SOURCE.launch(
        "products", parts.threads, G, X, w, b, mean, inverse_std, Y, masked, *sums, int(y is not None), *parts, C, block=THREADS
    )
    dbias, dweight = joined(SOURCE, sums)
    dx = None
    if needs[0] and y is None:
        dx = xp_of(X).empty_like(X)
        M = float(X.size // C)
        SOURCE.launch("plane", parts.threads, G, X, w, b, mean, inverse_std, dbias, dweight, dx, *parts, C, M, block=THREADS)
    elif needs[0]:
        dx = to_x(masked, X, weight, mean, inverse_std, dbias, dweight)
    return (
        None if dx is None else as_images(dx, x),
        narrow(dweight, dy) if needs[1] else None,
        narrow(dbias, dy) if needs[2] else None,
        as_images(masked, x) if needs[3] else None,
    )
