"""Joining Tensors along a dimension, and splitting one: concat, stack, split.

    concat   y[..., o_j + i, ...] = x_j[..., i, ...]     dx_j = dy[..., o_j : o_j + n_j, ...]   o_j = n_0 + ... + n_(j-1)
    stack    y[..., j, ...] = x_j                        dx_j = dy[..., j, ...]

    xs       a list of arrays of one type: equal shapes, but for the size along axis in concat
    saved    concat: the sizes n_j       stack: nothing

Gradients are views of dy.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem, bind_method
from minidl.ops.axes import blamed_on, one_axis, whole
from minidl.ops.getitem import getitem
from minidl.ops.groups import joined
from minidl.ops.reduce import sizes
from minidl.receptive_field import STAY
from minidl.signature import Shape, ShapeError, brackets
from minidl.tensor import Tensor


def concat_forward(*xs: Array, axis: int) -> tuple[Array, tuple]:
    return joined(xs, axis), tuple(x.shape[axis] for x in xs)


def concat_backward(dy: Array, saved: tuple[int, ...], needs: tuple, *, axis: int) -> tuple:
    ends = accumulate(saved)
    return tuple(
        dy[along(axis, slice(end - n, end))] if need else None for end, n, need in zip(ends, saved, needs, strict=True)
    )


def stack_forward(*xs: Array, axis: int) -> tuple[Array, tuple]:
    return xp_of(*xs).stack(xs, axis=axis), ()


def stack_backward(dy: Array, saved: tuple, needs: tuple, *, axis: int) -> tuple:
    return tuple(dy[along(axis, j)] if need else None for j, need in enumerate(needs))


def along(axis: int, part: int | slice) -> tuple:
    """The index that picks `part` along `axis`; the Ellipsis makes even a single element an array."""
    return (*[slice(None)] * axis, part, ...)


# ---- attributes and shapes -------------------------------------------------------------------------------------------


def canonical_concat(shapes: tuple[Shape, ...], attrs: dict[str, Any]) -> dict[str, Any]:
    return {"axis": one_axis(attrs["axis"], len(first(shapes)))}


def canonical_stack(shapes: tuple[Shape, ...], attrs: dict[str, Any]) -> dict[str, Any]:
    return {"axis": one_axis(attrs["axis"], len(first(shapes)) + 1)}


def first(shapes: tuple[Shape, ...]) -> Shape:
    if not shapes:
        raise ShapeError("the list is empty; give at least one Tensor")
    return shapes[0]


def concatenated(*xs: Shape, axis: int) -> Shape:
    for j, x in enumerate(xs):
        if x[:axis] != xs[0][:axis] or x[axis + 1 :] != xs[0][axis + 1 :] or len(x) != len(xs[0]):
            raise ShapeError(f"xs[{j}] {brackets(x)} does not fit xs[0] {brackets(xs[0])}; only axis {axis} may differ")
    return (*xs[0][:axis], sum(x[axis] for x in xs), *xs[0][axis + 1 :])


def stacked(*xs: Shape, axis: int) -> Shape:
    for j, x in enumerate(xs):
        if x != xs[0]:
            raise ShapeError(f"xs[{j}] {brackets(x)} and xs[0] {brackets(xs[0])} differ; stack needs equal shapes")
    return (*xs[0][:axis], len(xs), *xs[0][axis:])


def one_type(op: str) -> Callable[..., None]:
    """The domain of an op whose arrays may have any type, but all the same one."""

    def domain(*xs: Array, axis: int) -> None:
        for j, x in enumerate(xs):
            if x.dtype != xs[0].dtype:
                raise TypeError(
                    f"{op}: xs[{j}] is {x.dtype} but xs[0] is {xs[0].dtype}; "
                    f"nothing is cast silently: use .astype({str(xs[0].dtype)!r})"
                )

    return domain


# ---- definitions and problems ----------------------------------------------------------------------------------------


def concat_definition(*xs: np.ndarray, axis: int) -> np.ndarray:
    y = np.empty(concatenated(*(x.shape for x in xs), axis=axis))
    start = 0
    for x in xs:
        for index in np.ndindex(x.shape):
            y[(*index[:axis], start + index[axis], *index[axis + 1 :])] = x[index]
        start += x.shape[axis]
    return y


def stack_definition(*xs: np.ndarray, axis: int) -> np.ndarray:
    y = np.empty(stacked(*(x.shape for x in xs), axis=axis))
    for j, x in enumerate(xs):
        for index in np.ndindex(x.shape):
            y[(*index[:axis], j, *index[axis:])] = x[index]
    return y


def concat_problem(d: Draw) -> Problem:
    shape = [d.size(letter, most) for letter, most in zip("NCHW", (2, 3, 3, 2)[: d.size("ndim", 4)], strict=False)]
    axis = d.one_of("axis", tuple(range(-len(shape), len(shape))))
    lengths = [d.size(f"n{j}", 4) for j in range(d.size("arrays", 3))]
    i = axis % len(shape)
    return Problem(tuple(d.array(*shape[:i], n, *shape[i + 1 :]) for n in lengths), {"axis": axis})


def stack_problem(d: Draw) -> Problem:
    shape = sizes(d)
    axis = d.one_of("axis", tuple(range(-len(shape) - 1, len(shape) + 1)))
    return Problem(tuple(d.array(*shape) for _ in range(d.size("arrays", 3))), {"axis": axis})


# ---- declarations ----------------------------------------------------------------------------------------------------

IMAGES = {"ndim": 4, "N": 32, "C": 256, "H": 28, "W": 28, "axis": 1}

concat = Op(
    "concat",
    "xs[...]*:any -> y[...]",
    concat_definition,
    concat_problem,
    doc="""A list of Tensors joined along an existing dimension.

    >>> a, b = Tensor([[1.0], [2.0]]), Tensor([[3.0, 4.0], [5.0, 6.0]])
    >>> minidl.concat([a, b], axis=1).numpy().tolist()
    [[1.0, 3.0, 4.0], [2.0, 5.0, 6.0]]
    """,
    attrs={"axis": 0},
    canonical=canonical_concat,
    shape=concatenated,
    domain=one_type("concat"),
    workloads={"googlenet.3a": {**IMAGES, "arrays": 4, "n0": 64, "n1": 128, "n2": 32, "n3": 32}},
    cost=lambda *xs, axis: Cost(),
    sees=lambda *xs, axis: (STAY, STAY) if axis < len(xs[0]) - 2 or len(xs[0]) < 3 else None,
)
stack = Op(
    "stack",
    "xs[...]*:any -> y[...]",
    stack_definition,
    stack_problem,
    doc="""A list of Tensors of one shape joined along a new dimension.

    >>> minidl.stack([Tensor([1.0, 2.0]), Tensor([3.0, 4.0])], axis=1).numpy().tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """,
    attrs={"axis": 0},
    canonical=canonical_stack,
    shape=stacked,
    domain=one_type("stack"),
    workloads={"batch of images": {"ndim": 3, "N": 3, "C": 224, "H": 224, "axis": 0, "arrays": 32}},
    cost=lambda *xs, axis: Cost(),
    sees=lambda *xs, axis: (STAY, STAY) if axis < len(xs[0]) - 1 else None,
)
concat.kernel("array", concat_forward, concat_backward, analytic=True)
stack.kernel("array", stack_forward, stack_backward, analytic=True)


def split(x: Tensor, sizes: int | list[int] | tuple[int, ...], axis: int = 0) -> list[Tensor]:
    """x cut along `axis`: into pieces of that size (the last may be smaller), or of the listed sizes, as in PyTorch."""
    with blamed_on("split", x):
        axis = one_axis(axis, len(x.shape))
        lengths = pieces(sizes, x.shape[axis], axis)
    return [
        getitem(x, [*[slice(None)] * axis, slice(end - n, end)]) for n, end in zip(lengths, accumulate(lengths), strict=True)
    ]


def pieces(sizes: int | list[int] | tuple[int, ...], total: int, axis: int) -> list[int]:
    """The length of each piece of a dimension of size `total`."""
    if isinstance(sizes, list | tuple):
        lengths = [whole(size, "each size") for size in sizes]
        if sum(lengths) != total or min(lengths, default=0) < 0:
            raise ShapeError(f"sizes {brackets(tuple(lengths))} add up to {sum(lengths)} but axis {axis} has {total}")
        return lengths
    if (size := whole(sizes, "the size of a piece")) < 1:
        raise ShapeError(f"the size of a piece must be positive, got {size}")
    return [min(size, total - start) for start in range(0, max(total, 1), size)]


bind_method("split", split)
