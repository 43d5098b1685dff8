"""Indexing: x[1], x[:, ::2], x[..., None], x[rows, columns], x[mask].

    y = x[index]         dx = 0, then dx[index] += dy

    x [...]   index is a list of parts: an int, a slice, None (a new dimension), Ellipsis (all dimensions not named), an
              array of integers, or a mask of booleans; the brackets of x[...] write the list
    saved     shape of x

NumPy's rules. Without arrays, y is a view of x. Arrays broadcast against each other, and an int beside an array counts as
one; their dimensions stand where the arrays stand if these are neighbours, and in front if not. An array may name an
element many times: its gradients are added, in order on NumPy; CuPy adds with atomics, so last bits vary from run to run.
Canonical: one part for each dimension, None for each new one; a mask has become the arrays of its nonzero().

>>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> x[[0, 2, 2]].sum().backward()
>>> x.grad.tolist()
[1.0, 0.0, 2.0]
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from minidl.backend import Array, device_of, full_like, is_array, to_device, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem, bind_method
from minidl.ops.axes import blamed_on, many_axes
from minidl.ops.half import narrow, widen
from minidl.receptive_field import Seen, Slide
from minidl.signature import Shape, ShapeError, brackets
from minidl.tensor import Tensor

ALL = slice(None)
PLAIN = (int, slice, type(None), type(Ellipsis))  # what an index holds beside arrays


def forward(x: Array, *, index: tuple) -> tuple[Array, tuple]:
    return x[beside(x, index)], x.shape


def backward(dy: Array, saved: Shape, needs: tuple, *, index: tuple) -> tuple:
    if not arrays_in(index):
        dx = full_like(dy, saved)
        dx[index] = dy
        return (dx,)
    dy_wide = widen(dy)
    xp, dx = xp_of(dy), xp_of(dy).zeros(saved, dtype=dy_wide.dtype)
    xp.add.at(dx, beside(dy, index), dy_wide)
    return (narrow(dx, dy),)


def beside(x: Array, index: tuple) -> tuple:
    """The index with its arrays on x's device."""
    return tuple(part if isinstance(part, PLAIN) else to_device(part, device_of(x)) for part in index)


def arrays_in(index: tuple) -> list[Array]:
    return [part for part in index if not isinstance(part, PLAIN)]


# ---- attributes and shapes -------------------------------------------------------------------------------------------


def canonical(shapes: tuple[Shape], attrs: dict[str, Any]) -> dict[str, Any]:
    (x,), given = shapes, attrs["index"]
    parts = complete([read(part) for part in (given if isinstance(given, tuple | list) else (given,))], len(x))
    index: list[Any] = []
    dim = 0
    for part in parts:
        index += (None,) if part is None else fitted(part, dim, x[dim:])
        dim += width(part)
    if arrays_in(tuple(index)):
        index = [np.asarray(part) if isinstance(part, int) else part for part in index]
    return {"index": tuple(index)}


def read(part: Any) -> Any:
    """One part of an index as a user wrote it: a Tensor or a list becomes an array, all integers become int."""
    if isinstance(part, PLAIN) and not isinstance(part, bool):
        return part
    if isinstance(part, Tensor):
        part = part.data
    elif isinstance(part, list | tuple):
        part = np.asarray(part) if part else np.empty(0, np.int64)
    if is_array(part) and not isinstance(part, np.generic):
        if part.dtype.kind not in "iub" or (part.dtype.kind == "b" and part.ndim == 0):
            raise ShapeError(f"an index array must hold integers or be a mask, got {part.dtype} {brackets(part.shape)}")
        return part
    if not isinstance(part, bool) and hasattr(part, "__index__"):
        return operator.index(part)
    raise ShapeError(f"an index is made of ints, slices, None, ..., integer arrays and masks; got {part!r}")


def width(part: Any) -> int:
    """How many dimensions of x a part takes."""
    if isinstance(part, PLAIN):
        return 0 if part is None else 1
    return part.ndim if part.dtype.kind == "b" else 1


def complete(parts: list[Any], ndim: int) -> list[Any]:
    """A part for every dimension: `:` where Ellipsis stands, or at the end."""
    dots = [i for i, part in enumerate(parts) if part is Ellipsis]
    taken = sum(width(part) for part in parts) - len(dots)
    if len(dots) > 1:
        raise ShapeError("an index may hold '...' only once")
    if taken > ndim:
        raise ShapeError(f"{taken} indices for {ndim} dimensions")
    at = dots[0] if dots else len(parts)
    return [*parts[:at], *[ALL] * (ndim - taken), *parts[at + 1 :]]


def fitted(part: Any, dim: int, sizes: Shape) -> tuple:
    """The canonical parts for one part at dimension `dim`, where x has these sizes from there on."""
    if isinstance(part, int):
        if not -sizes[0] <= part < sizes[0]:
            raise ShapeError(f"index {part} is out of range for dimension {dim} of size {sizes[0]}")
        return (part % sizes[0],)
    if isinstance(part, slice):
        try:
            part.indices(sizes[0])
        except (TypeError, ValueError) as error:
            raise ShapeError(f"{part} is no slice of dimension {dim}: {error}") from None
        return (part,)
    if part.dtype.kind != "b":
        return (part.copy(),)  # backward needs it as it was
    if part.shape != sizes[: part.ndim]:
        raise ShapeError(f"the mask {brackets(part.shape)} must have the size of the dimensions it picks from")
    return part.nonzero()


def layout(x: Shape, index: tuple) -> tuple[list[int], Shape, int]:
    """Sizes from slices and None, the shape that the arrays broadcast to, and where it stands among those sizes."""
    shapes = [part.shape for part in arrays_in(index)]
    try:
        gathered = np.broadcast_shapes(*shapes) if shapes else ()
    except ValueError:
        raise ShapeError(f"index arrays {', '.join(map(brackets, shapes))} do not broadcast against each other") from None
    plain: list[int] = []
    places, dims = set(), iter(x)
    for part in index:
        size = 1 if part is None else next(dims)
        if part is None:
            plain.append(1)
        elif isinstance(part, slice):
            plain.append(len(range(size)[part]))
        elif not isinstance(part, int):
            places.add(len(plain))
    return plain, gathered, places.pop() if len(places) == 1 else 0


def shape(x: Shape, *, index: tuple) -> Shape:
    plain, gathered, place = layout(x, index)
    return (*plain[:place], *gathered, *plain[place:])


def domain(x: Array, *, index: tuple) -> None:
    for dim, part in enumerate(part for part in index if part is not None):
        if not isinstance(part, PLAIN) and part.size and not (-x.shape[dim] <= part.min() and part.max() < x.shape[dim]):
            raise ValueError(
                f"getitem: an index array lies in [{part.min()}, {part.max()}] but dimension {dim} has size {x.shape[dim]}"
                f"  (x {brackets(x.shape)})"
            )


# ---- definition, problem, declaration --------------------------------------------------------------------------------


def definition(x: np.ndarray, *, index: tuple) -> np.ndarray:
    _, gathered, place = layout(x.shape, index)
    y = np.empty(shape(x.shape, index=index))
    for target in np.ndindex(y.shape):
        among = target[place : place + len(gathered)]
        plain = iter(target[:place] + target[place + len(gathered) :])
        y[target] = x[tuple(source(x.shape, index, plain, among, gathered))]
    return y


def source(x: Shape, index: tuple, plain: Iterator[int], among: tuple[int, ...], gathered: Shape) -> Iterator[int]:
    """The coordinates in x of one element of y: `plain` those from slices and None, `among` those from arrays."""
    dims = iter(x)
    for part in index:
        size = 1 if part is None else next(dims)
        if part is None:
            next(plain)
        elif isinstance(part, slice):
            yield range(size)[part][next(plain)]
        elif isinstance(part, int):
            yield part
        else:
            yield np.broadcast_to(part, gathered)[among]


def problem(d: Draw) -> Problem:
    N, C, H = d.size("N", 4), d.size("C", 3), d.size("H", 4)
    x, rows, columns, mask = d.array(N, C, H), d.labels(5, N), d.labels(5, H) - H, d.array(N, C) > 0
    basic = (
        [0],
        [-1],
        [slice(1, None)],
        [ALL, slice(None, None, 2)],
        [..., slice(None, None, -1)],
        [ALL, None, 0],
        [..., 0, None],
    )
    arrays = ([rows], [..., columns], [rows, ALL, columns], [ALL, -1, columns], [0, ALL, columns], [rows[:, None], 0], [mask])
    return Problem((x,), {"index": d.one_of("index", basic + arrays)})


def sees(x: Shape, *, index: tuple) -> Seen:
    """Rows and columns cut out by slices, backwards too; not known where ints, arrays or None stand there."""
    if len(x) < 2 or not all(isinstance(part, slice) for part in index[-2:]) or arrays_in(index):
        return None

    def along(axis: int) -> Slide:
        first, _, step = index[axis].indices(x[axis])
        return Slide(lambda q: (first + q * step,), into=step)

    return along(-2), along(-1)


getitem = Op(
    "getitem",
    "x[...]:any -> y[...]",
    definition,
    problem,
    doc="x[index] by NumPy's rules; called as a function, the index is a list of parts: getitem(x, [0, slice(1, 3)]).",
    attrs={"index": (Ellipsis,)},
    canonical=canonical,
    shape=shape,
    domain=domain,
    workloads={"batch": {"N": 4096, "C": 1, "H": 1024, "index": [np.arange(128) * 31]}},
    cost=lambda x, *, index: Cost(other=math.prod(shape(x, index=index)) if arrays_in(index) else 0),
    sees=sees,
)
getitem.kernel("array", forward, backward, analytic=True)


def subscript(x: Tensor, index: Any) -> Tensor:
    """x[index]. Arrays go in a list: it has no hash, so no plan is kept that would keep them alive."""
    parts = index if isinstance(index, tuple) else (index,)
    return getitem(x, index=parts if all(type(part) in PLAIN for part in parts) else list(parts))


def flip(x: Tensor, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """x with the order along `axis` reversed (along all dimensions by default)."""
    with blamed_on("flip", x):
        axes = many_axes(axis, len(x.shape))
    return getitem(x, [slice(None, None, -1) if i in axes else ALL for i in range(len(x.shape))])


bind_method("__getitem__", subscript)
bind_method("__iter__", lambda x: (x[i] for i in range(len(x))))
bind_method("flip", flip)
