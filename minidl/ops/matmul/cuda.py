"""Matrix product on the GPU without cuBLAS: gemm.cu, forward and backward.

saved : (a, b)
"""

from __future__ import annotations

import numpy as np

from minidl.backend import Array
from minidl.modes import modes
from minidl.ops.gemm_cuda import SOURCE, matmul
from minidl.ops.pointwise import unbroadcast

__all__ = ["SOURCE"]


def forward(a: Array, b: Array) -> tuple[Array, tuple]:
    return matmul(a, b, modes().precision), (a, b)


def backward(dy: Array, saved: tuple, needs: tuple) -> tuple:
    (a, b), precision, da, db = saved, modes().precision, None, None
    A, B = (a[None] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
    dy = dy.reshape(*np.broadcast_shapes(A.shape[:-2], B.shape[:-2]), A.shape[-2], B.shape[-1])
    if B.ndim == 2:  # one product over all rows
        A, dy = A.reshape(-1, A.shape[-1]), dy.reshape(-1, dy.shape[-1])
    if needs[0]:
        da = unbroadcast(matmul(dy, B.swapaxes(-1, -2), precision), A.shape).reshape(a.shape)
    if needs[1]:
        db = unbroadcast(matmul(A.swapaxes(-1, -2), dy, precision), B.shape).reshape(b.shape)
    return da, db
