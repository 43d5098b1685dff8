"""A kernel on the GPU that the laws see as one on the host: so all eight judge it, and not the seventh alone.

What goes in lies on the GPU as it lies on the host, stride for stride. What comes back is a copy on the host of which the GPU's
original is kept: `saved` goes back to backward as the very arrays that forward left. After every call all originals are
compared with their copies: where a kernel wrote over an argument, or over an array that it gave away, the copy changes too, and
the law that asks about it sees it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

from minidl import executor
from minidl.backend import Array, Library
from minidl.executor import Slices
from minidl.op import Kernel
from minidl.verdicts import Broken

KEPT = 64  # pairs: more than a call has arguments and results


class Prepared(NamedTuple):
    """What the executor saved of a kernel with `prepare`."""

    slices: list
    shapes: tuple


class Moved:
    """A kernel's pair of functions behind copies; `kernel` is them as a Kernel of the op.

    library  from_numpy and to_numpy copy
    """

    def __init__(self, kernel: Kernel, library: Library):
        self.of, self.library, self.arrays = kernel, library, type(library.from_numpy(np.zeros(1)))
        self.pairs: OrderedDict[int, tuple[np.ndarray, Array]] = OrderedDict()  # id of the copy on the host -> both
        pair = self.forward, self.backward
        self.kernel = Kernel(kernel.op, kernel.name, *pair, refuses=kernel.refuses, half=kernel.half, sliced=False)

    def forward(self, *inputs: np.ndarray | None, **attrs: Any) -> tuple:
        """(y, saved) or (y, saved, aux), computed there."""
        y, saved, aux = executor.forward(self.of, tuple(self.put(x) for x in inputs), attrs)
        if type(saved) is Slices:  # of a kernel with `prepare`: the executor that calls us must not take it for its own
            saved = Prepared(list(saved), saved.shapes)
        result = self.got(y), self.got(saved)
        self.settle()
        return (*result, self.got(aux)) if self.of.op.signature.aux else result

    def backward(self, dy: np.ndarray, saved: Any, needs: tuple[bool, ...], **attrs: Any) -> Any:
        """The gradients, computed there."""
        left = self.there(saved)
        if isinstance(left, Prepared):
            left = Slices(left.slices, None, left.shapes)
        grads = executor.backward(self.of, self.put(dy), left, needs, attrs)
        result = self.got(grads)
        self.settle()
        return result

    # ---- copies ------------------------------------------------------------------------------------------------------

    def put(self, x: np.ndarray | None) -> Array | None:
        """The array there: its original, or one that lies in memory as it does."""
        if x is None:
            return None
        if id(x) not in self.pairs:
            self._pair(x, laid_out_as(x, self.library))
        return self.pairs[id(x)][1]

    def there(self, saved: Any) -> Any:
        """`saved` as forward left it there."""
        if isinstance(saved, np.ndarray):
            return self.put(saved)
        return _rebuilt(saved, self.there) if isinstance(saved, tuple | list) else saved

    def got(self, value: Any) -> Any:
        """A result with copies on the host in the place of its arrays."""
        if isinstance(value, tuple | list):
            return _rebuilt(value, self.got)
        if not isinstance(value, self.arrays):
            return value
        copy = self.library.to_numpy(value)
        self._pair(copy, value)
        return copy

    def settle(self) -> None:
        """Write into the copies what has changed there since."""
        for copy, there in self.pairs.values():
            now = self.library.to_numpy(there)
            if now.tobytes() != np.ascontiguousarray(copy).tobytes():
                if not copy.flags.writeable:
                    raise Broken(f"an argument of shape {list(copy.shape)} was changed in place; compute into a new array")
                copy[...] = now

    def _pair(self, copy: np.ndarray, there: Array) -> None:
        self.pairs[id(copy)] = copy, there
        while len(self.pairs) > KEPT:
            self.pairs.popitem(last=False)


def laid_out_as(x: np.ndarray, library: Library) -> Array:
    """The numbers there, with the strides that they have here."""
    if x.size == 0 or any(step % x.itemsize for step in x.strides):
        return library.from_numpy(np.ascontiguousarray(x))
    ends = [step // x.itemsize * (size - 1) for step, size in zip(x.strides, x.shape, strict=True)]
    before, behind = -sum(end for end in ends if end < 0), sum(end for end in ends if end > 0)
    room = library.xp.zeros(before + behind + 1, dtype=x.dtype)
    there = library.xp.lib.stride_tricks.as_strided(room[before:], x.shape, x.strides)
    there[...] = library.from_numpy(np.ascontiguousarray(x).reshape(x.shape))
    return there


def _rebuilt(value: Any, f: Any) -> Any:
    """A tuple or a list of the same kind, of f of each item."""
    items = [f(item) for item in value]
    return type(value)(items) if type(value) in (tuple, list) else type(value)(*items)
