"""Pointwise ops: one number in, one number out, for every element. The machinery; the formulas are elsewhere.

    unary    y = f(x)       dx = dy * f'(x)                                  arithmetic.py, activations.py, ...
    binary   y = f(a, b)    da = sum of dy * df/da over the axes along which a was repeated; db likewise

An op is its formula and its gradient as arithmetic on arrays, and its definition on one Python number:

>>> import math
>>> from minidl.ops.pointwise import unary
>>> tanh = unary("tanh", "y = tanh x", f=lambda xp, x: xp.tanh(x), dx=lambda xp, dy, y: dy * (1 - y * y), saves="y",
...              definition=math.tanh)
>>> minidl.gradcheck(tanh, Tensor([0.5, -2.0], requires_grad=True))
True

Shapes  : any. Two operands broadcast as NumPy's do: aligned at the right, sizes equal or 1.
saved   : what `saves` spells: "x" (or "a", "b") an input, "y" the output, "" nothing; or the bool array that `mask`
          computes. Inputs and outputs are saved by reference and cost nothing where a neighbour keeps them anyway (a
          convolution keeps the ReLU's y). A binary op saves the two shapes in front.
Kinks   : each op's docstring says what its gradient is where the derivative jumps.
A choice between two values is arithmetic with a bool mask, `dy * (y > 0)`: ten times faster than NumPy's where. Its price:
an infinite dy times a mask of 0 is NaN, where PyTorch's gradient is 0.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.half import widen
from minidl.receptive_field import each
from minidl.signature import Shape, ShapeError


def unary(
    name: str,
    doc: str,
    *,
    f: Callable[..., Array],
    dx: Callable[..., Array],
    definition: Callable[..., float],
    saves: str = "",
    mask: Callable[..., Array] | None = None,
    attrs: dict[str, Any] | None = None,
    options: dict[str, tuple] | None = None,
    values: Callable[..., np.ndarray] | None = None,
    check: Callable[..., str | None] | None = None,
    workload: dict[str, Any] | None = None,
    method: str | tuple[str, ...] = (),
    analytic: bool = False,
    operations: int = 1,
) -> Op:
    """Declare y = f(x), element by element.

    f           f(xp, x, **attrs) -> y
    dx          dx(xp, dy, *saved, **attrs) -> dx
    definition  definition(x, **attrs) -> y on one Python number
    saves       letters of what backward needs: "", "x", "y" or "xy"
    mask        mask(x, **attrs) -> bool array, saved instead
    options     attribute -> values that its problems draw (loud ones)
    values      values(d, *shape, **options) -> x, away from kinks and inside the domain; default: normal numbers
    check       check(**attrs) -> what is wrong with the attributes, or None
    workload    answers that its benchmark needs beside the shape: attributes without a usable default
    operations  floating-point operations per element; a function such as exp counts as one
    """

    def forward(x: Array, **attrs: Any) -> tuple[Array, tuple]:
        y = f(xp_of(x), x, **attrs)
        return y, (mask(x, **attrs),) if mask else _kept(saves, x=x, y=y)

    def backward(dy: Array, saved: tuple, needs: tuple, **attrs: Any) -> tuple:
        return (dx(xp_of(dy), dy, *saved, **attrs),)

    def problem(d: Draw) -> Problem:
        drawn = {attr: d.one_of(attr, choices) for attr, choices in (options or {}).items()}
        return Problem(((values or _normal)(d, *some_shape(d), **drawn),), drawn)

    def shape(x: Shape, **attrs: Any) -> Shape:
        if check and (complaint := check(**attrs)):
            raise ShapeError(complaint)
        return x

    op = Op(
        name,
        "x[...] -> y[...]",
        _of(dx, in_loops(definition)),
        problem,
        doc=_told(doc, ["bool: where dx = dy"] if mask else [*saves]),
        attrs=attrs,
        shape=shape,
        workloads={"size of alexnet.conv1": {"ndim": 4, "N": 128, "C": 96, "H": 55, "W": 55, **(workload or {})}},
        cost=lambda x, **_: Cost(other=operations * math.prod(x)),
        method=method,
        batched=True,
        sees=each,
    )
    op.kernel("pointwise", _of(dx, forward), _of(dx, backward), analytic=analytic)
    return op


def binary(
    name: str,
    doc: str,
    *,
    f: Callable[..., Array],
    da: Callable[..., Array],
    db: Callable[..., Array],
    definition: Callable[[float, float], float],
    saves: str = "",
    values: Callable[..., tuple] | None = None,
    method: str | tuple[str, ...] = (),
    reflected: str | None = None,
    analytic: bool = False,
    operations: int = 1,
) -> Op:
    """Declare y = f(a, b), element by element, with broadcasting.

    f           f(xp, a, b) -> y
    da, db      da(xp, dy, *saved) -> gradient in the shape of y; the sum over repeated axes is taken here
    definition  definition(a, b) -> y on two Python numbers
    saves       letters of what backward needs, of "a", "b" and "y"
    values      values(d, a_shape, b_shape) -> (a, b), away from kinks and inside the domain; default: normal numbers
    """

    def forward(a: Array, b: Array) -> tuple[Array, tuple]:
        y = f(xp_of(a, b), a, b)
        return y, (a.shape, b.shape, *_kept(saves, a=a, b=b, y=y))

    def backward(dy: Array, saved: tuple, needs: tuple) -> tuple:
        a_shape, b_shape, *kept = saved
        xp = xp_of(dy)
        return (
            unbroadcast(da(xp, dy, *kept), a_shape) if needs[0] else None,
            unbroadcast(db(xp, dy, *kept), b_shape) if needs[1] else None,
        )

    def problem(d: Draw) -> Problem:
        shape = some_shape(d)
        return Problem((values or _normals)(d, part_of(d, "a", shape), part_of(d, "b", shape)), {})

    op = Op(
        name,
        "a[...] b[...] -> y[...]",
        _of(da, in_loops(definition)),
        problem,
        doc=_told(doc, ["the shape of a", "the shape of b", *saves]),
        shape=broadcast_shape,
        workloads={
            "size of resnet50.layer1": {"ndim": 4, "N": 32, "C": 256, "H": 56, "W": 56, "part a": "whole", "part b": "whole"},
        },
        cost=lambda a, b: Cost(other=operations * math.prod(broadcast_shape(a, b))),
        method=method,
        reflected=reflected,
        batched=True,
        sees=each,
    )
    op.kernel("pointwise", _of(da, forward), _of(da, backward), analytic=analytic)
    return op


def _kept(saves: str, **arrays: Array) -> tuple[Array, ...]:
    return tuple(arrays[letter] for letter in saves)


def _told(doc: str, saved: list[str]) -> str:
    """The docstring, and what backward finds in `saved`, as a tuple is written."""
    return f"{inspect.cleandoc(doc)}\n\nsaved: ({', '.join(saved)}{',' if len(saved) == 1 else ''})"


def _of(formula: Callable, function: Callable) -> Callable:
    """The function, filed under the module where its formula stands: readers, and the tests' mutator, look there."""
    function.__module__ = formula.__module__
    return function


# ---- broadcasting ----------------------------------------------------------------------------------------------------


def broadcast_shape(*shapes: Shape) -> Shape:
    """The shape that all these shapes broadcast to: aligned at the right, sizes equal or 1."""
    ndim = max(map(len, shapes))
    result: Shape = ()
    for axis in range(-ndim, 0):
        sizes = dict.fromkeys(s[axis] for s in shapes if len(s) >= -axis and s[axis] != 1)
        if len(sizes) > 1:
            raise ShapeError(
                f"dimension {axis} has sizes {' and '.join(map(str, sizes))}; broadcasting needs equal sizes, or 1"
            )
        result += tuple(sizes) or (1,)
    return result


def unbroadcast(dy: Array, shape: Shape) -> Array:
    """dy summed over the axes along which an input of this shape was repeated; half types are summed in float32."""
    if dy.shape == shape:
        return dy
    new = dy.ndim - len(shape)
    axes = tuple(axis for axis in range(dy.ndim) if axis < new or shape[axis - new] == 1)
    return widen(dy).sum(axis=axes).reshape(shape).astype(dy.dtype, copy=False)


def in_loops(definition: Callable) -> Callable[..., np.ndarray]:
    """A definition on Python numbers, applied to one element of the broadcast operands after the other."""

    def elementwise(*operands: np.ndarray, **attrs: Any) -> np.ndarray:
        y = np.empty(broadcast_shape(*(a.shape for a in operands)))
        for index in np.ndindex(y.shape):
            y[index] = definition(*(_element(a, index) for a in operands), **attrs)
        return y

    return elementwise


def _element(a: np.ndarray, index: tuple[int, ...]) -> Any:
    """What stands at `index` once `a` is broadcast."""
    index = index[len(index) - a.ndim :]
    return a[tuple(0 if size == 1 else i for i, size in zip(index, a.shape, strict=True))].item()


# ---- problems --------------------------------------------------------------------------------------------------------


def some_shape(d: Draw) -> Shape:
    """Up to four dimensions N, C, H, W."""
    most = {"N": 3, "C": 4, "H": 3, "W": 2}
    return tuple(d.size(name, most[name]) for name in list(most)[: d.size("ndim", 4, least=0)])


def part_of(d: Draw, name: str, shape: Shape) -> Shape:
    """A shape that broadcasts to `shape` together with another such part."""
    parts = {
        "whole": shape,
        "last axis 1": (*shape[:-1], 1),
        "first axis 1": (1, *shape[1:]),
        "no first axis": shape[1:],
        "one number": (),
    }
    return parts[d.one_of(f"part {name}", tuple(parts))]


def away_from(*kinks: float, scale: float = 1.0) -> Callable[..., np.ndarray]:
    """Values for `unary`: normal numbers, none near a kink."""
    return lambda d, *shape, **_: d.away_from(kinks, *shape, scale=scale)


def positive(d: Draw, *shape: int, **_: Any) -> np.ndarray:
    """Values for `unary` in [0.5, 2]."""
    return d.positive(*shape)


def distinct(d: Draw, *shapes: Shape) -> tuple[np.ndarray, ...]:
    """Values for `binary` without a tie between the operands."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = np.split(d.distinct(int(ends[-1])), ends[:-1])
    return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))


def _normal(d: Draw, *shape: int, **_: Any) -> np.ndarray:
    return np.asarray(d.array(*shape))


def _normals(d: Draw, *shapes: Shape) -> tuple[np.ndarray, ...]:
    return tuple(_normal(d, *shape) for shape in shapes)
