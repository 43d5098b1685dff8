"""A choice between two, element by element.

    y = a where the condition holds, else b          da = dy [condition]          db = dy [not condition]

    condition, a and b broadcast; da and db are summed over the axes along which a and b were repeated
    saved   : (condition, the shape of a, the shape of b)

Both operands are computed before the choice: `where(x > 0, log(x), 0)` takes the logarithm of every x, and a NaN made
there comes back through its gradient. Clip x first.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.pointwise import broadcast_shape, in_loops, part_of, some_shape, unbroadcast
from minidl.receptive_field import each


def forward(condition: Array, a: Array, b: Array) -> tuple[Array, tuple]:
    y = xp_of(condition, a, b).where(condition, a, b)
    return y, (condition, a.shape, b.shape)


def backward(dy: Array, saved: tuple, needs: tuple) -> tuple:
    condition, a_shape, b_shape = saved
    return (
        None,
        unbroadcast(dy * condition, a_shape) if needs[1] else None,
        unbroadcast(dy * ~condition, b_shape) if needs[2] else None,
    )


def problem(d: Draw) -> Problem:
    shape = some_shape(d)
    c, a, b = (d.array(*part_of(d, name, shape)) for name in ("condition", "a", "b"))
    return Problem((np.asarray(c > 0), a, b), {})


where = Op(
    "where",
    "condition[...]:bool a[...] b[...] -> y[...]",
    in_loops(lambda condition, a, b: a if condition else b),
    problem,
    doc=__doc__,
    shape=broadcast_shape,
    workloads={
        "mask": {"ndim": 4, "N": 32, "C": 256, "H": 56, "W": 56}
        | {"part condition": "whole", "part a": "whole", "part b": "one number"},
    },
    cost=lambda *shapes: Cost(other=math.prod(broadcast_shape(*shapes))),
    batched=True,
    sees=each,
)
where.kernel("pointwise", forward, backward)
