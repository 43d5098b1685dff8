"""The largest and the smallest: max and min over one dimension, several or all, and argmax.

    max     y = max_i x_i                      dx_i = dy / t where x_i = y, else 0      t: how many x_i equal y
    min     y = min_i x_i                      the same
    argmax  y = the first i with x_i = max     an index has no derivative: its gradient is None

    x [...]    axis None (all), an int or (not for argmax) a tuple; keepdims as in NumPy
    saved      (hits,), bool like x: where x_i = y

Ties share the gradient evenly, as PyTorch's amax and amin do (its max(dim) gives all to one index). A NaN makes max and
min NaN; no element equals it, so the gradient there is 0. An empty dimension is refused.
"""

from __future__ import annotations

import math
from typing import Any

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.axes import one_axis
from minidl.ops.reduce import ALL, AXES, canonical, of_each_group, shape, shape_not_empty, sizes, spread
from minidl.receptive_field import mixing
from minidl.signature import Shape


def max_forward(x: Array, *, axis: tuple[int, ...], keepdims: bool) -> tuple[Array, tuple]:
    y = x.max(axis=axis, keepdims=True)
    return y.reshape(shape(x.shape, axis=axis, keepdims=keepdims)), (x == y,)


def min_forward(x: Array, *, axis: tuple[int, ...], keepdims: bool) -> tuple[Array, tuple]:
    y = x.min(axis=axis, keepdims=True)
    return y.reshape(shape(x.shape, axis=axis, keepdims=keepdims)), (x == y,)


def hits_backward(dy: Array, saved: tuple, needs: tuple, *, axis: tuple[int, ...], keepdims: bool) -> tuple:
    """The gradient of max and of min: dy goes where x = y, in equal shares."""
    (hits,) = saved
    ties = hits.sum(axis=axis, keepdims=True).astype(dy.dtype)
    share = spread(dy, hits.shape, axis) / xp_of(dy).maximum(ties, 1)
    return (hits * share,)


def argmax_forward(x: Array, *, axis: int | None, keepdims: bool) -> tuple[Array, tuple]:
    return x.argmax(axis=axis, keepdims=keepdims), ()


def argmax_backward(dy: Array, saved: tuple, needs: tuple, *, axis: int | None, keepdims: bool) -> tuple:
    return (None,)


def canonical_argmax(shapes: tuple[Shape], attrs: dict[str, Any]) -> dict[str, Any]:
    axis = attrs["axis"] if attrs["axis"] is None else one_axis(attrs["axis"], len(shapes[0]))
    return {**attrs, "axis": axis, "keepdims": bool(attrs["keepdims"])}


def problem_extremum(d: Draw) -> Problem:  # a tie is a kink, where no law can judge
    x = d.distinct(*sizes(d))
    return Problem((x,), {"axis": d.one_of("axis", AXES[x.ndim]), "keepdims": d.flag("keepdims")})


def problem_argmax(d: Draw) -> Problem:  # integers: an index has no derivative; few values, so that the first of ties matters
    shape = sizes(d)
    x = d.labels(math.prod(shape), 5).reshape(shape)
    return Problem((x,), {"axis": d.one_of("axis", (None, *range(-x.ndim, x.ndim))), "keepdims": d.flag("keepdims")})


LOGITS = {"ndim": 2, "N": 128, "C": 1000, "axis": 1}

max_ = Op(
    "max",
    "x[...]:any -> y[...]",
    of_each_group(max),
    problem_extremum,
    doc="Largest value over `axis`; ties share the gradient evenly (PyTorch's amax). For elementwise use maximum.",
    attrs=ALL,
    canonical=canonical,
    shape=shape_not_empty,
    workloads={"imagenet.logits": LOGITS},
    cost=lambda x, **_: Cost(other=math.prod(x)),
    method="max",
    sees=lambda x, *, axis, **_: mixing(len(x), axis),
)
min_ = Op(
    "min",
    "x[...]:any -> y[...]",
    of_each_group(min),
    problem_extremum,
    doc="Smallest value over `axis`; ties share the gradient evenly (PyTorch's amin). For elementwise use minimum.",
    attrs=ALL,
    canonical=canonical,
    shape=shape_not_empty,
    workloads={"imagenet.logits": LOGITS},
    cost=lambda x, **_: Cost(other=math.prod(x)),
    method="min",
    sees=lambda x, *, axis, **_: mixing(len(x), axis),
)
argmax = Op(
    "argmax",
    "x[...]:any -> y[...]:int",
    of_each_group(lambda values: values.index(max(values))),
    problem_argmax,
    doc="Where the largest value over `axis` is (int64; the first of ties; in the flattened x for axis=None). No gradient.",
    attrs=ALL,
    canonical=canonical_argmax,
    shape=shape_not_empty,
    workloads={"imagenet.predict": LOGITS},
    cost=lambda x, **_: Cost(other=math.prod(x)),
    method="argmax",
)
max_.kernel("array", max_forward, hits_backward)
min_.kernel("array", min_forward, hits_backward)
argmax.kernel("array", argmax_forward, argmax_backward)
