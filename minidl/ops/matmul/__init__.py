"""Matrix product, by NumPy's rules.

    y = a b            da = dy b^T         db = a^T dy         each summed over what broadcasting repeated

    a [...,M,D]   b [...,D,K]   y [...,M,K]      leading dimensions broadcast
    a [D]         counts as one row, b [D] as one column; that dimension is then missing in y
    saved         (a, b)

One matrix b for a whole batch of a (the usual case) is one product over all rows, forward and backward.

Kernels: `gemm` (the library's matrix product: below), `cuda` (our own, by tiles: minidl/ops/gemm.cu; chosen by name
alone, for cuBLAS is expected to be faster).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.gemm import gemm
from minidl.ops.matmul import cuda
from minidl.ops.pointwise import unbroadcast
from minidl.receptive_field import everything_in_a_row
from minidl.signature import Shape, ShapeError, brackets


def forward(a: Array, b: Array) -> tuple[Array, tuple]:
    if a.ndim > 2 and b.ndim == 2:
        return gemm(rows(a), b).reshape(*a.shape[:-1], b.shape[1]), (a, b)
    return gemm(a, b), (a, b)


def backward(dy: Array, saved: tuple, needs: tuple) -> tuple:
    a, b = saved
    A, B = (a[None] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
    dy = dy.reshape(*batch(a.shape, b.shape), A.shape[-2], B.shape[-1])
    if B.ndim == 2:
        A, dy = rows(A), rows(dy)
    da = unbroadcast(gemm(dy, B.swapaxes(-1, -2)), A.shape).reshape(a.shape) if needs[0] else None
    db = unbroadcast(gemm(A.swapaxes(-1, -2), dy), B.shape).reshape(b.shape) if needs[1] else None
    return da, db


def rows(a: Array) -> Array:
    """[...,M,D] as one matrix."""
    return a.reshape(-1, a.shape[-1])


def batch(a: Shape, b: Shape) -> Shape:
    """The leading dimensions of y."""
    try:
        return np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        raise ShapeError(f"leading dimensions {brackets(a[:-2])} of a and {brackets(b[:-2])} of b do not broadcast") from None


def shape(a: Shape, b: Shape) -> Shape:
    if not a or not b:
        raise ShapeError("a and b must have a dimension at least; multiply by a number with *")
    if a[-1] != b[-2:][0]:
        which = "second to last" if len(b) > 1 else "only"
        raise ShapeError(f"a ends in a dimension of {a[-1]} but the {which} dimension of b is {b[-2:][0]}; they must be equal")
    return (*batch(a, b), *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))


def definition(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    A, B = a.reshape(1, -1) if a.ndim == 1 else a, b.reshape(-1, 1) if b.ndim == 1 else b
    y = np.empty((*batch(a.shape, b.shape), A.shape[-2], B.shape[-1]))
    for *lead, m, k in np.ndindex(y.shape):
        left, right = matrix(A, lead), matrix(B, lead)
        y[(*lead, m, k)] = sum(left[m, j] * right[j, k] for j in range(a.shape[-1]))
    return y.reshape(shape(a.shape, b.shape))


def matrix(a: np.ndarray, lead: list[int]) -> np.ndarray:
    """The matrix of `a` at a leading index of y; dimensions that are missing or of size 1 are repeated."""
    sizes = a.shape[:-2]
    return a[tuple(k if size > 1 else 0 for k, size in zip(lead[len(lead) - len(sizes) :], sizes, strict=True))]


def problem(d: Draw) -> Problem:
    M, D, K = d.size("M", 3), d.size("D", 4), d.size("K", 3)
    sizes = {"A": d.size("A", 3), "B": d.size("B", 2), "1": 1}
    a_lead, b_lead = ([sizes[letter] for letter in letters] for letters in d.one_of("leading dimensions", LEADING))
    a = d.array(D) if d.flag("a is a vector") else d.array(*a_lead, M, D)
    b = d.array(D) if d.flag("b is a vector") else d.array(*b_lead, D, K)
    return Problem((a, b), {})


LEADING = (("", ""), ("A", ""), ("", "A"), ("AB", "AB"), ("AB", "B"), ("A1", "1B"), ("1A", "B1A"))  # of a and of b


def cost(a: Shape, b: Shape) -> Cost:
    return Cost(macs=math.prod(shape(a, b)) * a[-1])


def matrices(M: int, D: int, K: int, A: int = 1, B: int = 1) -> dict[str, Any]:
    vectors = {"a is a vector": False, "b is a vector": False}
    return {"M": M, "D": D, "K": K, "A": A, "B": B, "leading dimensions": ("AB", "AB"), **vectors}


matmul = Op(
    "matmul",
    "a[...] b[...] -> y[...]",
    definition,
    problem,
    doc=__doc__,
    shape=shape,
    workloads={"square": matrices(1024, 1024, 1024), "attention": matrices(64, 32, 64, A=16, B=8)},
    cost=cost,
    method="__matmul__",
    reflected="__rmatmul__",
    sees=everything_in_a_row,
)
matmul.kernel("gemm", forward, backward, analytic=True)
matmul.kernel("cuda", cuda.forward, cuda.backward, source=cuda.SOURCE, precisions=())
