"""Locks on the arrays that the tape holds.

NumPy lets an array be made read-only, so a raw write to what backward needs fails at once, where it is written. An array held
by several nodes opens with the last. CuPy arrays have no such flag: there only the version of a Tensor guards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from minidl.backend import Array

_locks: dict[int, int] = {}  # id of an array -> how many nodes hold it
_waiting: dict[int, list[np.ndarray]] = {}  # id of a base -> views that can be unlocked only after it


def lock(array: Array, locked: list[np.ndarray]) -> None:
    """Make a NumPy array and the memory behind it read-only, remembering each in `locked`."""
    while type(array) is np.ndarray:
        held = _locks.get(id(array), 0)
        if held:
            _locks[id(array)] = held + 1
            locked.append(array)
        elif array.flags.writeable:
            _locks[id(array)] = 1
            array.setflags(write=False)
            locked.append(array)
        array = array.base


def unlock(array: np.ndarray) -> None:
    """Undo one `lock` of this array; the last one makes it writable."""
    _locks[id(array)] -= 1
    if _locks[id(array)]:
        return
    del _locks[id(array)]
    if id(array.base) in _locks:  # NumPy refuses a writable view of a read-only base
        _waiting.setdefault(id(array.base), []).append(array)
        return
    array.flags.writeable = True
    for view in _waiting.pop(id(array), []):
        if id(view) not in _locks:
            view.flags.writeable = True


@contextmanager
def unlocked(array: Array) -> Iterator[None]:
    """Let the engine itself write to an array that the tape locked."""
    chain = [a for a in (getattr(array, "base", None), array) if type(a) is np.ndarray and id(a) in _locks]
    for a in chain:
        a.flags.writeable = True
    try:
        yield
    finally:
        for a in chain:
            a.flags.writeable = False


def overlap(a: Array, b: Array) -> bool:
    """Do these two arrays share memory? Only views of one NumPy owner can; others are told apart by identity."""
    if a is b:
        return True
    if type(a) is not np.ndarray or type(b) is not np.ndarray or (a.base is None and b.base is None):
        return False
    owner_a, owner_b = a if a.base is None else a.base, b if b.base is None else b.base
    return owner_a is owner_b and np.may_share_memory(a, b)
