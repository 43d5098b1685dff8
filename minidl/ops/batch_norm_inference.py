"""Batch normalisation in evaluation: a fixed scale and shift per channel, from running statistics.

    y = scale_c (x - mean_c) + bias_c        scale_c = weight_c (var_c + eps)^-1/2

    dx = dy scale_c          dbias_c = sum dy          dmean_c = -scale_c dbias_c
    t_c = sum dy (x - mean_c)     dweight_c = t_c (var_c + eps)^-1/2     dvar_c = -1/2 weight_c t_c (var_c + eps)^-3/2

    x, y  : [N, C, ...]   mean, var : [C]   weight, bias : [C] or None   sums over all axes but C
    saved : (x, mean, var, weight)

Computed as scale x + (bias - scale mean). Images do not see each other here. The layer gives no gradient to its running
statistics; the op has one for whoever learns them. Half types are computed in float32.

Source: Ioffe, Szegedy 2015, algorithm 2.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.batch_norm import WORKLOADS
from minidl.ops.half import narrow, widen
from minidl.ops.rows import along, as_images, as_rows, channel_products, channel_sums
from minidl.receptive_field import each


def forward(x: Array, mean: Array, var: Array, weight: Array | None, bias: Array | None, *, eps: float) -> tuple[Array, tuple]:
    X, inverse_std = as_rows(widen(x)), (widen(var) + eps) ** -0.5
    scale = inverse_std if weight is None else weight * inverse_std
    y = X * along(scale, X)
    y += along(-scale * mean if bias is None else bias - scale * mean, X)
    return narrow(as_images(y, x), x), (x, mean, var, weight)


def backward(dy: Array, saved: tuple, needs: tuple, *, eps: float) -> tuple:
    x, mean, var, weight = saved
    g, C, inverse_std = as_rows(widen(dy)), len(mean), (widen(var) + eps) ** -0.5
    scale = inverse_std if weight is None else weight * inverse_std
    dx = dmean = dvar = dweight = dbias = None
    if needs[0]:
        dx = as_images(g * along(scale, g), x)
    if needs[1] or needs[4]:
        dbias = channel_sums(g, C)
        dmean = -scale * dbias
    if needs[2] or needs[3]:
        X = as_rows(widen(x))
        t = channel_products(g, X - along(widen(mean), X), C)
        dweight = t * inverse_std
        dvar = -0.5 * scale * t * inverse_std**2
    grads = (dx, dmean, dvar, dweight, dbias)
    return tuple(narrow(a, dy) if need else None for a, need in zip(grads, needs, strict=True))


def definition(
    x: np.ndarray, mean: np.ndarray, var: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, *, eps: float
) -> np.ndarray:
    y = np.empty_like(x)
    for index in np.ndindex(x.shape):
        c = index[1]
        xhat = (x[index] - mean[c]) / math.sqrt(var[c] + eps)
        y[index] = (1 if weight is None else weight[c]) * xhat + (0 if bias is None else bias[c])
    return y


def problem(d: Draw) -> Problem:
    N, C = d.size("N", 4), d.size("C", 4)
    spatial = [d.size(letter, 3) for letter in "HW"[: d.size("spatial", 2, least=0)]]
    weight = d.array(C) if d.flag("weight") else None
    bias = d.array(C) if d.flag("bias") else None
    inputs = (d.array(N, C, *spatial), d.array(C), d.positive(C), weight, bias)
    return Problem(inputs, {"eps": d.one_of("eps", (0.1, 1e-3))})


batch_norm_inference = Op(
    "batch_norm_inference",
    "x[N,C,...] mean[C] var[C] weight[C]? bias[C]? -> y[N,C,...]",
    definition,
    problem,
    doc=__doc__,
    attrs={"eps": 1e-5},
    workloads=WORKLOADS,
    cost=lambda x, *_, **__: Cost(other=3 * math.prod(x)),
    sees=each,
)
batch_norm_inference.kernel("scale_and_shift", forward, backward)
