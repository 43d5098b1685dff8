"""Softmax: scores along one axis as probabilities.

    y_i  = exp(x_i - max x) / sum_j exp(x_j - max x)
    dx_i = y_i (dy_i - sum_j dy_j y_j)

    x, y  : any shape; the sums run along `axis` (PyTorch's `dim`)
    saved : (y,), of a half type in float32: where y is near 1, dy - sum dy y cancels

Kernels: `stable` (the formulas, below), `cuda` (cuda.py: on a GPU, a row in one pass over memory).

The maximum is taken off so that nothing overflows; the values do not change. A score of -inf gets probability 0; where
all scores are -inf the result is NaN, as in PyTorch. Half types are computed in float32.

Pros: positive, sums to 1: scores of classes become probabilities. Cons: saturates as the sigmoid does; never exactly 0.

Source: Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs".
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.axes import not_empty, one_axis
from minidl.ops.half import narrow, widen
from minidl.ops.softmax import cuda
from minidl.receptive_field import mixing
from minidl.signature import Shape


def forward(x: Array, *, axis: int) -> tuple[Array, tuple]:
    z = widen(x)
    e = xp_of(x).exp(z - z.max(axis=axis, keepdims=True))
    y = e / e.sum(axis=axis, keepdims=True)
    return narrow(y, x), (y,)


def backward(dy: Array, saved: tuple, needs: tuple, *, axis: int) -> tuple:
    (y,), g = saved, widen(dy)
    dx = y * (g - (g * y).sum(axis=axis, keepdims=True))
    return (narrow(dx, dy),)


def definition(x: np.ndarray, *, axis: int) -> np.ndarray:
    y = np.empty_like(x)
    lines = np.moveaxis(x, axis, -1)
    for index in np.ndindex(lines.shape[:-1]):
        weights = [math.exp(score - max(lines[index])) for score in lines[index]]
        np.moveaxis(y, axis, -1)[index] = [weight / sum(weights) for weight in weights]
    return y


def canonical(shapes: tuple[Shape], attrs: dict) -> dict:
    return {"axis": one_axis(attrs["axis"], len(shapes[0]))}


def shape(x: Shape, *, axis: int) -> Shape:
    not_empty("x", x)
    return x


def problem(d: Draw) -> Problem:
    ndim = d.one_of("ndim", (2, 1, 3, 4))
    x = d.array(*(d.size(letter, most) for letter, most in zip("NCHW"[:ndim], (4, 5, 3, 2), strict=False)))
    axis = d.one_of("axis", tuple(range(-1, -ndim - 1, -1)) + tuple(range(ndim)))
    return Problem((2 * x + d.one_of("offset", OFFSETS),), {"axis": axis})


OFFSETS = (0, 1000, -1000)  # no probability sees it; a softmax that forgets the maximum gives 0 / 0 or infinity / infinity

WORKLOADS = {
    "imagenet": {"ndim": 2, "N": 128, "C": 1000, "offset": 0},
    "cifar": {"ndim": 2, "N": 128, "C": 10, "offset": 0},
    "segmentation": {"ndim": 4, "N": 8, "C": 21, "H": 64, "W": 64, "axis": 1, "offset": 0},
}

softmax = Op(
    "softmax",
    "x[...] -> y[...]",
    definition,
    problem,
    doc=__doc__,
    attrs={"axis": -1},
    canonical=canonical,
    shape=shape,
    workloads=WORKLOADS,
    cost=lambda x, **_: Cost(other=5 * math.prod(x)),
    sees=lambda x, *, axis: mixing(len(x), [axis]),
)
softmax.kernel("stable", forward, backward, analytic=True)
softmax.kernel("cuda", cuda.forward, cuda.backward, source=cuda.SOURCE)
