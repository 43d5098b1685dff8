"""Slices of a batch: where it is cut, and how what they give is put together again.

    cut = cut_for(kernel, inputs, attrs)                  None: compute the batch whole
    y, dw = Parts(who, cut, joined=(True, False)).of(begin, take)    slice i of y and its share of dw, handed to `put`

Size : about SLICE elements in the largest array of a slice: an input, y, or what the kernel says that it makes beside them
       (`workspace`); more images where a kernel asks for them (`images`). Not less than LEAST elements, or threads wait for
       the interpreter's lock longer than they compute.
Bits : slice i belongs to thread i mod T. Each thread adds in slice order, and the T sums are added in thread order: one T, the
       same bits, however fast the threads are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minidl.backend import Array
from minidl.lockstep import Done, Steps, go_on
from minidl.modes import modes
from minidl.signature import Shape, brackets
from minidl.workers import share

if TYPE_CHECKING:
    from minidl.op import Kernel

SLICE = 1 << 19  # elements: 2 MB of float32, which with what is computed from it fills a core's L2 cache
LEAST = 1 << 18

Arrays = tuple[Array | None, ...]


class Cut(NamedTuple):
    """The slices of a batch, and on how many threads they are computed."""

    parts: tuple[slice, ...]
    threads: int
    sliced: tuple[bool, ...]  # for each input: is it sliced, or shared by all slices?

    def of(self, inputs: Arrays, i: int) -> list[Array | None]:
        """What the kernel sees of the inputs in slice i."""
        return [a[self.parts[i]] if s and a is not None else a for a, s in zip(inputs, self.sliced, strict=True)]


def cut_for(kernel: Kernel, inputs: Arrays, attrs: dict[str, Any]) -> Cut | None:
    """How to cut the batch in the mode `threads`; None for whole: off, not possible, or not worth it."""
    op, now = kernel.op, modes()
    if now.threads is None or not kernel.sliced or not (kernel.in_step or (op.batched and not op.signature.aux)):
        return None
    if not (now.images or kernel.workspace) and all(a is None or a.size < 2 * LEAST for a in inputs):
        return None  # small, as it is at once to be seen
    if any(a is not None and (type(a) is not np.ndarray or a.dtype == np.float16) for a in inputs):
        return None  # on a GPU a slice is no faster; half types would round each slice's sum
    shapes = tuple([None if a is None else a.shape for a in inputs])
    sliced = op.signature.sliced(shapes)
    N = next((shape[0] for shape, s in zip(shapes, sliced, strict=True) if s and shape), 0)
    least = kernel.images(*shapes, **attrs) if kernel.images else 1
    count = -(-N // now.images) if now.images else _how_many(N, _largest(kernel, shapes, sliced, attrs), least, now.threads)
    if count < 2:
        return None
    parts = tuple(slice(N * i // count, N * (i + 1) // count) for i in range(count))
    return Cut(parts, min(now.threads, count), sliced)


def _largest(kernel: Kernel, shapes: tuple[Shape | None, ...], sliced: tuple[bool, ...], attrs: dict[str, Any]) -> int:
    """Elements, for one image, of the largest array."""
    arrays = [shape for shape, s in zip(shapes, sliced, strict=True) if shape and s]
    elements = max(math.prod(shape[1:]) for shape in (*arrays, kernel.op.output_shape(shapes, attrs)))
    return max(elements, kernel.workspace(*shapes, **attrs)) if kernel.workspace else elements


def _how_many(N: int, elements: int, least: int, threads: int) -> int:
    """Slices for N images of so many elements; as many for one thread as for another, where that is possible."""
    images = max(least, round(SLICE / elements))
    count = min(threads * math.ceil(N / images / threads), N, N * elements // LEAST)
    return count - count % threads if count > threads else count


class Parts:
    """What the slices give, put together: one after the other where an array is `joined`, else added up.

    lent  the whole dy: a kernel may pass it on as it came, and then nothing is copied
    """

    def __init__(self, who: str, cut: Cut, joined: tuple[bool, ...], lent: Array = None):
        self.who, self.cut, self.joined, self.lent = who, cut, joined, lent
        self.whole: Future[list[Array]] = Future()  # the joined arrays, None for the others; made when slice 0 is there
        self.sums: list[list[Array]] = [[None] * len(joined) for _ in range(cut.threads)]

    def of(self, begin: Callable[[int], Any], take: Callable[[int, Any], None]) -> Arrays:
        """take(i, begin(i)) for every slice, on threads; it hands what it has to `put`."""
        self._on_threads(lambda i: take(i, begin(i)))
        return self._together()

    def of_steps(self, begin: Callable[[int], Steps], take: Callable[[int, Any], None]) -> Arrays:
        """The same for generators: all go on in step, each time with the sums of what they yielded, added in slice order."""
        slices, sums = [begin(i) for i in range(len(self.cut.parts))], None
        while not self.whole.done():
            found = self._step(slices, sums, take)
            sums = tuple(reduce(add, column) for column in zip(*found, strict=True))
        return self._together()

    def _step(self, slices: list[Steps], sums: tuple | None, take: Callable[[int, Any], None]) -> list[tuple]:
        """What every slice yields next; nothing, where they are done."""
        first: Future[bool] = Future()  # is slice 0 done? The others wait for it, and may not be ahead
        found: list[tuple] = [()] * len(slices)

        def go_on_with(i: int) -> None:
            done = False
            try:
                now = go_on(slices[i], sums)
                done = isinstance(now, Done)
            finally:
                if i == 0:
                    first.set_result(done)
            if done is not first.result():
                raise ValueError(f"{self.who}: some slices of the batch wait for sums that others do not yield")
            if isinstance(now, Done):
                take(i, now.value)
            else:
                found[i] = now

        self._on_threads(go_on_with, first)
        return found

    def _on_threads(self, compute: Callable[[int], None], first: Future[bool] | None = None) -> None:
        """compute(i) for every slice."""

        def work(thread: int) -> None:
            for i in range(thread, len(self.cut.parts), self.cut.threads):
                compute(i)

        def abandon(error: BaseException) -> None:
            for awaited in (self.whole, first):  # of slice 0, by the others
                if awaited and not awaited.done():
                    awaited.set_exception(error)

        share(work, self.cut.threads, abandon)

    def _together(self) -> Arrays:
        """The joined arrays, and the sums of the others in the order of the threads."""
        total, *others = self.sums
        for other in others:
            total = [_added(a, b) for a, b in zip(total, other, strict=True)]
        return tuple(a if joined else b for joined, a, b in zip(self.joined, self.whole.result(), total, strict=True))

    def put(self, i: int, pieces: Arrays) -> list[Array | None]:
        """Take in what slice i gave; the views of the joined arrays where it now stands."""
        part, sums = self.cut.parts[i], self.sums[i % self.cut.threads]
        if i == 0:
            self.whole.set_result([self._room(a) if joined else None for a, joined in zip(pieces, self.joined, strict=True)])
        views = [None if a is None else a[part] for a in self.whole.result()]
        own: list[Array | None] = [self.lent]
        for j, (piece, view) in enumerate(zip(pieces, views, strict=True)):
            if not self.joined[j]:
                own.append(_own(piece, own))
                sums[j] = _added(sums[j], own[-1])
            elif _shape(piece) != _shape(view):
                n = part.stop - part.start
                raise ValueError(f"{self.who}: a slice of {n} images gave {_shape(piece)} where {_shape(view)} was expected")
            elif view is not None and not _same_memory(piece, view):
                view[...] = piece
        return views

    def _room(self, piece: Array | None) -> Array | None:
        """An array for all images in the layout of slice 0's: the images outermost, the other axes as they are in memory."""
        if piece is None:
            return None
        N = self.cut.parts[-1].stop
        if self.lent is not None and _same_memory(piece, self.lent[self.cut.parts[0]]):
            whole = self.lent.view()
            whole.flags.writeable = False
            return whole
        inner = sorted(range(1, piece.ndim), key=lambda axis: -abs(piece.strides[axis]))
        strides, step = [0] * piece.ndim, piece.itemsize
        for axis in (*reversed(inner), 0):
            strides[axis], step = step, step * (N if axis == 0 else piece.shape[axis])
        return np.ndarray((N, *piece.shape[1:]), piece.dtype, strides=strides)


def _own(piece: Array | None, taken: list[Array | None]) -> Array | None:
    """The piece as memory that may be added to, apart from what is taken: a kernel may give one array as two gradients."""
    if piece is None or (piece.flags.writeable and not any(a is not None and np.may_share_memory(piece, a) for a in taken)):
        return piece
    return piece.copy()


def _added(total: Array | None, piece: Array | None) -> Array | None:
    if total is None or piece is None:
        return piece if total is None else total
    total += piece
    return total


def _same_memory(a: Array, b: Array) -> bool:
    here, there = a.__array_interface__, b.__array_interface__
    return here["data"][0] == there["data"][0] and (a.shape, a.strides, a.dtype) == (b.shape, b.strides, b.dtype)


def _shape(a: Array | None) -> str:
    return "None" if a is None else brackets(a.shape)
