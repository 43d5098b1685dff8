"""The same numbers in another shape: reshape, permute, broadcast_to; and what is made of them (flatten, transpose, ...).

    reshape       y has x's elements in row-major order       dx = dy in x's shape
    permute       y[i_a0, i_a1, ...] = x[i_0, i_1, ...]       dx = dy with the inverse permutation
    broadcast_to  y[..., i, ...] = x[..., 0, ...]             dx = dy summed over what was repeated

    x [...]    shape: sizes, one of which may be -1 (what remains); axes: the permutation
    saved      reshape, broadcast_to: shape of x              permute: nothing

y is a view of x where NumPy gives one (permute and broadcast_to always, reshape where the layout allows); the tape
sees through views, and a broadcast view is read-only.
"""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem, bind_method
from minidl.ops.axes import blamed_on, many_axes, one_axis, whole
from minidl.ops.pointwise import unbroadcast
from minidl.ops.reduce import sizes
from minidl.receptive_field import LOST, STAY, Seen, each
from minidl.signature import Shape, ShapeError, brackets
from minidl.tensor import Tensor

# ---- kernels ---------------------------------------------------------------------------------------------------------


def reshape_forward(x: Array, *, shape: Shape) -> tuple[Array, tuple]:
    return x.reshape(shape), x.shape


def reshape_backward(dy: Array, saved: Shape, needs: tuple, *, shape: Shape) -> tuple:
    return (dy.reshape(saved),)


def permute_forward(x: Array, *, axes: tuple[int, ...]) -> tuple[Array, tuple]:
    return x.transpose(axes), ()


def permute_backward(dy: Array, saved: tuple, needs: tuple, *, axes: tuple[int, ...]) -> tuple:
    inverse = [axes.index(i) for i in range(len(axes))]
    return (dy.transpose(inverse),)


def broadcast_to_forward(x: Array, *, shape: Shape) -> tuple[Array, tuple]:
    return xp_of(x).broadcast_to(x, shape), x.shape


def broadcast_to_backward(dy: Array, saved: Shape, needs: tuple, *, shape: Shape) -> tuple:
    return (unbroadcast(dy, saved),)


# ---- attributes and shapes -------------------------------------------------------------------------------------------


def integers(given: Any) -> Shape:
    """Sizes that a user wrote: an int, or several."""
    return tuple(whole(size, "each size") for size in (given if isinstance(given, tuple | list) else (given,)))


def canonical_reshape(shapes: tuple[Shape], attrs: dict[str, Any]) -> dict[str, Any]:
    """A -1 becomes what remains."""
    shape, elements = integers(attrs["shape"]), math.prod(shapes[0])
    if min(shape, default=0) < -1 or shape.count(-1) > 1:
        raise ShapeError(f"shape {brackets(shape)} must hold sizes, and -1 at most once")
    if -1 in shape:
        known = -math.prod(shape)
        if known == 0 or elements % known:
            raise ShapeError(f"the {elements} elements of x do not divide into {brackets(shape)}")
        shape = tuple(elements // known if size == -1 else size for size in shape)
    return {"shape": shape}


def canonical_broadcast_to(shapes: tuple[Shape], attrs: dict[str, Any]) -> dict[str, Any]:
    return {"shape": integers(attrs["shape"])}


def seen_reshaped(x: Shape, *, shape: Shape) -> Seen:
    return (STAY, STAY) if len(x) > 1 and x[-2:] == shape[-2:] else LOST


def reshaped(x: Shape, *, shape: Shape) -> Shape:
    if math.prod(x) != math.prod(shape):
        raise ShapeError(f"x has {math.prod(x)} elements but {brackets(shape)} holds {math.prod(shape)}; one size may be -1")
    return shape


def canonical_axes(shapes: tuple[Shape], attrs: dict[str, Any]) -> dict[str, Any]:
    ndim, given = len(shapes[0]), attrs["axes"]
    axes = tuple(one_axis(a, ndim, "axes") for a in given)
    if sorted(axes) != list(range(ndim)):
        raise ShapeError(f"axes={tuple(given)} must name each of the {ndim} dimensions once; to swap two, use transpose")
    return {"axes": axes}


def broadcasted(x: Shape, *, shape: Shape) -> Shape:
    ends = shape[max(len(shape) - len(x), 0) :]
    if len(ends) < len(x) or min(shape, default=0) < 0 or any(a not in (1, b) for a, b in zip(x, ends, strict=True)):
        raise ShapeError(f"x does not broadcast to {brackets(shape)}; each size of x, from the last, must be equal or 1")
    return shape


# ---- definitions and problems ----------------------------------------------------------------------------------------


def reshape_definition(x: np.ndarray, *, shape: Shape) -> np.ndarray:
    y = np.empty(shape)
    for source, target in zip(np.ndindex(x.shape), np.ndindex(shape), strict=True):
        y[target] = x[source]
    return y


def permute_definition(x: np.ndarray, *, axes: tuple[int, ...]) -> np.ndarray:
    y = np.empty([x.shape[a] for a in axes])
    for index in np.ndindex(x.shape):
        y[tuple(index[a] for a in axes)] = x[index]
    return y


def broadcast_to_definition(x: np.ndarray, *, shape: Shape) -> np.ndarray:
    y = np.empty(shape)
    for index in np.ndindex(shape):
        ends = index[len(shape) - x.ndim :]
        y[index] = x[tuple(k if size > 1 else 0 for k, size in zip(ends, x.shape, strict=True))]
    return y


def reshape_problem(d: Draw) -> Problem:
    x = d.array(*sizes(d))
    N = x.shape[0] if x.ndim else 1
    forms = ((-1,), (N, -1), (-1, N), (1, -1, N), tuple(reversed(x.shape)), x.size)
    return Problem((x,), {"shape": d.one_of("shape", forms)})


def permute_problem(d: Draw) -> Problem:
    x = d.array(*sizes(d))
    return Problem((x,), {"axes": d.one_of("axes", tuple(permutations(range(-x.ndim, 0))))})


def broadcast_to_problem(d: Draw) -> Problem:
    shape = sizes(d)
    ends = shape[d.size("new dimensions", len(shape), least=0) :]
    repeated = d.one_of("repeated", ((), (0,), (-1,), (0, -1)))
    x = d.array(*[1 if i in repeated or i - len(ends) in repeated else size for i, size in enumerate(ends)])
    return Problem((x,), {"shape": tuple(shape)})


# ---- declarations ----------------------------------------------------------------------------------------------------

CONV5 = {"ndim": 4, "N": 128, "C": 256, "H": 6, "W": 6}


def no_arithmetic(x: Shape, **_: Any) -> Cost:
    return Cost()


reshape = Op(
    "reshape",
    "x[...]:any -> y[...]",
    reshape_definition,
    reshape_problem,
    doc="The elements of x, row by row, in another shape: reshape(x, 2, -1) or reshape(x, (2, -1)).",
    attrs={"shape": ()},
    canonical=canonical_reshape,
    shape=reshaped,
    workloads={"alexnet.flatten": {**CONV5, "shape": (-1, 9216)}},
    gathers="shape",
    method="reshape",
    cost=no_arithmetic,
    sees=seen_reshaped,
)
permute = Op(
    "permute",
    "x[...]:any -> y[...]",
    permute_definition,
    permute_problem,
    doc="""Dimensions in another order: permute(x, 0, 2, 1) or permute(x, (0, 2, 1)).

    >>> minidl.permute(Tensor([[[1.0, 2.0]]]), 2, 0, 1).shape  # of [1,1,2]
    (2, 1, 1)
    """,
    attrs={"axes": ()},
    canonical=canonical_axes,
    shape=lambda x, *, axes: tuple(x[a] for a in axes),
    workloads={"channels last of alexnet.conv5": {**CONV5, "axes": (0, 2, 3, 1)}},
    gathers="axes",
    method="permute",
    cost=no_arithmetic,
    sees=lambda x, *, axes: (STAY, STAY) if axes[-2:] == (len(x) - 2, len(x) - 1) else LOST,
)
broadcast_to = Op(
    "broadcast_to",
    "x[...]:any -> y[...]",
    broadcast_to_definition,
    broadcast_to_problem,
    doc="x repeated to a larger shape without copying, by NumPy's rules: broadcast_to(x, 128, 10) or (x, (128, 10)).",
    attrs={"shape": ()},
    canonical=canonical_broadcast_to,
    shape=broadcasted,
    workloads={"bias of alexnet.fc8": {"ndim": 2, "N": 128, "C": 1000, "new dimensions": 1, "repeated": ()}},
    gathers="shape",
    method="broadcast_to",
    cost=no_arithmetic,
    sees=each,
)
reshape.kernel("array", reshape_forward, reshape_backward, analytic=True)
permute.kernel("array", permute_forward, permute_backward, analytic=True)
broadcast_to.kernel("array", broadcast_to_forward, broadcast_to_backward, analytic=True)


# ---- made of reshape and permute -------------------------------------------------------------------------------------


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim to end_dim as one: [N,C,H,W] -> [N, C*H*W] for flatten(x, 1), which is what nn.Flatten does."""
    with blamed_on("flatten", x):
        ndim = max(len(x.shape), 1)  # a single number becomes [1], as in PyTorch
        first, last = one_axis(start_dim, ndim, "start_dim"), one_axis(end_dim, ndim, "end_dim")
        if first > last:
            raise ShapeError(f"start_dim={start_dim} lies behind end_dim={end_dim}")
    return reshape(x, (*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))


def squeeze(x: Tensor, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """Without the dimensions of size 1 (all of them, or those named; a named one of another size stays, as in PyTorch)."""
    with blamed_on("squeeze", x):
        axes = many_axes(axis, len(x.shape))
    return reshape(x, tuple(size for i, size in enumerate(x.shape) if size != 1 or i not in axes))


def unsqueeze(x: Tensor, axis: int) -> Tensor:
    """With a new dimension of size 1 at `axis`: [N,C] -> [N,1,C] for axis=1, [N,C,1] for axis=-1."""
    with blamed_on("unsqueeze", x):
        place = one_axis(axis, len(x.shape) + 1)
    return reshape(x, (*x.shape[:place], 1, *x.shape[place:]))


def transpose(x: Tensor, *axes: int) -> Tensor:
    """Two dimensions swapped, as in PyTorch: transpose(x, 1, 2). Without axes all of them are reversed: x.T.

    >>> x = Tensor([[[1.0, 2.0, 3.0]]])
    >>> x.shape, x.transpose(0, 2).shape, x.transpose(1, 2).shape
    ((1, 1, 3), (3, 1, 1), (1, 3, 1))
    """
    with blamed_on("transpose", x):
        order = list(range(len(x.shape)))
        if len(axes) not in (0, 2):
            raise ShapeError(f"axes={axes} must be two, which are swapped, or none; for an order of all use permute")
        if axes:
            i, j = (one_axis(a, len(order), "axes") for a in axes)
            order[i], order[j] = j, i
    return permute(x, order if axes else order[::-1])


bind_method("flatten", flatten)
bind_method("squeeze", squeeze)
bind_method("unsqueeze", unsqueeze)
bind_method("transpose", transpose)
bind_method("T", property(transpose))
