"""Locks on the arrays that the tape holds.

NumPy lets an array be made read-only, so a raw write to what backward needs fails at once, where it is written. An array held
by several nodes opens with the last. What the flag cannot do: a view made before the lock stays writable, a view made while it
lasts stays read-only, and CuPy arrays have no such flag; there only the version of a Tensor guards.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minidl.backend import Array

Version = list[int]  # one number, shared by every Tensor over the same memory


_holds: dict[int, list[Any]] = {}  # id of an array -> [how many nodes hold it, the version of the Tensor it came in]
_waiting: dict[int, list[np.ndarray]] = {}  # id of a base -> views that can be unlocked only after it
_mutex = threading.RLock()  # reentrant: a node that the garbage collector drops unlocks wherever the thread is


def lock(arrays: list[tuple[Array, Version | None]], locked: list[np.ndarray]) -> None:
    """Make NumPy arrays and the memory behind them read-only, remembering each in `locked`."""
    with _mutex:
        for array, version in arrays:
            while type(array) is np.ndarray:
                held = _holds.get(id(array))
                if held is not None:
                    held[0] += 1
                    locked.append(array)
                elif array.flags.writeable:
                    _holds[id(array)] = [1, version]
                    array.setflags(write=False)
                    locked.append(array)
                array = array.base


def unlock(locked: list[np.ndarray]) -> None:
    """Undo what `lock` did; an array opens with the last node that holds it."""
    with _mutex:
        while locked:
            array = locked.pop()
            held = _holds[id(array)]
            held[0] -= 1
            if held[0]:
                continue
            del _holds[id(array)]
            if id(array.base) in _holds:  # NumPy refuses a writable view of a read-only base
                _waiting.setdefault(id(array.base), []).append(array)
                continue
            array.setflags(write=True)
            for view in _waiting.pop(id(array), ()):
                if id(view) not in _holds:
                    view.setflags(write=True)


@contextmanager
def unlocked(array: Array, version: Version) -> Iterator[None]:
    """Let the engine write to an array that the tape locked, for a Tensor of this version.

    Raises RuntimeError if the tape holds the memory for another Tensor, whose backward would not see the edit.
    """
    chain = [a for a in (getattr(array, "base", None), array) if type(a) is np.ndarray and id(a) in _holds]
    if any(_holds[id(a)][1] is not version for a in chain):
        raise RuntimeError(
            "in-place edit of memory that the tape holds for another Tensor or array: backward would compute with "
            "the new values; edit a copy, or edit after backward()"
        )
    for a in chain:
        a.setflags(write=True)
    try:
        yield
    finally:
        for a in chain:
            a.setflags(write=False)


def overlap(a: Array, b: Array) -> bool:
    """Do these two arrays share memory? Only views of one NumPy owner can; others are told apart by identity."""
    if a is b:
        return True
    if type(a) is not np.ndarray or type(b) is not np.ndarray or (a.base is None and b.base is None):
        return False
    owner_a, owner_b = a if a.base is None else a.base, b if b.base is None else b.base
    return owner_a is owner_b and np.may_share_memory(a, b)
