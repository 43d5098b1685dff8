"""Comparisons: Tensors of booleans, with broadcasting and without a gradient.

>>> predicted, labels = Tensor([3, 1, 4]), Tensor([3, 1, 5])
>>> minidl.eq(predicted, labels).numpy().tolist()
[True, True, False]
>>> (predicted > 1).numpy().tolist()
[True, False, True]

They are functions, no ops of the tape: a step has no slope to send back. `a == b` is `eq(a, b)`, element by element as in
PyTorch (whose `equal` is one bool); a Tensor hashes by identity, so that it can be a key. What is no number (None, a word)
equals no Tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.backend import is_array, xp_of
from minidl.ops.pointwise import broadcast_shape
from minidl.signature import ShapeError, brackets
from minidl.tensor import Tensor


def _array(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.data
    return np.asarray(value) if isinstance(value, list | tuple) else value


def _comparison(name: str, ufunc: str, symbol: str, methods: tuple[str, ...]) -> Callable[[Any, Any], Any]:
    def compare(a: Any, b: Any) -> Any:
        a, b = (_array(value) for value in (a, b))
        for value in (a, b):
            if not (is_array(value) or isinstance(value, int | float)):
                if name in ("eq", "ne"):
                    return NotImplemented  # Python then compares identities
                raise TypeError(f"{name}: expected a Tensor, an array or a number, got {type(value).__name__}")
        shapes = [getattr(value, "shape", ()) for value in (a, b)]
        try:
            broadcast_shape(*shapes)
        except ShapeError as error:
            raise ShapeError(f"{name}: {error}  (a {brackets(shapes[0])}, b {brackets(shapes[1])})") from None
        return Tensor(getattr(xp_of(a, b), ufunc)(a, b))

    compare.__name__ = compare.__qualname__ = name
    compare.__doc__ = f"a {symbol} b, element by element: a Tensor of booleans, without a gradient."
    for method in methods:
        setattr(Tensor, method, compare)
    return compare


lt = _comparison("lt", "less", "<", ("__lt__", "lt"))
le = _comparison("le", "less_equal", "<=", ("__le__", "le"))
gt = _comparison("gt", "greater", ">", ("__gt__", "gt"))
ge = _comparison("ge", "greater_equal", ">=", ("__ge__", "ge"))
eq = _comparison("eq", "equal", "==", ("__eq__", "eq"))
ne = _comparison("ne", "not_equal", "!=", ("__ne__", "ne"))
