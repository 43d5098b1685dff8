"""Numbers per channel meet arrays of any rank as rows: one long row is a few pixels, each with its channels.

    x [N, C, ...]  ->  X [pixels/k, k*C]        a [C]  ->  [k*C], k times over

Channels-last arrays are such rows already. Long rows are what NumPy and BLAS are fast at: with sixteen channels, a row of
sixteen numbers takes longer to begin than to add.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array, xp_of
from minidl.ops.columns import column_sums
from minidl.ops.gemm import by_own_kernel

LENGTH = 4096  # numbers in a row, where pixels and channels allow it
BLOCK = 1 << 18  # numbers in a block of rows: 1 MB of float32, so that what is computed from them stays in the cache


def as_rows(x: Array) -> Array:
    """[N, C, ...] -> [pixels/k, k*C]; no copy where x is channels-last in memory. Not to be written to."""
    C = x.shape[1]
    k = math.gcd(x.size // C, max(1, LENGTH // C))
    last = x.transpose(0, *range(2, x.ndim), 1)
    return xp_of(x).ascontiguousarray(last).reshape(-1, k * C)


def as_images(X: Array, like: Array) -> Array:
    """[pixels/k, k*C] -> [N, C, ...], a view, channels-last in memory."""
    N, C, *spatial = like.shape
    return X.reshape(N, *spatial, C).transpose(0, like.ndim - 1, *range(1, like.ndim - 1))


def along(a: Array, X: Array) -> Array:
    """One number per channel [C] for each number of a row [k*C]."""
    return xp_of(a).tile(a, X.shape[1] // len(a))


def blocks(X: Array) -> list[slice]:
    """The rows, some at a time, for a chain of steps whose results between need no memory then; on a GPU all at once."""
    some = max(1, BLOCK // X.shape[1]) if type(X) is np.ndarray else len(X)
    return [slice(r, r + some) for r in range(0, len(X), some)]


def channel_sums(X: Array, C: int) -> Array:
    """sum of each channel [C], by BLAS."""
    sums = column_sums(X) if by_own_kernel(X) else xp_of(X).ones(len(X), dtype=X.dtype) @ X
    return sums.reshape(-1, C).sum(axis=0)


def channel_guess(X: Array, C: int) -> Array:
    """Near the mean of each channel [C]: that of its first pixels, 64 or more where there are four times as many."""
    pixels = min(64, max(1, X.size // C // 4))
    some = X[: -(-pixels * C // X.shape[1])]
    return channel_sums(some, C) * (C / some.size)


def channel_products(X: Array, Y: Array, C: int) -> Array:
    """sum of X * Y of each channel [C]; the product is never in memory."""
    sums = column_sums(X, Y) if by_own_kernel(X, Y) else xp_of(X).einsum("rc,rc->c", X, Y)
    return sums.reshape(-1, C).sum(axis=0)
