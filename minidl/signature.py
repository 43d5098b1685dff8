"""The signature string of an op: named dimensions that check shapes and write the errors.

    x[N,C,H,W] w[K,Cg,R,S] b[K]? -> y[N,K,P,Q]
    xs[...]*  ->  y[...]                         variadic: any number of arrays
    scores[N,C] labels[N]:int -> loss[]          a kind other than float: int, bool, key (uint64), any
    x[...]:any -> y[...]:int                     an output is of the inputs' type, or int, or what a sum has (`:sum`)
    x[N,C,...] w[C]? -> y[N,C,...]; mean[C] var[C]      after the semicolon: outputs without a gradient

`...` stands for any number of dimensions. A name bound twice must have one size. There is no arithmetic in the string:
an output dimension that no input names (P, Q) comes from the op's `shape` function.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

Shape = tuple[int, ...]
_OPERAND = re.compile(r"(?P<name>\w+)\[(?P<dims>[^\]]*)\](?P<mark>[?*]?)(?::(?P<kind>\w+))?")


class ShapeError(ValueError):
    """An op was called with arrays or attributes that do not fit together."""


class Operand(NamedTuple):
    """One input or output: `w[K,Cg,R,S]?` has name 'w', dims ('K', 'Cg', 'R', 'S') and may be None."""

    name: str
    dims: tuple[str, ...]
    optional: bool
    variadic: bool
    kind: str

    def __str__(self) -> str:
        return f"{self.name}[{','.join(self.dims)}]"


class Signature:
    """The parsed string: inputs, output and non-differentiable outputs (aux).

    >>> from minidl.signature import Signature
    >>> s = Signature("x[N,C] w[K,C] -> y[N,K]")
    >>> s.bind("linear", ((5, 3), (4, 3))), s.output_shape("linear", ((5, 3), (4, 3)))
    ({'N': 5, 'C': 3, 'K': 4}, (5, 4))
    >>> s.bind("linear", ((5, 3), (4, 2)))
    Traceback (most recent call last):
    minidl.signature.ShapeError: linear: w has C=2 but x has C=3  (x [5,3], w [4,2])
    """

    def __init__(self, text: str):
        self.text = text
        left, arrow, right = text.partition("->")
        outputs, _, aux = right.partition(";")
        self.inputs, self.aux = _operands(left), _operands(aux)
        if not arrow or not self.inputs or len(_operands(outputs)) != 1:
            raise ValueError(f"signature {text!r}: expected 'inputs -> output' or 'inputs -> output; aux'")
        self.output = _operands(outputs)[0]
        self.by_position = sum(operand.kind != "key" for operand in self.inputs)  # a key is given by name, or drawn

    def expand(self, count: int) -> tuple[Operand, ...]:
        """The operands that `count` inputs belong to: a variadic one is repeated."""
        if self.inputs[0].variadic:
            return (self.inputs[0],) * count
        return self.inputs[:count]

    def bind(self, op: str, shapes: tuple[Shape | None, ...]) -> dict[str, int]:
        """Sizes of the named dimensions, or a ShapeError with the shapes and the remedy."""
        sizes: dict[str, int] = {}
        owner: dict[str, str] = {}
        operands = self.expand(len(shapes))
        for operand, shape in zip(operands, shapes, strict=True):
            if shape is None:
                continue
            for dim, size in _pairs(op, operand, shape, operands, shapes):
                if size == 0:
                    raise ShapeError(f"{op}: {operand} is empty, {dim}=0; give at least one  {told(operands, shapes)}")
                if not dim.isdigit() and sizes.setdefault(dim, size) != size:
                    raise ShapeError(
                        f"{op}: {operand.name} has {dim}={size} but {owner[dim]} has {dim}={sizes[dim]}"
                        f"  {told(operands, shapes)}"
                    )
                if dim.isdigit() and size != int(dim):
                    raise ShapeError(f"{op}: {operand} expects size {dim}, got {size}  {told(operands, shapes)}")
                owner.setdefault(dim, operand.name)
        return sizes

    def output_shape(self, op: str, shapes: tuple[Shape | None, ...]) -> Shape:
        """The output's shape when its dimensions are all named by the inputs; the default `shape` rule of an op."""
        sizes = self.bind(op, shapes)
        rest = next(
            (_ellipsis(o, s) for o, s in zip(self.expand(len(shapes)), shapes, strict=True) if s and "..." in o.dims), ()
        )
        return tuple(size for dim in self.output.dims for size in (rest if dim == "..." else (sizes[dim],)))

    def sliced(self, shapes: tuple[Shape | None, ...]) -> tuple[bool, ...]:
        """Which inputs are cut where the batch is; the others are shared by all slices.

        Those whose first dimension is the output's; under `...`, those of full rank that are not repeated along it.

        >>> from minidl.signature import Signature
        >>> Signature("x[N,C] w[K,C] -> y[N,K]").sliced(((5, 3), (4, 3)))
        (True, False)
        >>> Signature("a[...] b[...] -> y[...]").sliced(((5, 3), (3,)))
        (True, False)
        """
        first, operands = self.output.dims[:1], self.expand(len(shapes))
        if first != ("...",):
            return tuple(shape is not None and o.dims[:1] == first for o, shape in zip(operands, shapes, strict=True))
        rank = max((len(shape) for shape in shapes if shape), default=0)
        size = max((shape[0] for shape in shapes if shape and len(shape) == rank), default=0)
        return tuple(bool(shape and len(shape) == rank and shape[0] == size) for shape in shapes)

    def output_type(self, dtype: np.dtype) -> np.dtype:
        """The output's element type for inputs of this one."""
        if self.output.kind == "sum":  # NumPy adds booleans and small integers up in 64 bits
            return np.zeros(1, dtype).sum().dtype
        return np.dtype(np.int64) if self.output.kind == "int" else dtype


def _operands(text: str) -> tuple[Operand, ...]:
    found = []
    for word in text.split():
        match = _OPERAND.fullmatch(word)
        if match is None:
            raise ValueError(f"signature: cannot read {word!r}; expected name[dims], name[dims]?, name[dims]*, :kind")
        dims = tuple(dim for dim in match["dims"].split(",") if dim)
        found.append(Operand(match["name"], dims, match["mark"] == "?", match["mark"] == "*", match["kind"] or "float"))
    return tuple(found)


def _pairs(op: str, operand: Operand, shape: Shape, operands: tuple, shapes: tuple) -> list[tuple[str, int]]:
    """(dimension name, size) of one array; the dimensions under `...` have no name and are left out."""
    dims = operand.dims
    if "..." not in dims:
        if len(shape) != len(dims):
            alone = dims[0] == "N" and len(shape) == len(dims) - 1
            hint = f"; for one example add the batch dimension, {operand.name}[None]" if alone else ""
            raise ShapeError(
                f"{op}: {operand} expects {len(dims)} dimensions, got {len(shape)}{hint}  {told(operands, shapes)}"
            )
        return list(zip(dims, shape, strict=True))
    before = dims.index("...")
    after = len(dims) - before - 1
    if len(shape) < before + after:
        raise ShapeError(
            f"{op}: {operand} expects at least {before + after} dimensions, got {len(shape)}  {told(operands, shapes)}"
        )
    ends = list(zip(dims[:before], shape[:before], strict=True))
    return ends + (list(zip(dims[-after:], shape[-after:], strict=True)) if after else [])


def _ellipsis(operand: Operand, shape: Shape) -> Shape:
    before = operand.dims.index("...")
    return shape[before : len(shape) - (len(operand.dims) - before - 1)]


def told(operands: tuple[Operand, ...], shapes: tuple[Shape | None, ...]) -> str:
    """The shapes as every error shows them: (x [2,3,32,32], w [8,4,3,3])."""
    words = [f"{o.name} {brackets(s)}" for o, s in zip(operands, shapes, strict=True) if s is not None]
    return f"({', '.join(words)})"


def brackets(shape: Shape) -> str:
    """A shape as text: [2,3,32,32]."""
    return "[" + ",".join(map(str, shape)) + "]"
