"""Adaptive average pooling: as many windows as are asked for, spread over an image of any size.

    window p of P over H rows   from floor(p H / P) up to, not including, ceil((p+1) H / P): never empty; neighbours
                                share a row where a boundary falls inside it

    y = A x B^T        dx = A^T dy B        A[p,h] = 1 / rows in window p, for every row h in it, else 0;  B likewise

    x [N,C,H,W]   y [N,C,P,Q]   A [P,H]   B [Q,W]
    saved : shape of x

output_size  P, Q: an int or a pair; None in a pair keeps x's own size

float16 is added in float32. PyTorch's rule; for one window, `global_avg_pool2d` is quicker.

>>> minidl.adaptive_avg_pool2d([[[[1.0, 2.0, 3.0, 4.0, 5.0]]]], output_size=(1, 2)).numpy().tolist()
[[[[2.0, 4.0]]]]
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.axes import whole
from minidl.ops.gemm import product
from minidl.ops.half import narrow, widen
from minidl.receptive_field import ALL, Seen, Slide
from minidl.signature import Shape, ShapeError

Pair = tuple[int, int]


def forward(x: Array, *, output_size: Pair) -> tuple[Array, Shape]:
    x_wide = widen(x)
    A, B = (averaging(x_wide, x.shape[2 + i], output_size[i]) for i in (0, 1))
    return narrow(product(product(A, x_wide), B.T), x), x.shape


def backward(dy: Array, saved: Shape, needs: tuple, *, output_size: Pair) -> tuple:
    dy_wide = widen(dy)
    A, B = (averaging(dy_wide, saved[2 + i], output_size[i]) for i in (0, 1))
    return (narrow(product(product(A.T, dy_wide), B), dy),)


def averaging(like: Array, H: int, P: int) -> Array:
    """The matrix [P,H] that averages H rows in P windows; of the type and on the device of `like`."""
    xp = xp_of(like)
    p, h = xp.arange(P)[:, None], xp.arange(H)
    first, end = p * H // P, -(-(p + 1) * H // P)
    return (((first <= h) & (h < end)) / (end - first)).astype(like.dtype)


def canonical(shapes: tuple[Shape], attrs: dict[str, Any]) -> dict[str, Any]:
    size = attrs["output_size"]
    pair = size if isinstance(size, tuple | list) else (size, size)
    if len(pair) != 2:
        raise ShapeError(f"output_size must be an int or a pair of ints, got {size!r}")
    own = shapes[0][2:]
    return {"output_size": tuple(own[i] if n is None else whole(n, "output_size") for i, n in enumerate(pair))}


def shape(x: Shape, *, output_size: Pair) -> Shape:
    if min(output_size) < 1:
        raise ShapeError(f"output_size must be 1 or more each way, got {output_size}")
    return (*x[:2], *output_size)


def definition(x: np.ndarray, *, output_size: Pair) -> np.ndarray:
    (H, W), (P, Q), y = x.shape[2:], output_size, np.zeros((*x.shape[:2], *output_size))
    for n, c, p, q in np.ndindex(y.shape):
        rows = [h for h in range(H) if p * H < (h + 1) * P and h * P < (p + 1) * H]
        columns = [v for v in range(W) if q * W < (v + 1) * Q and v * Q < (q + 1) * W]
        y[n, c, p, q] = sum(x[n, c, h, v] for h in rows for v in columns) / (len(rows) * len(columns))
    return y


def problem(d: Draw) -> Problem:
    size = d.one_of("output_size", (1, 2, (3, 2), (2, None), [4, 1]))
    return Problem((d.array(d.size("N", 3), d.size("C", 3), d.size("H", 7), d.size("W", 6)),), {"output_size": size})


def sees(x: Shape, *, output_size: Pair) -> Seen:
    if output_size == (1, 1):
        return ALL

    def along(H: int, P: int) -> Slide:
        return Slide(lambda p: range(p * H // P, -(-(p + 1) * H // P)), into=H, out=P)

    return along(x[2], output_size[0]), along(x[3], output_size[1])


adaptive_avg_pool2d = Op(
    "adaptive_avg_pool2d",
    "x[N,C,H,W] -> y[N,C,P,Q]",
    definition,
    problem,
    doc=__doc__,
    attrs={"output_size": 1},
    shape=shape,
    canonical=canonical,
    workloads={"googlenet.head": {"N": 128, "C": 512, "H": 14, "W": 14, "output_size": 4}},
    cost=lambda x, **_: Cost(other=math.prod(x)),
    sees=sees,
)
adaptive_avg_pool2d.kernel("matrices", forward, backward)
