"""Matrix products as convolutions and dense layers use them: two dimensions, so that every library hands them to its BLAS."""

from __future__ import annotations

import numpy as np

from minidl.backend import Array, xp_of
from minidl.ops.half import narrow, widen


def product(a: Array, b: Array) -> Array:
    """a @ b. BLAS computes in whole vector registers: what lies beside a small matrix may raise the processor's 'invalid' flag,
    and NumPy would warn of a NaN that is in no result. `minidl.detect_anomaly()` finds the real ones."""
    with np.errstate(invalid="ignore"):
        return a @ b


def gemm(a: Array, b: Array) -> Array:
    """[M, K] @ [K, N]. NumPy has no BLAS for half types and would be a hundred times slower: there it goes by float32."""
    if xp_of(a) is np:
        return narrow(product(widen(a), widen(b)), a)
    return a @ b


def add_rows(a: Array) -> Array:
    """[M, K] -> [K], the sum of the rows: a product with ones is faster than `sum(axis=0)`, and rounds less."""
    return gemm(xp_of(a).ones((1, len(a)), dtype=a.dtype), a)[0]
