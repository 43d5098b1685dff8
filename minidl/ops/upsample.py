"""Enlarging feature maps by a whole factor s, nearest or bilinear.

    nearest    y[p, q] = x[p // s, q // s]            dx = dy summed over each s x s block
    bilinear   y = A x B^T                            dx = A^T dy B          A [P,H] and B [Q,W] interpolate rows, columns

    x [N,C,H,W]   y [N,C,P,Q], P = s H, Q = s W       row p of A weights the two rows of x around its position u_p:
                  A[p, h] = max(0, 1 - |u_p - h|)     u_p = (p + 1/2) / s - 1/2, kept inside [0, H-1]
                                                      u_p = p (H-1) / (P-1) with align_corners: corner meets corner
    saved         nothing but the sizes of x

PyTorch's interpolate with an integer scale_factor; scale may be a pair (rows, columns). float16 is added in float32.
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
from minidl.receptive_field import Seen, Slide
from minidl.signature import Shape, ShapeError

Scale = tuple[int, int]


def forward(x: Array, *, scale: Scale, mode: str, align_corners: bool) -> tuple[Array, tuple]:
    if mode == "nearest":
        return x.repeat(scale[0], axis=2).repeat(scale[1], axis=3), x.shape
    x_wide = widen(x)
    A, B = (interpolation(x_wide, x.shape[2 + i], scale[i], align_corners) for i in (0, 1))
    return narrow(product(product(A, x_wide), B.T), x), x.shape


def backward(dy: Array, saved: Shape, needs: tuple, *, scale: Scale, mode: str, align_corners: bool) -> tuple:
    dy_wide = widen(dy)
    if mode == "nearest":
        dx = sum(dy_wide[:, :, i :: scale[0], j :: scale[1]] for i, j in np.ndindex(scale))
    else:
        A, B = (interpolation(dy_wide, saved[2 + i], scale[i], align_corners) for i in (0, 1))
        dx = product(product(A.T, dy_wide), B)
    return (narrow(dx, dy),)


def interpolation(like: Array, H: int, s: int, align_corners: bool) -> Array:
    """The matrix [P,H] that interpolates H points at s H positions; of the type and on the device of `like`."""
    xp, P = xp_of(like), s * H
    p, h = xp.arange(P, dtype=like.dtype)[:, None], xp.arange(H, dtype=like.dtype)
    u = p * ((H - 1) / max(P - 1, 1)) if align_corners else xp.clip((p + 0.5) / s - 0.5, 0, H - 1)
    return xp.maximum(1 - abs(u - h), 0)


def canonical(shapes: tuple[Shape], attrs: dict[str, Any]) -> dict[str, Any]:
    scale = attrs["scale"]
    pair = tuple(whole(s, "scale") for s in (scale if isinstance(scale, tuple | list) else (scale, scale)))
    if len(pair) != 2 or min(pair) < 1:
        raise ShapeError(f"scale must be a positive integer or a pair of them, got {scale!r}")
    return {**attrs, "scale": pair, "align_corners": bool(attrs["align_corners"])}


def shape(x: Shape, *, scale: Scale, mode: str, align_corners: bool) -> Shape:
    if mode not in ("nearest", "bilinear"):
        raise ShapeError(f"mode must be 'nearest' or 'bilinear', got {mode!r}")
    if mode == "nearest" and align_corners:
        raise ShapeError("align_corners is for mode='bilinear': nearest copies, it has no positions to align")
    return (x[0], x[1], scale[0] * x[2], scale[1] * x[3])


def definition(x: np.ndarray, *, scale: Scale, mode: str, align_corners: bool) -> np.ndarray:
    y = np.empty(shape(x.shape, scale=scale, mode=mode, align_corners=align_corners))
    for n, c, p, q in np.ndindex(y.shape):
        if mode == "nearest":
            y[n, c, p, q] = x[n, c, p // scale[0], q // scale[1]]
        else:
            rows = neighbours(p, x.shape[2], scale[0], align_corners)
            columns = neighbours(q, x.shape[3], scale[1], align_corners)
            y[n, c, p, q] = sum(a * b * x[n, c, h, w] for h, a in rows for w, b in columns)
    return y


def neighbours(p: int, H: int, s: int, align_corners: bool) -> tuple[tuple[int, float], tuple[int, float]]:
    """The two inputs that output p lies between, each with its weight."""
    u = p * (H - 1) / max(s * H - 1, 1) if align_corners else max((p + 0.5) / s - 0.5, 0.0)
    low = min(int(u), H - 1)
    return (low, 1 - (u - low)), (min(low + 1, H - 1), u - low)


def problem(d: Draw) -> Problem:
    x = d.array(d.size("N", 2), d.size("C", 2), d.size("H", 3), d.size("W", 3))
    mode = d.one_of("mode", ("nearest", "bilinear"))
    scale = d.one_of("scale", (2, 1, 3, (1, 2), (3, 2)))
    return Problem((x,), {"scale": scale, "mode": mode, "align_corners": mode == "bilinear" and d.flag("align_corners")})


def cost(x: Shape, *, scale: Scale, mode: str, **_: Any) -> Cost:
    return Cost(macs=4 * math.prod(x) * math.prod(scale) if mode == "bilinear" else 0)


def sees(x: Shape, *, scale: Scale, mode: str, align_corners: bool) -> Seen:
    def along(H: int, s: int) -> Slide:
        """Output p lies at a / b among the inputs: between two of them, or on one."""
        into, out = (H - 1, s * H - 1) if align_corners and s * H > 1 else (1, s)

        def neighbours(p: int) -> range:
            a, b = (p * into, out) if align_corners else (2 * p + 1 - s, 2 * s)
            return range(a // b, -(-a // b) + 1)

        return Slide((lambda p: (p // s,)) if mode == "nearest" else neighbours, into, out)

    return along(x[2], scale[0]), along(x[3], scale[1])


upsample = Op(
    "upsample",
    "x[N,C,H,W] -> y[N,C,P,Q]",
    definition,
    problem,
    doc=__doc__,
    attrs={"scale": 2, "mode": "nearest", "align_corners": False},
    canonical=canonical,
    shape=shape,
    workloads={
        "decoder.nearest": {"N": 16, "C": 64, "H": 56, "W": 56},
        "decoder.bilinear": {"N": 16, "C": 64, "H": 56, "W": 56, "mode": "bilinear"},
    },
    cost=cost,
    sees=sees,
)
upsample.kernel("array", forward, backward)
