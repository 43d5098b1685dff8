"""Reductions that add: sum, mean and variance over one dimension, several or all.

    sum     y = sum_i x_i                      dx_i = dy
    mean    y = sum_i x_i / n                  dx_i = dy / n
    var     y = sum_i (x_i - m)^2 / (n - c)    dx_i = 2 (x_i - m) dy / (n - c)      m: mean, c: correction

    x [...]    axis None (all), an int or a tuple; keepdims leaves reduced dimensions with size 1, as in NumPy
    saved      sum, mean: shape of x           var: (x, m)

The sum over nothing is 0; mean and var refuse an empty dimension. float16 is added up in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.axes import many_axes
from minidl.ops.half import narrow, widen
from minidl.receptive_field import mixing
from minidl.signature import Shape, ShapeError


def spread(dy: Array, shape: Shape, axis: tuple[int, ...]) -> Array:
    """dy with the reduced dimensions back, each of size 1, so that it broadcasts against x."""
    return dy.reshape([1 if i in axis else size for i, size in enumerate(shape)])


def sum_forward(x: Array, *, axis: tuple[int, ...], keepdims: bool) -> tuple[Array, tuple]:
    if x.dtype.kind in "biu":  # booleans are counted
        return x.sum(axis=axis, keepdims=keepdims), x.shape
    return narrow(widen(x).sum(axis=axis, keepdims=keepdims), x), x.shape


def sum_backward(dy: Array, saved: tuple, needs: tuple, *, axis: tuple[int, ...], keepdims: bool) -> tuple:
    return (xp_of(dy).broadcast_to(spread(dy, saved, axis), saved),)


def mean_forward(x: Array, *, axis: tuple[int, ...], keepdims: bool) -> tuple[Array, tuple]:
    return narrow(widen(x).mean(axis=axis, keepdims=keepdims), x), x.shape


def mean_backward(dy: Array, saved: tuple, needs: tuple, *, axis: tuple[int, ...], keepdims: bool) -> tuple:
    dx = narrow(spread(widen(dy), saved, axis) / count(saved, axis), dy)
    return (xp_of(dy).broadcast_to(dx, saved),)


def var_forward(x: Array, *, axis: tuple[int, ...], keepdims: bool, correction: int) -> tuple[Array, tuple]:
    m = widen(x).mean(axis=axis, keepdims=True)
    d = x - m
    y = (d * d).sum(axis=axis, keepdims=keepdims) / (count(x.shape, axis) - correction)
    return narrow(y, x), (x, m)


def var_backward(dy: Array, saved: tuple, needs: tuple, *, axis: tuple[int, ...], keepdims: bool, correction: int) -> tuple:
    x, m = saved
    scale = 2 / (count(x.shape, axis) - correction)
    return (narrow(scale * spread(dy, x.shape, axis) * (x - m), dy),)


def count(shape: Shape, axis: tuple[int, ...]) -> int:
    """How many elements each output gathers."""
    return math.prod(shape[i] for i in axis)


def canonical(shapes: tuple[Shape], attrs: dict[str, Any]) -> dict[str, Any]:
    return {**attrs, "axis": many_axes(attrs["axis"], len(shapes[0])), "keepdims": bool(attrs["keepdims"])}


def shape(x: Shape, *, axis: tuple[int, ...], keepdims: bool) -> Shape:
    return tuple(1 if i in axis else size for i, size in enumerate(x) if keepdims or i not in axis)


def shape_not_empty(x: Shape, *, axis: tuple[int, ...] | int | None, keepdims: bool) -> Shape:
    axis = many_axes(axis, len(x))
    for i in axis:
        if x[i] == 0:
            raise ShapeError(f"axis {i} of x is empty; give at least one element")
    return shape(x, axis=axis, keepdims=keepdims)


def shape_var(x: Shape, *, axis: tuple[int, ...], keepdims: bool, correction: int) -> Shape:
    if count(x, axis) <= correction:
        n = count(x, axis)
        raise ShapeError(f"n - correction = {n} - {correction} must be positive; reduce over more, or pass correction=0")
    return shape_not_empty(x, axis=axis, keepdims=keepdims)


def of_each_group(f: Callable[..., float]) -> Callable[..., np.ndarray]:
    """The definition of a reduction: f(values, **attrs) of the list of values that each output gathers."""

    def definition(x: np.ndarray, *, axis: Any, keepdims: bool, **attrs: Any) -> np.ndarray:
        axis = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        groups: dict[tuple, list[Any]] = {}
        for index in np.ndindex(x.shape):
            place = tuple(0 if i in axis else k for i, k in enumerate(index) if keepdims or i not in axis)
            groups.setdefault(place, []).append(x[index])
        y = np.empty([1 + max(place[i] for place in groups) for i in range(len(next(iter(groups))))])
        for place, values in groups.items():
            y[place] = f(values, **attrs)
        return y

    return definition


def variance(values: list[float], correction: int) -> float:
    m = sum(values) / len(values)
    return sum((v - m) ** 2 for v in values) / (len(values) - correction)


AXES = {n: (None, *range(-n, n), *(c for r in range(n + 1) for c in combinations(range(n), r))) for n in range(5)}


def sizes(d: Draw) -> list[int]:
    ndim = d.one_of("ndim", (2, 1, 3, 4, 0))
    return [d.size(letter, most) for letter, most in zip("NCHW"[:ndim], (3, 4, 5, 3), strict=False)]


def problem(d: Draw) -> Problem:
    x = d.array(*sizes(d))
    return Problem((x,), {"axis": d.one_of("axis", AXES[x.ndim]), "keepdims": d.flag("keepdims")})


def problem_var(d: Draw) -> Problem:
    (x,), attrs = problem(d)
    n = count(x.shape, many_axes(attrs["axis"], x.ndim))
    return Problem((x,), {**attrs, "correction": d.one_of("correction", (1, 0)) if n > 1 else 0})


ALL = {"axis": None, "keepdims": False}
BIAS = {"ndim": 4, "N": 128, "C": 96, "H": 55, "W": 55, "axis": (0, 2, 3)}

sum_ = Op(
    "sum",
    "x[...]:any -> y[...]:sum",
    of_each_group(sum),
    problem,
    doc="Sum over `axis` (all dimensions by default). Booleans and integers give integers, as in NumPy.",
    attrs=ALL,
    canonical=canonical,
    shape=shape,
    workloads={"db of alexnet.conv1": BIAS},
    cost=lambda x, **_: Cost(other=math.prod(x)),
    method="sum",
    sees=lambda x, *, axis, **_: mixing(len(x), axis),
)
mean = Op(
    "mean",
    "x[...] -> y[...]",
    of_each_group(lambda values: sum(values) / len(values)),
    problem,
    doc="Mean over `axis` (all dimensions by default).",
    attrs=ALL,
    canonical=canonical,
    shape=shape_not_empty,
    workloads={"pool of resnet50": {"ndim": 4, "N": 64, "C": 2048, "H": 7, "W": 7, "axis": (2, 3)}},
    cost=lambda x, *, axis, **_: Cost(other=math.prod(x) + math.prod(x) // count(x, axis)),
    method="mean",
    sees=lambda x, *, axis, **_: mixing(len(x), axis),
)
var = Op(
    "var",
    "x[...] -> y[...]",
    of_each_group(variance),
    problem_var,
    doc="Variance over `axis`, divided by n - correction: unbiased by default as in PyTorch; NumPy's is correction=0.",
    attrs={**ALL, "correction": 1},
    canonical=canonical,
    shape=shape_var,
    workloads={
        "statistics of resnet50.bn1": {"ndim": 4, "N": 32, "C": 64, "H": 112, "W": 112, "axis": (0, 2, 3), "correction": 0}
    },
    cost=lambda x, **_: Cost(other=4 * math.prod(x)),
    method="var",
    sees=lambda x, *, axis, **_: mixing(len(x), axis),
)
sum_.kernel("array", sum_forward, sum_backward, analytic=True)
mean.kernel("array", mean_forward, mean_backward, analytic=True)
var.kernel("array", var_forward, var_backward, analytic=True)
