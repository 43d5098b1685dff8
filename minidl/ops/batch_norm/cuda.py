"""Batch normalisation on the GPU: batch_norm.cu, whose statistics and products are summed in two stages (columns.py).

saved : (x, weight, mean, (var + eps)^-1/2), the last two in float32 where x is of a half type
"""

from __future__ import annotations

from minidl.backend import Array, xp_of
from minidl.cuda import Source
from minidl.ops.columns import THREADS, joined, partial_sums, parts_of, per_channel, threads_for
from minidl.ops.half import narrow
from minidl.ops.rows import as_images, as_rows

SOURCE = Source(__file__, "batch_norm.cu")


def forward(x: Array, weight: Array | None, bias: Array | None, *, eps: float) -> tuple[Array, tuple, tuple]:
    X, C = as_rows(x), x.shape[1]
    mean, var, inverse_std = statistics(X, C, eps)
    w, b, y, parts = per_channel(weight, 1, X, C), per_channel(bias, 0, X, C), xp_of(X).empty_like(X), parts_of(X)
    SOURCE.launch("line", parts.threads, X, w, b, mean, inverse_std, y, *parts, C, block=THREADS)
    return as_images(y, x), (x, weight, mean, inverse_std), (mean, var)


def backward(dy: Array, saved: tuple, needs: tuple, *, eps: float) -> tuple:
    x, weight, mean, inverse_std = saved
    X, G, C = as_rows(x), as_rows(dy), x.shape[1]
    parts, sums = parts_of(X), partial_sums(X, C, 2)
    SOURCE.launch("products", parts.threads, G, X, mean, inverse_std, *sums, *parts, C, block=THREADS)
    dbias, dweight = joined(SOURCE, sums)
    dx = to_x(G, X, weight, mean, inverse_std, dbias, dweight) if needs[0] else None
    return (
        None if dx is None else as_images(dx, x),
        narrow(dweight, dy) if needs[1] else None,
        narrow(dbias, dy) if needs[2] else None,
    )


def statistics(X: Array, C: int, eps: float) -> tuple[Array, Array, Array]:
    """Mean, variance and (var + eps)^-1/2 of each channel [C]."""
    parts, (own, scatter) = parts_of(X), partial_sums(X, C, 2)
    SOURCE.launch("moments", parts.threads, X, own, scatter, *parts, block=THREADS)
    mean, var, inverse_std = xp_of(X).empty((3, C), dtype=own.dtype)
    P, block = len(own), threads_for(len(own))
    sizes = (P, C, parts.width // C, parts.R, parts.rows, float(X.size // C), float(eps))
    SOURCE.launch("gather", C * block, own, scatter, mean, var, inverse_std, *sizes, block=block)
    return mean, var, inverse_std


def to_x(G: Array, X: Array, weight: Array | None, mean: Array, inverse_std: Array, dbias: Array, dweight: Array) -> Array:
    """dx [R, k*C], from dy of the same shape."""
    C, dx, parts = len(mean), xp_of(X).empty_like(X), parts_of(X)
    w, M = per_channel(weight, 1, X, C), float(X.size // C)
    SOURCE.launch("plane", parts.threads, G, X, w, mean, inverse_std, dbias, dweight, dx, *parts, C, M, block=THREADS)
    return dx
