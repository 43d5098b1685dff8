"""Matrix products as convolutions and dense layers use them: two dimensions, so that every library hands them to its BLAS.

All products of the engine pass here, and sums of channels in rows.py. Who takes them on a GPU, cuBLAS or a kernel of ours
(gemm_cuda.py, columns.py), is decided in one place, `by_own_kernel`.
"""

from __future__ import annotations

import numpy as np

from minidl.backend import Array, cublas_in, is_cupy, xp_of
from minidl.cuda import NAMES, can_launch
from minidl.modes import PRECISIONS, modes
from minidl.ops.columns import column_sums
from minidl.ops.gemm_cuda import SOURCE, matmul
from minidl.ops.half import narrow, widen
from minidl.workers import share

SMALL = 1 << 18  # multiply-adds of a product for which BLAS wakes no thread of its own
LEAST = 1 << 22  # of one that is worth another thread: 40 microseconds of it


def product(a: Array, b: Array) -> Array:
    """a @ b; under `minidl.threads(T)` a large one is cut into T pieces.

    BLAS computes in whole vector registers: what lies beside a small matrix may raise the processor's 'invalid' flag, and NumPy
    would warn of a NaN that is in no result. `minidl.detect_anomaly()` finds the real ones.
    """
    if by_own_kernel(a, b):
        return matmul(a, b)
    with np.errstate(invalid="ignore"):
        threads = modes().threads
        if threads is None or type(a) is not np.ndarray or a.size * b.shape[-1] < SMALL:
            return a @ b
        return in_pieces(a, b, threads) if a.ndim == b.ndim == 2 else share(lambda _: a @ b, 1)[0]


def in_pieces(a: Array, b: Array, count: int) -> Array:
    """[M, K] @ [K, N], in pieces of rows or of columns. BLAS has threads too, but they wait for more work for up to a tenth of
    a second, on the very cores that slices of the batch are computed on: AlexNet's step took 1.3 times as long so."""
    (M, K), N = a.shape, b.shape[1]
    count = min(count, max(M, N)) if M * K * N >= LEAST else 1
    y = np.empty((M, N), np.result_type(a, b))

    def work(i: int) -> None:
        if M >= N:
            rows = slice(M * i // count, M * (i + 1) // count)
            np.matmul(a[rows], b, out=y[rows])
        else:
            columns = slice(N * i // count, N * (i + 1) // count)
            np.matmul(a, b[:, columns], out=y[:, columns])

    share(work, count)
    return y


def gemm(a: Array, b: Array) -> Array:
    """[M, K] @ [K, N], of factors as `minidl.precision` wants them. NumPy has no BLAS for half types and would be a hundred
    times slower: there it goes by float32."""
    if (precision := modes().precision) != "float32" and a.dtype == b.dtype == np.float32:
        return on_tensor_cores(a, b, precision)
    if xp_of(a) is np:
        return narrow(product(widen(a), widen(b)), a)
    return product(a, b)


def on_tensor_cores(a: Array, b: Array, precision: str) -> Array:
    """a @ b by the GPU's tensor cores, or as they would compute it; CuPy has cuBLAS use them for two dimensions alone."""
    if by_own_kernel(a, b):
        return matmul(a, b, precision)
    if is_cupy(a) and a.ndim == b.ndim == 2:
        with cublas_in(precision):
            return a @ b
    bits = PRECISIONS[precision]
    return product(rounded(a, bits), rounded(b, bits))


def by_own_kernel(a: Array, *others: Array) -> bool:
    """Under `minidl.own_products`: are these floats of one type on a GPU? NumPy's arrays are never launched on.

    ValueError where the GPU is too old to run it.
    """
    if not modes().own_products or type(a) is np.ndarray or not can_launch(a):
        return False
    if why := SOURCE.why_not():
        raise ValueError(f"own_products (a captured step has them): {SOURCE} {why}")
    return a.dtype.name in NAMES and all(b.dtype == a.dtype for b in others)


def rounded(a: Array, bits: int) -> Array:
    """float32 numbers with so many bits behind the point: the nearest, of two the even one. NaN and infinity stay."""
    drop, xp = 23 - bits, xp_of(a)
    whole = xp.ascontiguousarray(a).view(np.uint32)
    odd = (whole >> np.uint32(drop)) & np.uint32(1)
    kept = (whole + odd + np.uint32((1 << drop - 1) - 1)) & np.uint32(-(1 << drop) % 2**32)
    return xp.where(xp.isfinite(a), kept.view(np.float32).reshape(a.shape), a)


def add_rows(a: Array) -> Array:
    """[M, K] -> [K], the sum of the rows: a product with ones is faster than `sum(axis=0)`, and rounds less."""
    if by_own_kernel(a):
        return column_sums(xp_of(a).ascontiguousarray(a))
    ones = xp_of(a).ones((1, len(a)), dtype=a.dtype)
    return (narrow(product(widen(ones), widen(a)), a) if xp_of(a) is np else ones @ a)[0]
