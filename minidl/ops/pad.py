"""Padding with a constant.

    y = value, then y[inner] = x           dx = dy[inner]

    x [...]   pad as in PyTorch: (before, after) of the last dimension, then of the one before it, ...: (left, right, top,
              bottom); or one pair for each dimension from the first, as in NumPy: ((0, 0), (0, 0), (1, 1), (2, 2))
    saved     nothing

Sizes are not negative: to crop, use x[...]. Canonical: one pair for each dimension from the first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend import Array, full_like
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.axes import whole
from minidl.ops.reduce import sizes
from minidl.receptive_field import Seen, window
from minidl.signature import Shape, ShapeError

Pairs = tuple[tuple[int, int], ...]


def forward(x: Array, *, pad: Pairs, value: float) -> tuple[Array, tuple]:
    y = full_like(x, shape(x.shape, pad=pad), value)
    y[inner(y.shape, pad)] = x
    return y, ()


def backward(dy: Array, saved: tuple, needs: tuple, *, pad: Pairs, value: float) -> tuple:
    return (dy[inner(dy.shape, pad)],)


def inner(y: Shape, pad: Pairs) -> tuple:
    """Where x lies inside y; the Ellipsis makes it an array even where y is a single number."""
    return (*(slice(before, size - after) for size, (before, after) in zip(y, pad, strict=True)), ...)


def canonical(shapes: tuple[Shape], attrs: dict[str, Any]) -> dict[str, Any]:
    (x,), given = shapes, attrs["pad"]
    if not isinstance(given, tuple | list):
        raise ShapeError(f"pad={given!r} must list before and after, the last dimension first: (1, 1) or (1, 1, 2, 2)")
    if given and all(isinstance(pair, tuple | list) for pair in given):
        pairs = list(given)
    else:
        if len(given) % 2 or len(given) > 2 * len(x):
            raise ShapeError(f"pad has {len(given)} sizes; give two for each dimension, at most {2 * len(x)}")
        pairs = [(0, 0)] * len(x) + list(zip(given[-2::-2], given[::-2], strict=True))
        pairs = pairs[len(given) // 2 :]
    return {**attrs, "pad": tuple(tuple(whole(size, "each size in pad") for size in pair) for pair in pairs)}


def shape(x: Shape, *, pad: Pairs, **_: Any) -> Shape:
    if len(pad) != len(x) or any(len(pair) != 2 for pair in pad):
        raise ShapeError(f"pad={pad} must hold one pair (before, after) for each of the {len(x)} dimensions")
    if any(size < 0 for pair in pad for size in pair):
        raise ShapeError(f"pad={pad} must not be negative; to crop, use x[...]")
    return tuple(before + size + after for size, (before, after) in zip(x, pad, strict=True))


def definition(x: np.ndarray, *, pad: Pairs, value: float) -> np.ndarray:
    y = np.empty(shape(x.shape, pad=pad))
    for index in np.ndindex(y.shape):
        place = tuple(k - before for k, (before, _) in zip(index, pad, strict=True))
        inside = all(0 <= k < size for k, size in zip(place, x.shape, strict=True))
        y[index] = x[place] if inside else value
    return y


def problem(d: Draw) -> Problem:
    x = d.array(*sizes(d))
    pairs = tuple((i % 3, 1) for i in range(x.ndim))
    pads = ((), *((1, 2), (2, 0, 1, 3))[: x.ndim], pairs)
    return Problem((x,), {"pad": d.one_of("pad", pads), "value": d.one_of("value", (0.0, -1.5))})


def sees(x: Shape, *, pad: Pairs, **_: Any) -> Seen:
    return window((1, 1), (1, 1), (*pad[-2], *pad[-1])) if len(x) > 1 else None


pad = Op(
    "pad",
    "x[...]:any -> y[...]",
    definition,
    problem,
    doc=__doc__,
    attrs={"pad": (), "value": 0.0},
    canonical=canonical,
    shape=shape,
    workloads={"resnet20.layer2": {"ndim": 4, "N": 128, "C": 16, "H": 16, "W": 16, "pad": (0, 0, 0, 0, 0, 16)}},
    cost=lambda x, **_: Cost(),
    sees=sees,
)
pad.kernel("array", forward, backward, analytic=True)
