"""Binary cross-entropy of independent yes/no scores (logits), stable at any score.

    softplus(-x) = max(-x, 0) + log(1 + exp(-|x|)) = -log sigmoid(x)        v = 1 + (pos_weight - 1) t
    l_i  = (1 - t_i) x_i + v_i softplus(-x_i)        loss = sum_i l_i / M

    dx_i = ((1 - t_i) - v_i sigmoid(-x_i)) dloss / M        for pos_weight = 1 that is sigmoid(x_i) - t_i
    dt_i = ((pos_weight - 1) softplus(-x_i) - x_i) dloss / M

    x, t  : scores and targets, any one shape; t in [0, 1]      M = number of elements ('mean'), 1 ('sum')
    loss  : [], with reduction='none' the shape of x
    saved : (x, t)

pos_weight is one number that weighs the positives: above 1 for more recall, below 1 for more precision. Half types are
computed in float32.

Source: PyTorch's binary_cross_entropy_with_logits (whose pos_weight may also differ by class).
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.axes import not_empty
from minidl.ops.half import narrow, widen
from minidl.ops.losses import check_reduction, reduced, spread
from minidl.signature import Shape, ShapeError


def softplus_of_minus(x: Array) -> Array:
    """log(1 + exp(-x)) without overflow."""
    xp = xp_of(x)
    return xp.maximum(-x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


def sigmoid_of_minus(x: Array) -> Array:
    """1 / (1 + exp(x)) without overflow."""
    xp = xp_of(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(x > 0, e, 1) / (1 + e)


def forward(scores: Array, target: Array, *, pos_weight: float, reduction: str) -> tuple[Array, tuple]:
    x, t = widen(scores), widen(target)
    losses = (1 - t) * x + (1 + (pos_weight - 1) * t) * softplus_of_minus(x)
    return narrow(reduced(losses, reduction), scores), (scores, target)


def backward(dy: Array, saved: tuple, needs: tuple, *, pos_weight: float, reduction: str) -> tuple:
    x, t = widen(saved[0]), widen(saved[1])
    share = spread(widen(dy), reduction, x.size)
    dx = dt = None
    if needs[0]:
        dx = narrow(((1 - t) - (1 + (pos_weight - 1) * t) * sigmoid_of_minus(x)) * share, dy)
    if needs[1]:
        dt = narrow(((pos_weight - 1) * softplus_of_minus(x) - x) * share, dy)
    return dx, dt


def definition(scores: np.ndarray, target: np.ndarray, *, pos_weight: float, reduction: str) -> np.ndarray:
    losses = np.empty_like(scores)
    for index in np.ndindex(scores.shape):
        x, t = scores[index], target[index]
        yes = 1 / (1 + math.exp(-x))
        losses[index] = -pos_weight * t * math.log(yes) - (1 - t) * math.log(1 - yes)
    if reduction == "none":
        return losses
    return np.array(sum(losses.flat) / (losses.size if reduction == "mean" else 1))


def shape(scores: Shape, target: Shape, *, pos_weight: float, reduction: str) -> Shape:
    check_reduction(reduction)
    if scores != target:
        raise ShapeError("scores and target must have one shape: reshape one, nothing broadcasts")
    if not (isinstance(pos_weight, int | float) and pos_weight > 0):
        raise ShapeError(f"pos_weight is one positive number, got {pos_weight!r}")
    not_empty("scores", scores)
    return scores if reduction == "none" else ()


def domain(scores: Array, target: Array, **_: object) -> None:
    wrong = ~((target >= 0) & (target <= 1))  # NaN is wrong too
    if wrong.any():
        raise ValueError(
            f"binary_cross_entropy_with_logits: target must be in [0, 1], got {float(target[wrong][0]):.6g}; "
            "a target is a probability, scores are not"
        )


def problem(d: Draw) -> Problem:
    dims = [d.size("N", 4), d.size("C", 4)] if d.one_of("matrix", (True, False)) else []
    scores, target = 2 * d.array(*dims), d.rng.random(dims)
    attrs = {name: d.one_of(name, options) for name, options in LOUD.items()}
    return Problem((scores, target), attrs)


LOUD = {"pos_weight": (3.0, 1.0, 0.25), "reduction": ("mean", "sum", "none")}

binary_cross_entropy_with_logits = Op(
    "binary_cross_entropy_with_logits",
    "scores[...] target[...] -> loss[]",
    definition,
    problem,
    doc=__doc__,
    attrs={"pos_weight": 1.0, "reduction": "mean"},
    shape=shape,
    domain=domain,
    workloads={"attributes": {"N": 128, "C": 40, "matrix": True}},
    cost=lambda scores, target, **_: Cost(other=12 * math.prod(scores)),
)
binary_cross_entropy_with_logits.kernel("stable", forward, backward)
