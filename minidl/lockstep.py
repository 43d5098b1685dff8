"""Kernels that must know a sum over the whole batch before they can go on: batch norm.

Such a kernel is written as a generator. What it yields is summed over all slices of the batch, and the sums come back:

>>> from minidl.lockstep import in_step
>>> @in_step
... def centre(x):
...     count, total = yield len(x), x.sum()
...     return x - total / count
>>> import numpy as np
>>> centre(np.array([1.0, 2.0, 6.0])).tolist()  # called as any function, it is the only slice
[-2.0, -1.0, 3.0]

Whoever holds the slices goes on with all of them in step, through `centre.steps`:

>>> first, second = (centre.steps(x) for x in (np.array([1.0]), np.array([2.0, 6.0])))
>>> [tuple(map(int, next(slice))) for slice in (first, second)]
[(1, 1), (2, 8)]
>>> from minidl.lockstep import go_on
>>> [go_on(slice, (3, 9)).value.tolist() for slice in (first, second)]
[[-2.0], [-1.0, 3.0]]
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import wraps
from typing import Any, NamedTuple

Steps = Generator[tuple, Any, tuple]  # yields what is to be summed, gets the sums, returns what a kernel returns


class Done(NamedTuple):
    """What a generator returned in the end."""

    value: Any


def go_on(slice: Steps, sums: tuple | None) -> tuple | Done:
    """Give a slice the sums it waits for (None: let it begin): what it yields next, or Done with what it returns."""
    try:
        return slice.send(sums)
    except StopIteration as end:
        return Done(end.value)


def steps_of(kernel: Callable) -> Callable[..., Steps]:
    """The generator function inside one that is `in_step`."""
    return kernel.steps  # type: ignore[attr-defined]


def in_step(steps: Callable[..., Steps]) -> Callable:
    """The generator function as a plain function that sees the whole batch: each sum is what it yielded itself."""

    @wraps(steps)
    def whole(*args: Any, **kwargs: Any) -> Any:
        slice, sums = steps(*args, **kwargs), None
        while not isinstance(sums := go_on(slice, sums), Done):
            pass
        return sums.value

    whole.steps = steps  # type: ignore[attr-defined]
    return whole
