"""AM-Softmax on the GPU: the matrix products by BLAS, all else by am_softmax.cu.

saved : (u, 1 / |x|, v, 1 / |w|, dcos), dcos the gradient of the loss itself, for dloss = 1; of half types all in float32
"""

from __future__ import annotations

import numpy as np

from minidl.backend import Array, xp_of
from minidl.cuda import BLOCK, Source, threads_for
from minidl.ops.cosine import TINY
from minidl.ops.gemm import gemm
from minidl.signature import Shape

SOURCE = Source(__file__, "am_softmax.cu")


def forward(x: Array, w: Array, labels: Array, *, s: float, m: float) -> tuple[Array, tuple]:
    xp, N, C = xp_of(x), len(x), len(w)
    (u, over_x), (v, over_w) = unit(x), unit(w)
    dcos = xp.ascontiguousarray(gemm(u, v.T))  # [N, C], cosines until the losses are known
    labels, losses = xp.ascontiguousarray(labels.astype(np.int64, copy=False)), xp.empty(N, dtype=u.dtype)
    SOURCE.launch("row_losses", N * threads_for(C), dcos, labels, losses, N, C, float(s), float(m), block=threads_for(C))
    loss = xp.empty((), dtype=x.dtype)
    SOURCE.launch("mean_loss", BLOCK, loss, losses, N, block=BLOCK)
    return loss, (u, over_x, v, over_w, dcos)


def backward(dy: Array, saved: tuple, needs: tuple, *, s: float, m: float) -> tuple:
    u, over_x, v, over_w, dcos = saved
    dx = across(dy, gemm(dcos, v), u, over_x) if needs[0] else None
    dw = across(dy, gemm(dcos.T, u), v, over_w) if needs[1] else None
    return dx, dw, None


def unit(a: Array) -> tuple[Array, Array]:
    """The rows at length 1 and their inverse norms, [rows]; both 0 for a row without direction."""
    xp, (rows, D), wide = xp_of(a), a.shape, np.result_type(a.dtype, np.float32)
    u, inverse = xp.empty((rows, D), dtype=wide), xp.empty(rows, dtype=wide)
    arrays = (xp.ascontiguousarray(a), u, inverse)
    SOURCE.launch("unit_rows", rows * threads_for(D), *arrays, rows, D, TINY, block=threads_for(D))
    return u, inverse


def across(dy: Array, du: Array, u: Array, inverse: Array) -> Array:
    """The gradient of rows from that of the unit rows u that were made of them."""
    xp, (rows, D) = xp_of(u), u.shape
    da = xp.empty((rows, D), dtype=dy.dtype)
    arrays = (da, xp.ascontiguousarray(dy), xp.ascontiguousarray(du), u, inverse)
    SOURCE.launch("across_rows", rows * threads_for(D), *arrays, rows, D, block=threads_for(D))
    return da


def refuses(x: Shape, w: Shape, labels: Shape, **_: object) -> str | None:
    return None if w[0] else "there is no class"
