"""Maxout: each output channel is the largest of k input channels.

    y[n,k,...] = max_{j < pieces} x[n, k*pieces + j, ...]
    dx         = dy at the piece that won, 0 at the others

    x     : [N, K * pieces, ...]        y : [N, K, ...]
    saved : (winner,), the number j of the piece that won, one byte each

With the layer before it (linear or conv2d with K * pieces outputs) it is a unit that learns its own convex, piecewise
linear activation. Pieces of one output lie side by side, as in the paper's z_ij.

Pros: learns its activation, linear almost everywhere, never dies. Cons: `pieces` times the parameters and the work.
Ties: the first piece wins.
Source: Goodfellow, Warde-Farley, Mirza, Courville, Bengio 2013, "Maxout networks", section 3.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.receptive_field import STAY
from minidl.signature import Shape, ShapeError


def forward(x: Array, *, pieces: int) -> tuple[Array, tuple]:
    N, C, *rest = x.shape
    p = x.reshape(N, C // pieces, pieces, *rest)
    return p.max(axis=2), (p.argmax(axis=2).astype(np.uint8),)


def backward(dy: Array, saved: tuple, needs: tuple, *, pieces: int) -> tuple:
    (winner,) = saved
    N, K, *rest = dy.shape
    dx = xp_of(dy).stack([dy * (winner == j) for j in range(pieces)], axis=2)
    return (dx.reshape(N, K * pieces, *rest),)


def definition(x: np.ndarray, *, pieces: int) -> np.ndarray:
    N, C, *rest = x.shape
    y = np.empty((N, C // pieces, *rest))
    for n, k, *place in np.ndindex(y.shape):
        y[(n, k, *place)] = max(x[(n, k * pieces + j, *place)] for j in range(pieces))
    return y


def shape(x: Shape, *, pieces: int) -> Shape:
    N, C, *rest = x
    if not 1 <= pieces <= 256:
        raise ShapeError(f"pieces must be in [1, 256], got {pieces}")
    if C % pieces:
        raise ShapeError(f"C={C} channels cannot be shared out in groups of pieces={pieces}; C must be a multiple of it")
    return (N, C // pieces, *rest)


def problem(d: Draw) -> Problem:
    pieces = d.one_of("pieces", (2, 3, 1))
    sizes = [d.size("N", 3), d.size("K", 3) * pieces]
    sizes += [d.size(name, 3) for name in "HW"[: d.size("spatial", 2, least=0)]]
    return Problem((d.distinct(*sizes),), {"pieces": pieces})


maxout = Op(
    "maxout",
    "x[N,C,...] -> y[N,K,...]",
    definition,
    problem,
    doc=__doc__,
    attrs={"pieces": 2},
    shape=shape,
    workloads={"mnist.hidden": {"spatial": 0, "N": 128, "K": 240, "pieces": 5}},
    cost=lambda x, *, pieces: Cost(other=math.prod(x)),
    sees=lambda x, **_: (STAY, STAY) if len(x) > 3 else None,
)
maxout.kernel("argmax", forward, backward)
