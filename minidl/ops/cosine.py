"""Cosines between features and class vectors: the scores of a head whose weights and inputs have length 1.

    u = x / |x|     v = w / |w|     cos_nc = <u_n, v_c>

    du = dcos v     dx_n = (du_n - u_n <u_n, du_n>) / |x_n|        the part of du along u changes no direction
    dv = dcos^T u   dw_c = (dv_c - v_c <v_c, dv_c>) / |w_c|

    x : [N, D]   w : [C, D], one row per class (PyTorch's Linear layout)   cos : [N, C]
    saved : (u, 1 / |x|, v, 1 / |w|)

Where a norm is at most 1e-12 its cosines and its gradient are defined as 0. Half types: norms and sums in float32.

Source: Wang, Xiang, Cheng, Yuille 2017, "NormFace: L2 hypersphere embedding for face verification", section 3.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.gemm import gemm
from minidl.ops.half import narrow, widen
from minidl.receptive_field import everything
from minidl.signature import Shape

TINY = 1e-12  # a vector no longer than this has no direction


def unit(a: Array) -> tuple[Array, Array]:
    """The rows at length 1 and their inverse norms [rows, 1]; both 0 for a row without direction."""
    xp, a = xp_of(a), widen(a)
    norm = xp.sqrt((a * a).sum(axis=1, keepdims=True))
    inverse = 1 / xp.where(norm > TINY, norm, xp.inf)
    return a * inverse, inverse


def through_unit(du: Array, u: Array, inverse: Array) -> Array:
    """The gradient of a from that of u = unit(a): what is left across u, over the norm."""
    return (du - u * (u * du).sum(axis=1, keepdims=True)) * inverse


def forward(x: Array, w: Array) -> tuple[Array, tuple]:
    (u, over_x), (v, over_w) = unit(x), unit(w)
    return narrow(gemm(u, v.T), x), (u, over_x, v, over_w)


def backward(dy: Array, saved: tuple, needs: tuple) -> tuple:
    u, over_x, v, over_w = saved
    g = widen(dy)
    dx = narrow(through_unit(gemm(g, v), u, over_x), dy) if needs[0] else None
    dw = narrow(through_unit(gemm(g.T, u), v, over_w), dy) if needs[1] else None
    return dx, dw


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The cosine between two vectors, in plain loops."""
    across = math.sqrt(sum(v * v for v in a)) * math.sqrt(sum(v * v for v in b))
    return sum(p * q for p, q in zip(a, b, strict=True)) / across


def definition(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.array([[cosine(f, row) for row in w] for f in x])


def problem(d: Draw) -> Problem:
    N, C, D = d.size("N", 4), d.size("C", 4), d.size("D", 5, least=2)
    return Problem((d.array(N, D), d.array(C, D)), {})


def cost(x: Shape, w: Shape, **_: object) -> Cost:
    return Cost(macs=x[0] * w[0] * x[1], other=3 * (math.prod(x) + math.prod(w)))


WORKLOADS = {
    "faces": {"N": 256, "D": 512, "C": 10572},
    "imagenet": {"N": 128, "D": 512, "C": 1000},
    "digits": {"N": 128, "D": 64, "C": 10},
}

cosine_logits = Op(
    "cosine_logits",
    "x[N,D] w[C,D] -> cos[N,C]",
    definition,
    problem,
    doc=__doc__,
    workloads=WORKLOADS,
    cost=cost,
    sees=everything,
)
cosine_logits.kernel("unit_rows", forward, backward, analytic=True)
