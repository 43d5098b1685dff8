"""What a law may find, and the comparisons that find it."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import backend
from minidl.backend import Array, to_numpy
from minidl.signature import brackets


class Broken(AssertionError):
    """A kernel breaks a law; the message says where and by how much."""


class Undecided(Exception):
    """This problem cannot tell whether the law holds."""


def same(what: str, got: Array, expected: np.ndarray, rtol: float, floor: float = 1e-3) -> None:
    """Broken unless got equals expected within rtol of its largest magnitude (at least `floor`)."""
    got, expected = np.asarray(got), np.asarray(expected)
    if got.shape != expected.shape:
        raise Broken(f"{what} has shape {brackets(got.shape)}, expected {brackets(expected.shape)}")
    if not expected.size:
        return
    error = np.abs(np.where(got == expected, 0.0, got - expected))  # equal infinities differ by nothing
    if np.array_equal(np.isnan(got), np.isnan(expected)):
        error = np.where(np.isnan(expected), 0.0, error)
    scale = max(float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0)), floor)
    worst = np.unravel_index(np.argmax(error), error.shape)
    if not error[worst] <= rtol * scale:
        place = ",".join(str(int(k)) for k in worst)
        raise Broken(f"{what} at [{place}] is {got[worst]:.9g}, expected {expected[worst]:.9g}")


def shape_of_gradient(name: str, dx: Any, x: np.ndarray) -> None:
    """Broken unless dx is an array of the shape of x."""
    if dx is None:
        raise Broken(f"d{name} is None although it was asked for")
    if not isinstance(dx, np.ndarray | np.generic) or dx.shape != x.shape:
        came = brackets(dx.shape) if hasattr(dx, "shape") else type(dx).__name__
        raise Broken(f"d{name} must have the shape of {name}, {brackets(x.shape)}; got {came}")


def unchanged(who: str, names: list[str], before: list[Any], after: Any) -> None:
    """Broken if any array differs, by a bit, from what it was before."""
    for name, a, b in zip(names, before, after, strict=True):
        if a is not None and not bits_equal(np.asarray(a), np.asarray(b)):
            raise Broken(f"{who} changed {name} in place; compute into a new array")


def bits_equal(a: np.ndarray, b: np.ndarray) -> bool:
    """The same shape and the same values, NaN equal to NaN."""
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")


def returned_by(library: backend.Library, what: str, array: Array) -> np.ndarray:
    """The array on the host; Broken if the kernel left its library on the way."""
    if isinstance(array, np.ndarray | np.generic):
        raise Broken(f"{what} is a NumPy array although the inputs were on {library.name}")
    return to_numpy(array)
