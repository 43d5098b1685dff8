"""Comparisons: Tensors of booleans, with broadcasting and without a gradient.

>>> predicted, labels = Tensor([3, 1, 4]), Tensor([3, 1, 5])
>>> minidl.eq(predicted, labels).numpy().tolist()
[True, True, False]
>>> (predicted > 1).numpy().tolist()
[True, False, True]

They are functions, no ops of the tape: a step has no slope to send back. `==` between Tensors asks for identity, so that
Tensors can be keys of a dict; element by element it is `eq(a, b)` or `a.eq(b)` (PyTorch's name; PyTorch's `equal` is one bool).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl.backend import xp_of
from minidl.ops.pointwise import broadcast_shape
from minidl.signature import ShapeError, brackets
from minidl.tensor import Tensor


def _comparison(name: str, ufunc: str, symbol: str, methods: tuple[str, ...]) -> Callable[[Any, Any], Tensor]:
    def compare(a: Any, b: Any) -> Tensor:
        a, b = (value.data if isinstance(value, Tensor) else value for value in (a, b))
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
eq = _comparison("eq", "equal", "==", ("eq",))
ne = _comparison("ne", "not_equal", "!=", ("ne",))
