"""Fully connected layer on the GPU without cuBLAS: products by gemm.cu, which adds the bias as it writes; db by columns.cu.

saved : (x, w)
"""

from __future__ import annotations

from minidl.backend import Array, xp_of
from minidl.modes import modes
from minidl.ops.columns import column_sums
from minidl.ops.gemm_cuda import SOURCE, products
from minidl.ops.matmul import rows

__all__ = ["SOURCE"]


def forward(x: Array, w: Array, b: Array | None) -> tuple[Array, tuple]:
    y = products(rows(x), w.T, b, modes().precision)
    return y.reshape(*x.shape[:-1], len(w)), (x, w)


def backward(dy: Array, saved: tuple, needs: tuple) -> tuple:
    (x, w), dY, precision = saved, rows(dy), modes().precision
    dx = products(dY, w, precision=precision).reshape(x.shape) if needs[0] else None
    dw = products(dY.T, rows(x), precision=precision) if needs[1] else None
    db = column_sums(xp_of(dY).ascontiguousarray(dY)) if needs[2] else None
    return dx, dw, db
