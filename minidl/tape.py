"""The tape: what each application of a kernel leaves behind for backward.

A **Node** is one application of a kernel: the tuple `saved` that its backward needs, and the sources its gradients flow to.
Nodes carry the time of their making, so the reverse of time is a topological order: backward takes the latest node from
a heap, without recursion. What a node saved is locked (minidl/locks.py), and let go as backward passes.
"""

from __future__ import annotations

import heapq
import itertools
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.backend import Array, is_array, xp_of
from minidl.locks import Version, lock, overlap, unlock
from minidl.modes import anomaly_mode, modes
from minidl.signature import brackets

if TYPE_CHECKING:
    from minidl.op import Kernel
    from minidl.tensor import Tensor

_clock = itertools.count()
FREED = object()  # what `saved` is after backward has used it


class Node:
    """One application of a kernel: what backward needs (`saved`), and where its gradients go (`sources`)."""

    __slots__ = (
        "_held",
        "_locked",
        "attrs",
        "grad",
        "kernel",
        "needs",
        "owned",
        "precision",
        "retain",
        "saved",
        "shapes",
        "sources",
        "time",
    )

    def __init__(self, kernel: Kernel, attrs: dict[str, Any], tensors: list[Tensor | None], saved: Any):
        self.time, self.kernel, self.attrs, self.saved = next(_clock), kernel, attrs, saved
        self.precision = modes().precision  # of the forward pass, and so of backward wherever it is called
        self.needs: tuple[bool, ...] = ()
        self.sources: tuple[Any, ...] = ()  # a gradient flows to the node that made the input, or to the leaf
        self.shapes: tuple[tuple[int, ...], ...] = ()
        for t in tensors:
            source = (t.node or t) if t is not None and t.requires_grad else None
            self.needs += (source is not None,)
            self.sources += (source,)
            self.shapes += (() if t is None else t.data.shape,)
        self.grad: Array | None = None
        self.owned = False  # may `grad` be added to in place?
        self.retain: weakref.ref[Tensor] | None = None  # weak: a Tensor holds its node, not the other way round
        self._held: tuple[tuple[int, Version, int], ...] = ()
        self._locked: list[np.ndarray] = []

    def __lt__(self, other: Node) -> bool:
        return self.time > other.time  # the heap gives the latest first

    def __del__(self) -> None:
        self.release()

    @property
    def name(self) -> str:
        """The kernel's name: conv2d[im2col]."""
        return str(self.kernel)

    def hold(self, arrays: tuple[Array, ...], tensors: list[Tensor | None], outputs: tuple[Tensor, ...]) -> None:
        """Lock the inputs and outputs whose memory was saved, and note the versions of the Tensors they came in.

        (What only `saved` holds, nobody else can reach. A plain array has no version: it can only be locked.)
        """
        if not (saved := _arrays_in(self.saved)):
            return
        held: list[tuple[Array, Version | None]] = []
        for i, array in enumerate(arrays):
            for a in saved:
                if a is array or overlap(a, array):
                    held.append((array, self._note(i, tensors[i])))
                    break
        for t in outputs:
            for a in saved:
                if a is t.data or overlap(a, t.data):
                    held.append((t.data, self._note(len(arrays), t)))
                    break
        if held:
            lock(held, self._locked)

    def _note(self, i: int, t: Tensor | None) -> Version | None:
        """The version of what was held, remembered as it is now."""
        if t is None:
            return None
        self._held += ((i, t._version, t._version[0]),)
        return t._version

    def release(self) -> None:
        """Drop what was saved, and the way on, and open the locks."""
        self.saved, self.sources = FREED, (None,) * len(self.sources)
        if self._locked:
            unlock(self._locked)

    def take(self) -> Array:
        """The gradient that was summed up here; an error if what was saved is gone or was changed."""
        dy: Array = self.grad
        self.grad, self.owned = None, False
        if self.retain is not None and (tensor := self.retain()) is not None:
            tensor.grad = dy.copy() if tensor.grad is None else tensor.grad + dy
        if self.saved is FREED:
            raise RuntimeError(
                f"backward: what {self.name} saved was freed by an earlier backward(); "
                "run the forward pass again, or call the first backward(retain_graph=True)"
            )
        self._refuse_edits()
        return dy

    def expand(self, dy: Array, heap: list[Node]) -> bool:
        """True if dy flows on in some other way than through a kernel's backward (a recomputed segment)."""
        return False

    def pass_on(self, dy: Array, grads: tuple[Array | None, ...], heap: list[Node]) -> None:
        """Hand what the kernel's backward returned to the sources."""
        self._check(grads)
        given: list[Array] = [dy]
        for source, dx in zip(self.sources, grads, strict=True):
            if source is not None and dx is not None:
                deliver(source, dx, any(dx is other for other in given), heap)
                given.append(dx)

    def _refuse_edits(self) -> None:
        for i, version, then in self._held:
            if version[0] != then:
                which = f"input {i} {brackets(self.shapes[i])}" if i < len(self.shapes) else "output"
                raise RuntimeError(
                    f"backward: {self.name} saved its {which} for backward, and it was changed in place afterwards "
                    f"(version {then}, now {version[0]}); edit a copy, or edit after backward()"
                )

    def _check(self, grads: tuple[Array | None, ...]) -> None:
        if not isinstance(grads, tuple | list) or len(grads) != len(self.needs):
            came = f"{len(grads)}" if isinstance(grads, tuple | list) else type(grads).__name__
            raise ValueError(
                f"{self.name}.backward: expected a tuple of {len(self.needs)} gradients, one per input, got {came}"
            )
        anomaly = anomaly_mode()
        for i, (dx, need, shape) in enumerate(zip(grads, self.needs, self.shapes, strict=True)):
            if need and (dx is None or dx.shape != shape):
                came = "None" if dx is None else brackets(dx.shape)
                raise ValueError(
                    f"{self.name}.backward: gradient {i} must have its input's shape {brackets(shape)}, got {came}"
                )
            if need and anomaly:
                refuse_nan(dx, f"{self.name}.backward", f"gradient {i}")


def deliver(source: Any, dx: Array, shared: bool, heap: list[Node]) -> None:
    """Add a gradient to a node that waits in the heap, or to the `.grad` of a leaf (a Tensor without a node)."""
    if not isinstance(source, Node):
        if source.grad is None:  # a leaf's gradient must be its own memory: clipping edits it in place
            grad = dx.copy() if shared or getattr(dx, "base", None) is not None else dx
        else:
            grad = source.grad + dx
        source.grad = xp_of(grad).asarray(grad)  # NumPy's arithmetic on arrays of shape () gives scalars
    elif source.grad is None:
        source.grad = dx
        heapq.heappush(heap, source)
    elif source.owned:
        source.grad += dx
    else:
        source.grad, source.owned = source.grad + dx, True


_PLAIN = frozenset((int, float, bool, str, bytes, type(None)))


def _arrays_in(saved: Any) -> list[Array]:
    """Every array inside a saved tuple, however nested."""
    found = []
    for value in saved if isinstance(saved, tuple | list) else (saved,):
        kind = type(value)
        if kind is np.ndarray:
            found.append(value)
        elif kind not in _PLAIN and isinstance(value, tuple | list):
            found += _arrays_in(value)
        elif kind not in _PLAIN and is_array(value):
            found.append(value)
    return found


def refuse_nan(array: Array, where: str, what: str, inputs: tuple[Array, ...] = ()) -> None:
    """FloatingPointError if the array holds NaN or infinity; it says whether an input held one already."""
    if (kind := _not_finite(array)) is None:
        return
    for i, x in enumerate(inputs):
        if x is not None and (came := _not_finite(x)) is not None:
            raise FloatingPointError(f"{where}: its input {i} {brackets(x.shape)} holds {came} already, made outside the ops")
    raise FloatingPointError(f"{where}: {what} {brackets(array.shape)} holds {kind}; no op before it did")


def _not_finite(array: Array) -> str | None:
    xp = xp_of(array)
    if array.dtype.kind != "f" or bool(xp.isfinite(array).all()):
        return None
    return "NaN" if bool(xp.isnan(array).any()) else "infinity"
