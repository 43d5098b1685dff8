"""The logarithm of softmax, computed without forming the softmax: exact where its probabilities round to 0.

    y_i  = x_i - max x - log sum_j exp(x_j - max x)
    dx_i = dy_i - exp(y_i) sum_j dy_j

    x, y  : any shape; the sums run along `axis` (PyTorch's `dim`)
    saved : (y,), of a half type in float32

Kernels: `stable` (the formulas, below), `cuda` (cuda.py: on a GPU, a row in one pass over memory).

Half types are computed in float32. A score of -inf gives -inf; where all are -inf the result is NaN, as in PyTorch.

Source: Bridle 1990; log-sum-exp as in Blanchard, Higham, Higham 2021, "Accurately computing the log-sum-exp and softmax".
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array, xp_of
from minidl.op import Cost, Op
from minidl.ops.half import narrow, widen
from minidl.ops.log_softmax import cuda
from minidl.ops.softmax import WORKLOADS, canonical, problem, shape
from minidl.receptive_field import mixing


def log_probabilities(z: Array, axis: int = -1) -> Array:
    """z less its log-sum-exp along the axis; the losses start from it too."""
    xp = xp_of(z)
    z = z - z.max(axis=axis, keepdims=True)
    return z - xp.log(xp.exp(z).sum(axis=axis, keepdims=True))


def forward(x: Array, *, axis: int) -> tuple[Array, tuple]:
    y = log_probabilities(widen(x), axis)
    return narrow(y, x), (y,)


def backward(dy: Array, saved: tuple, needs: tuple, *, axis: int) -> tuple:
    (y,), g = saved, widen(dy)
    dx = g - xp_of(y).exp(y) * g.sum(axis=axis, keepdims=True)
    return (narrow(dx, dy),)


def definition(x: np.ndarray, *, axis: int) -> np.ndarray:
    y = np.empty_like(x)
    lines = np.moveaxis(x, axis, -1)
    for index in np.ndindex(lines.shape[:-1]):
        top = max(lines[index])
        log_total = top + math.log(sum(math.exp(score - top) for score in lines[index]))
        np.moveaxis(y, axis, -1)[index] = [score - log_total for score in lines[index]]
    return y


log_softmax = Op(
    "log_softmax",
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
log_softmax.kernel("stable", forward, backward, analytic=True)
log_softmax.kernel("cuda", cuda.forward, cuda.backward, source=cuda.SOURCE)
