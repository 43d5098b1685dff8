"""Parametric rectifier: a leaky ReLU that learns its slope, one per channel or one for all.

    y  = max(x, 0) + w_c min(x, 0)
    dx = dy where x > 0, else w_c dy          dw_c = sum over images and positions of dy min(x, 0)

    x, y  : [N, C, ...]        w : [C], or [1] for one shared slope
    saved : (x, w)

Pros: learns how leaky each channel should be. Cons: more parameters; weight decay pulls the slopes to ReLU's 0.
Kink: at x = 0 the negative side's slope, as in PyTorch. The slopes start at 0.25 (nn.PReLU).
Source: He, Zhang, Ren, Sun 2015, "Delving deep into rectifiers", section 2.1.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.pointwise import unbroadcast
from minidl.receptive_field import each
from minidl.signature import Shape, ShapeError


def per_channel(w: Array, x: Array) -> Array:
    return w.reshape(-1, *(1,) * (x.ndim - 2))  # [C] -> [C, 1, 1], which broadcasts along N


def forward(x: Array, w: Array) -> tuple[Array, tuple]:
    xp = xp_of(x)
    y = xp.maximum(x, 0) + per_channel(w, x) * xp.minimum(x, 0)
    return y, (x, w)


def backward(dy: Array, saved: tuple, needs: tuple) -> tuple:
    x, w = saved
    xp, slope = xp_of(dy), per_channel(w, x)
    dx = dy * (x > 0) + slope * (dy * (x <= 0)) if needs[0] else None
    dw = unbroadcast(dy * xp.minimum(x, 0), slope.shape).reshape(w.shape) if needs[1] else None
    return dx, dw


def definition(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    y = np.empty_like(x)
    for n, c, *rest in np.ndindex(x.shape):
        slope = w[c] if len(w) > 1 else w[0]
        v = x[(n, c, *rest)]
        y[(n, c, *rest)] = v if v > 0 else slope * v
    return y


def shape(x: Shape, w: Shape) -> Shape:
    if w[0] not in (1, x[1]):
        raise ShapeError(f"w expects one slope, or one for each of C={x[1]} channels, but has {w[0]}")
    return x


def problem(d: Draw) -> Problem:
    sizes = [d.size("N", 3), d.size("C", 4)]
    sizes += [d.size(name, 3) for name in "HW"[: d.size("spatial", 2, least=0)]]
    w = d.array(1 if d.flag("shared slope") else sizes[1])
    return Problem((d.away_from((0.0,), *sizes), w), {})


prelu = Op(
    "prelu",
    "x[N,C,...] w[Cw] -> y[N,C,...]",
    definition,
    problem,
    doc=__doc__,
    shape=shape,
    workloads={"size of alexnet.conv1": {"spatial": 2, "N": 128, "C": 96, "H": 55, "W": 55, "shared slope": False}},
    cost=lambda x, w: Cost(other=4 * math.prod(x)),
    sees=each,
)
prelu.kernel("pointwise", forward, backward)
