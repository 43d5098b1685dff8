"""Signed power: every value is raised to a power and keeps its sign, so that large ones are drawn together.

    t = |x| + e       y = weight_c sgn(x) (t^alpha - e^alpha) + bias_c

    dx = weight_c dy alpha t^(alpha - 1)
    dweight_c = sum dy sgn(x) (t^alpha - e^alpha)       dbias_c = sum dy

    x, y  : [N, C, ...]   weight, bias : [C] or None   sums over all axes but C
    alpha : above 0; 1 is the identity, 1/2 a signed square root       epsilon (e) : above 0
    saved : (x, weight)

Behind a batch norm this is Alpha-Net's, the paper's "alpha transform over convoluted layers": minidl.alpha_batch_norm in
training, nn.AlphaBatchNorm2d as a layer. The weight and the bias are here because they come after the power.

Without e the slope at 0 would be infinite for alpha < 1. With it, it is alpha e^(alpha - 1): 5 for alpha = 1/2 and e = 0.01, so
small values are stretched, and those beyond about 1/4 drawn together. dx is continuous at 0, its slope there is not.
Half types are computed in float32.

>>> minidl.signed_power([[-4.0, 0.0, 4.0]], epsilon=1e-6).numpy().round(2).tolist()
[[-2.0, 0.0, 2.0]]

Source: Shaikh, Sharma, Chouhan, Mahawar 2020 (Alpha-Net), arXiv 2007.07221; the power itself, as a way to normalise: Perronnin,
Sanchez, Mensink 2010, "Improving the Fisher kernel for large-scale image classification", section 3.2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.half import narrow, widen
from minidl.ops.rows import along, as_images, as_rows, channel_products, channel_sums
from minidl.receptive_field import each
from minidl.signature import Shape, ShapeError


def forward(x: Array, weight: Array | None, bias: Array | None, *, alpha: float, epsilon: float) -> tuple[Array, tuple]:
    X = as_rows(widen(x))
    y = signed(above(X, epsilon) ** alpha, X, epsilon**alpha)
    if weight is not None:
        y *= along(widen(weight), y)
    if bias is not None:
        y += along(widen(bias), y)
    return narrow(as_images(y, x), x), (x, weight)


def backward(dy: Array, saved: tuple, needs: tuple, *, alpha: float, epsilon: float) -> tuple:
    x, weight = saved
    X, g, C = as_rows(widen(x)), as_rows(widen(dy)), x.shape[1]
    dx = dweight = dbias = None
    if needs[0] or needs[1]:
        t = above(X, epsilon)
        p = t**alpha
    if needs[1]:
        dweight = narrow(channel_products(g, signed(p, X, epsilon**alpha), C), dy)
    if needs[0]:
        p /= t  # t^(alpha - 1), at the price of a division
        p *= g
        p *= alpha if weight is None else along(alpha * widen(weight), p)
        dx = narrow(as_images(p, x), dy)
    if needs[2]:
        dbias = narrow(channel_sums(g, C), dy)
    return dx, dweight, dbias


def above(X: Array, epsilon: float) -> Array:
    """t = |x| + e."""
    t = xp_of(X).abs(X)
    t += epsilon
    return t


def signed(p: Array, X: Array, least: float) -> Array:
    """sgn(x) (p - least)."""
    return xp_of(X).copysign(p - least, X)


def definition(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, *, alpha: float, epsilon: float
) -> np.ndarray:
    y = np.empty_like(x)
    for index in np.ndindex(x.shape):
        c = index[1]
        power = math.copysign((abs(x[index]) + epsilon) ** alpha - epsilon**alpha, x[index])
        y[index] = (1 if weight is None else weight[c]) * power + (0 if bias is None else bias[c])
    return y


def shape(x: Shape, weight: Shape | None, bias: Shape | None, *, alpha: float, epsilon: float) -> Shape:
    if not 0 < alpha < math.inf:
        raise ShapeError(f"alpha must be above 0, got {alpha}; 1 changes nothing, 0.5 is a signed square root")
    if not 0 < epsilon < math.inf:
        raise ShapeError(f"epsilon must be above 0, got {epsilon}: at 0 the slope of |x|^alpha is infinite")
    return x


def problem(d: Draw) -> Problem:  # the slope of dx jumps at 0
    N, C = d.size("N", 4), d.size("C", 4)
    spatial = [d.size(letter, 3) for letter in "HW"[: d.size("spatial", 2, least=0)]]
    weight = d.array(C) if d.flag("weight") else None
    bias = d.array(C) if d.flag("bias") else None
    attrs = {"alpha": d.one_of("alpha", (0.5, 1.0, 0.3, 1.5)), "epsilon": d.one_of("epsilon", (0.1, 0.01, 1.0))}
    return Problem((d.away_from((0.0,), N, C, *spatial), weight, bias), attrs)


MAP = {"N": 32, "spatial": 2, "weight": True, "bias": True}
WORKLOADS: dict[str, dict[str, Any]] = {
    "alphanet.32.stage1": {**MAP, "C": 16, "H": 32, "W": 32},
    "alphanet.32.stage2": {**MAP, "C": 32, "H": 16, "W": 16},
    "alphanet.32.stage3": {**MAP, "C": 64, "H": 8, "W": 8},
    "alphanet.224.stage1": {**MAP, "C": 64, "H": 56, "W": 56},
    "alphanet.224.stage4": {**MAP, "C": 512, "H": 7, "W": 7},
}

signed_power = Op(
    "signed_power",
    "x[N,C,...] weight[C]? bias[C]? -> y[N,C,...]",
    definition,
    problem,
    doc=__doc__,
    attrs={"alpha": 0.5, "epsilon": 1e-2},
    shape=shape,
    workloads=WORKLOADS,
    cost=lambda x, *_, **__: Cost(other=6 * math.prod(x)),
    sees=each,
)
signed_power.kernel("rows", forward, backward)
