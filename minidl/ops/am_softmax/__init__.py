"""AM-Softmax (CosFace): softmax cross-entropy of scaled cosines, where the right class must win by a margin.

    u = x / |x|     v = w / |w|     z_nc = s (<u_n, v_c> - m [c = labels_n])
    p_n = softmax(z_n)              loss = -1/N sum_n log p_n,labels_n

    dcos_nc = s (p_nc - [c = labels_n]) dloss / N
    du = dcos v     dx_n = (du_n - u_n <u_n, du_n>) / |x_n|
    dv = dcos^T u   dw_c = (dv_c - v_c <v_c, dv_c>) / |w_c|

    x : [N, D]   w : [C, D], one row per class   labels : [N] in [0, C)   loss : []
    saved : (u, 1 / |x|, v, 1 / |w|, p, labels)

Kernels: `unit_rows` (the formulas, below), `cuda` (cuda.py: on a GPU, the passes between the matrix products in one).

The margin is subtracted from the cosine, so no arccos is needed and opposite or parallel vectors are ordinary. Accuracy
is read from the cosines without the margin: minidl.cosine_logits. At equal cosines the loss is ln(1 + (C - 1) e^(s m)).
A norm of at most 1e-12 has cosine 0 and gradient 0. Half types: norms, sums and the softmax in float32.
s = 30 and m = 0.35 are the papers'; few classes want s = 10, and m above 0.45 fails to converge. s is above 0 and finite, m
from 0 to 2, as far as two cosines are apart.

>>> x, w = [[1.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]  # as near to one class as to the other
>>> round(minidl.am_softmax(x, w, [0], s=10.0, m=0.0).item(), 3)  # ln 2
0.693
>>> round(minidl.am_softmax(x, w, [0], s=10.0, m=0.35).item(), 3)  # ln(1 + e^3.5)
3.53

Source: Wang, Cheng, Liu, Liu 2018, arXiv 1801.05599, equations 4 to 6; Wang et al. 2018 (CosFace), arXiv 1801.09414.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.am_softmax import cuda
from minidl.ops.cosine import WORKLOADS, cosine, through_unit, unit
from minidl.ops.cosine import cost as cost_of_cosines
from minidl.ops.gemm import gemm
from minidl.ops.half import narrow, widen
from minidl.ops.log_softmax import log_probabilities
from minidl.ops.losses import check_labels
from minidl.signature import Shape, ShapeError


def forward(x: Array, w: Array, labels: Array, *, s: float, m: float) -> tuple[Array, tuple]:
    xp, right = xp_of(x), (xp_of(x).arange(len(labels)), labels)
    (u, over_x), (v, over_w) = unit(x), unit(w)
    z = s * gemm(u, v.T)  # [N, C]
    z[right] -= s * m
    log_p = log_probabilities(z)
    loss = -log_p[right].mean()
    return narrow(loss, x), (u, over_x, v, over_w, xp.exp(log_p), labels)


def backward(dy: Array, saved: tuple, needs: tuple, *, s: float, m: float) -> tuple:
    u, over_x, v, over_w, p, labels = saved
    dcos = p.copy()
    dcos[xp_of(p).arange(len(labels)), labels] -= 1
    dcos *= widen(dy) * (s / len(labels))
    dx = narrow(through_unit(gemm(dcos, v), u, over_x), dy) if needs[0] else None
    dw = narrow(through_unit(gemm(dcos.T, u), v, over_w), dy) if needs[1] else None
    return dx, dw, None


def definition(x: np.ndarray, w: np.ndarray, labels: np.ndarray, *, s: float, m: float) -> np.ndarray:
    total = 0.0
    for f, y in zip(x, labels, strict=True):
        cos = [cosine(f, row) for row in w]
        won = math.exp(s * (cos[y] - m))
        others = sum(math.exp(s * cos[j]) for j in range(len(w)) if j != y)
        total -= math.log(won / (won + others))
    return np.array(total / len(x))


def shape(x: Shape, w: Shape, labels: Shape, *, s: float, m: float) -> Shape:
    if not 0 < s < math.inf:
        raise ShapeError(f"s must be above 0 and finite, got s={s}")
    if not 0 <= m <= 2:
        raise ShapeError(f"m is taken off a cosine, 0 or more and at most 2, as far as two cosines are apart; got m={m}")
    return ()


def domain(x: Array, w: Array, labels: Array, **_: object) -> None:
    check_labels("am_softmax", labels, len(w))


def problem(d: Draw) -> Problem:  # a large s makes p - 1 so small that float32 keeps few of its digits
    N, C, D = d.size("N", 4), d.size("C", 4, least=2), d.size("D", 5, least=2)
    attrs = {"s": d.one_of("s", (1.0, 2.0, 4.0)), "m": d.one_of("m", (0.35, 0.0))}
    return Problem((d.array(N, D), d.array(C, D), d.labels(N, C)), attrs)


def cost(x: Shape, w: Shape, labels: Shape, **_: object) -> Cost:
    cosines = cost_of_cosines(x, w)
    return Cost(cosines.macs, cosines.other + 7 * x[0] * w[0])


am_softmax = Op(
    "am_softmax",
    "x[N,D] w[C,D] labels[N]:int -> loss[]",
    definition,
    problem,
    doc=__doc__,
    attrs={"s": 30.0, "m": 0.35},
    shape=shape,
    domain=domain,
    workloads=WORKLOADS,
    cost=cost,
)
am_softmax.kernel("unit_rows", forward, backward, analytic=True)
am_softmax.kernel("cuda", cuda.forward, cuda.backward, source=cuda.SOURCE, refuses=cuda.refuses)
