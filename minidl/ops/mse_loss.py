"""Mean squared error.

    loss = sum_i (x_i - t_i)^2 / M        dx_i = 2 (x_i - t_i) dloss / M = -dt_i

    x, t  : prediction and target, any one shape; M = number of elements ('mean'), 1 ('sum')
    loss  : [], with reduction='none' the shape of x
    saved : (x - t,)

Shapes must be equal: broadcasting [N, 1] against [N] would compare every prediction with every target, and say nothing.
Half types are computed in float32.

Source: Gauss 1809; PyTorch's mse_loss.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.axes import not_empty
from minidl.ops.half import narrow, widen
from minidl.ops.losses import check_reduction, reduced, spread
from minidl.signature import Shape, ShapeError


def forward(prediction: Array, target: Array, *, reduction: str) -> tuple[Array, tuple]:
    difference = widen(prediction) - widen(target)
    loss = reduced(difference * difference, reduction)
    return narrow(loss, prediction), (difference,)


def backward(dy: Array, saved: tuple, needs: tuple, *, reduction: str) -> tuple:
    (difference,) = saved
    dx = narrow(difference * (2 * spread(widen(dy), reduction, difference.size)), dy)
    return dx if needs[0] else None, -dx if needs[1] else None


def definition(prediction: np.ndarray, target: np.ndarray, *, reduction: str) -> np.ndarray:
    losses = np.empty_like(prediction)
    for index in np.ndindex(prediction.shape):
        losses[index] = (prediction[index] - target[index]) ** 2
    if reduction == "none":
        return losses
    return np.array(sum(losses.flat) / (losses.size if reduction == "mean" else 1))


def shape(prediction: Shape, target: Shape, *, reduction: str, **_: object) -> Shape:
    check_reduction(reduction)
    if prediction != target:
        raise ShapeError("prediction and target must have one shape: reshape one, nothing broadcasts")
    not_empty("prediction", prediction)
    return prediction if reduction == "none" else ()


def problem(d: Draw) -> Problem:
    dims = [d.size("N", 4), d.size("C", 4)] if d.one_of("matrix", (True, False)) else []
    return Problem((d.array(*dims), d.array(*dims)), {"reduction": d.one_of("reduction", ("mean", "sum", "none"))})


mse_loss = Op(
    "mse_loss",
    "prediction[...] target[...] -> loss[]",
    definition,
    problem,
    doc=__doc__,
    attrs={"reduction": "mean"},
    shape=shape,
    workloads={"autoencoder": {"N": 128, "C": 3072, "matrix": True}},
    cost=lambda prediction, target, **_: Cost(other=3 * math.prod(prediction)),
)
mse_loss.kernel("difference", forward, backward, analytic=True)
