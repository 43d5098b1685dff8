"""Dimensions by number: what a user may write, and the one form that kernels see."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from minidl.signature import Shape, ShapeError, brackets


def whole(value: Any, name: str) -> int:
    """An integer of any kind as an int."""
    try:
        return operator.index(value)
    except TypeError:
        raise ShapeError(f"{name} must be an integer, got {value!r}") from None


def one_axis(axis: Any, ndim: int, name: str = "axis") -> int:
    """A dimension as a non-negative int: -1 is the last."""
    i = whole(axis, name)
    if not -ndim <= i < ndim:
        which = f"{name} lies in [{-ndim}, {ndim - 1}]" if ndim else f"a single number has no {name}"
        raise ShapeError(f"{name}={axis} is out of range for {ndim} dimensions; {which}")
    return i % ndim


def many_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """None (all), an int or several as a sorted tuple of non-negative ints."""
    if axis is None:
        return tuple(range(ndim))
    axes = sorted(one_axis(a, ndim) for a in (axis if isinstance(axis, tuple | list) else (axis,)))
    if len(set(axes)) < len(axes):
        raise ShapeError(f"axis={axis} names a dimension twice; name each once")
    return tuple(axes)


def not_empty(name: str, x: Shape) -> None:
    """ShapeError if a dimension is 0: nothing has no maximum and no mean."""
    if 0 in x:
        raise ShapeError(f"{name} is empty, {brackets(x)} has no elements; give at least one")


@contextmanager
def blamed_on(name: str, x: Any) -> Iterator[None]:
    """Errors inside the block bear the name of the function that was called and the shape it was given."""
    try:
        yield
    except ShapeError as error:
        raise ShapeError(f"{name}: {error}  (x {brackets(x.shape)})") from None
