"""Checks of what layers are made with, so that a slip is told where the layer is written and not at its first call.

Each takes the layer and the name of the argument, and raises a ValueError of one line:

>>> nn.Linear(0, 10)
Traceback (most recent call last):
ValueError: Linear: in_features must be a whole number of 1 or more, got 0
"""

from __future__ import annotations

import math
import operator
from numbers import Integral, Real
from typing import Any

from minidl.nn.module import Module
from minidl.signature import ShapeError
from minidl.window import pair, sides

LIMITS = {"least": ("{:g} or more", operator.ge), "most": ("{:g} or less", operator.le)}
LIMITS |= {"above": ("above {:g}", operator.gt), "below": ("below {:g}", operator.lt)}


def whole(layer: Module, name: str, value: Any, least: int = 1) -> int:
    """The value as an int, if it is a whole number (Python's or NumPy's) of `least` or more."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{type(layer).__name__}: {name} must be a whole number of {least} or more, got {_shown(value)}")
    return int(value)


def number(layer: Module, name: str, value: Any, **limits: float) -> float:
    """The value as a float, if it is a number within the limits: least, most, above, below; NaN is in none."""
    found = _as_float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if math.isnan(found) or not all(LIMITS[limit][1](found, bound) for limit, bound in limits.items()):
        words = " and ".join(LIMITS[limit][0].format(bound) for limit, bound in limits.items())
        raise ValueError(f"{type(layer).__name__}: {name} must be a number, {words}, got {_shown(value)}")
    return found


def yes_or_no(layer: Module, name: str, value: Any) -> bool:
    """The value, if it is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{type(layer).__name__}: {name} must be True or False, got {_shown(value)}")
    return value


def window(layer: Module, padding: Any = 0, dilation: Any = 1, **pairs: Any) -> None:
    """Sizes and steps of a sliding window: `pairs` and dilation are 1 or more each, padding has one of its forms."""
    try:
        for name, value in {**pairs, "dilation": dilation}.items():
            pair(name, value)
        sides(padding, (1, 1), (1, 1), (1, 1), (1, 1))
    except ShapeError as error:
        raise ShapeError(f"{type(layer).__name__}: {error}") from None


def _as_float(value: Any) -> float:
    """A number as a float; 10**400, which is none, as infinity."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _shown(value: Any) -> str:
    """Short values as they are written, others by their type."""
    text = repr(value)
    return text if len(text) <= 40 and "\n" not in text and not hasattr(value, "shape") else type(value).__name__
