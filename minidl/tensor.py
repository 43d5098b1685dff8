"""The tape: arrays that remember which kernel made them.

    loss.backward()  ->  Tensor.backward  ->  im2col.backward        (the second hop is the arithmetic)

A **Tensor** is an array and, where a gradient is asked for, the **Node** that made it. A Node is one application of a
kernel: the tuple `saved` that its backward needs, and the sources its gradients flow to. Nodes carry the time of their
making, so the reverse of time is a topological order: backward takes the latest node from a heap, without recursion.

What a node saved is locked: a raw write (`t.data[0] = 1`) to a NumPy array that the tape holds raises NumPy's
"read-only" error, and the lock opens when backward has used the array or the graph is dropped. CuPy arrays cannot be
locked. Edits through a Tensor (`t.add_`, an optimiser's step) are allowed, raise the Tensor's version, and backward refuses
to compute with what was changed.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import backend, executor
from minidl.backend import Array, is_array, xp_of
from minidl.locks import lock, overlap, unlock, unlocked
from minidl.methods import Methods
from minidl.modes import anomaly_mode, grad_enabled, modes
from minidl.signature import brackets

if TYPE_CHECKING:
    from minidl.op import Kernel

_clock = itertools.count()


class Tensor(Methods):
    """An array with a place on the tape.

    data           the array (NumPy or CuPy); Python numbers and lists become float32
    requires_grad  should backward() leave a gradient here?
    grad           after backward(): an array of the same shape, type and device, summed over all calls; or None

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> loss = (x * x).sum()
    >>> loss.backward()
    >>> x.grad.tolist()  # 2 x
    [2.0, 4.0]
    """

    __slots__ = ("__weakref__", "_version", "data", "grad", "node", "requires_grad")
    __array_ufunc__ = None  # numpy_array * tensor calls Tensor.__rmul__, not a loop over elements

    def __init__(self, data: Any, requires_grad: bool = False, *, dtype: Any = None, device: str | None = None):
        if type(data) is not np.ndarray or dtype is not None or device is not None:
            data = _as_array(data, dtype, device)
        if requires_grad and data.dtype.kind != "f":
            raise TypeError(f"Tensor: only floating point has gradients, got {data.dtype}; use .astype('float32')")
        self.data: Array = data
        self.requires_grad, self.grad = bool(requires_grad), None
        self.node: Node | None = None
        self._version = [0]  # shared by every Tensor that sees the same memory

    # ---- what it is --------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.data.size

    @property
    def dtype(self) -> np.dtype:
        """Element type: float32 unless asked otherwise."""
        return self.data.dtype

    @property
    def device(self) -> str:
        """'cpu', 'cuda:0', ..."""
        return backend.device_of(self.data)

    @property
    def version(self) -> int:
        """How often this memory was changed in place."""
        return self._version[0]

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        made = f", made by {self.node.name}" if self.node else ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({np.array2string(self.numpy(), precision=4, separator=', ', threshold=20)}{made})"

    def __bool__(self) -> bool:
        return bool(self.data)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def item(self) -> float | int | bool:
        """The one number this Tensor holds."""
        if self.size != 1:
            raise ValueError(f"item: expected one element, got shape {brackets(self.shape)}")
        return self.data.item()

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array (the same memory on the CPU; locked while the tape holds it)."""
        return backend.to_numpy(self.data)

    def detach(self) -> Tensor:
        """The same memory, off the tape."""
        out = Tensor(self.data)
        out._version = self._version
        return out

    def to(self, device: str) -> Tensor:
        """On another device. A leaf keeps `requires_grad`; a result of the tape cannot be moved."""
        if self.node is not None and backend.device_of(self.data) != backend.check_device(device):
            raise ValueError("to: a Tensor that the tape made cannot change device; move the inputs, or detach() first")
        return self if self.node is not None else Tensor(self.data, self.requires_grad, device=device)

    def astype(self, dtype: Any) -> Tensor:
        """With another element type. A leaf keeps `requires_grad`; a result of the tape cannot be cast."""
        if self.node is not None and self.dtype != np.dtype(dtype):
            raise ValueError("astype: a Tensor that the tape made cannot change type; cast the inputs, or detach() first")
        kept = self.requires_grad and np.dtype(dtype).kind == "f"
        return self if self.node is not None else Tensor(self.data.astype(dtype), kept)

    def copy(self) -> Tensor:
        """A leaf with its own memory and the same `requires_grad`."""
        return Tensor(self.data.copy(), self.requires_grad)

    # ---- edits in place ----------------------------------------------------------------------------------------------

    @contextmanager
    def editing(self) -> Iterator[Array]:
        """The array, writable inside the block; afterwards the version is one higher, so backward can tell."""
        if self.requires_grad and grad_enabled():
            raise RuntimeError(
                f"in-place edit of a Tensor {brackets(self.shape)} that requires a gradient: the tape could not see it; "
                "write `with minidl.no_grad():` around it, or compute a new Tensor"
            )
        self._version[0] += 1
        with unlocked(self.data):
            yield self.data

    def copy_(self, value: Any) -> Tensor:
        """Overwrite the values."""
        with self.editing() as data:
            data[...] = value.data if isinstance(value, Tensor) else value
        return self

    def add_(self, value: Any) -> Tensor:
        """Add to the values in place."""
        with self.editing() as data:
            data += value.data if isinstance(value, Tensor) else value
        return self

    def mul_(self, value: Any) -> Tensor:
        """Multiply the values in place."""
        with self.editing() as data:
            data *= value.data if isinstance(value, Tensor) else value
        return self

    def zero_(self) -> Tensor:
        """Set every value to 0."""
        return self.copy_(0)

    def __setitem__(self, index: Any, value: Any) -> None:
        with self.editing() as data:
            data[index] = value.data if isinstance(value, Tensor) else value

    # ---- backward ----------------------------------------------------------------------------------------------------

    def retain_grad(self) -> Tensor:
        """Keep the gradient of this intermediate result in `.grad` too."""
        if self.node is not None:
            self.node.retain = self
        return self

    def backward(self, dy: Any = None, *, retain_graph: bool = False) -> None:
        """Add d self / d leaf, weighted by dy, to the `.grad` of every leaf that asked for it.

        dy            gradient of the final quantity with respect to this Tensor, same shape; 1 for a scalar
        retain_graph  keep what the nodes saved, so that backward can run again

        >>> x = Tensor([3.0], requires_grad=True)
        >>> y = x * x
        >>> y.backward(retain_graph=True)
        >>> y.backward([10.0])  # dy = 10; what several calls give is added up
        >>> x.grad.item()  # 6 + 10 * 6
        66.0
        """
        if not self.requires_grad:
            raise RuntimeError(
                "backward: this Tensor is on no tape: no input had requires_grad=True, or it was made under no_grad()"
            )
        xp = xp_of(self.data)
        if dy is None:
            if self.size != 1:
                raise RuntimeError(
                    f"backward: only a scalar starts by itself, this Tensor is {brackets(self.shape)}; "
                    "pass dy of that shape, or take .sum() or .mean() first"
                )
            dy = xp.ones_like(self.data)
        dy = xp.asarray(dy.data if isinstance(dy, Tensor) else dy, dtype=self.dtype)
        if dy.shape != self.shape:
            raise ValueError(f"backward: dy must have shape {brackets(self.shape)}, got {brackets(dy.shape)}")
        heap: list[Node] = []
        deliver(self.node or self, dy, False, heap)
        try:
            while heap:
                heapq.heappop(heap).flow(heap, retain_graph)
        finally:
            for node in heap:  # only after an error: leave nothing half-summed behind
                node.grad = None


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
        "retain",
        "saved",
        "shapes",
        "sources",
        "time",
    )

    def __init__(self, kernel: Kernel, attrs: dict[str, Any], tensors: list[Tensor | None], saved: Any):
        self.time, self.kernel, self.attrs, self.saved = next(_clock), kernel, attrs, saved
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
        self.retain: Tensor | None = None
        self._held: tuple[tuple[int, list[int], int], ...] = ()
        self._locked: list[np.ndarray] = []

    def __lt__(self, other: Node) -> bool:
        return self.time > other.time  # the heap gives the latest first

    def __del__(self) -> None:
        self.release()

    @property
    def name(self) -> str:
        """The kernel's name: conv2d[im2col]."""
        return str(self.kernel)

    def hold(self, tensors: list[Tensor | None], out: Tensor) -> None:
        """Lock every Tensor's memory that was saved, and note its version. (What only `saved` holds, nobody else can reach.)"""
        saved = _arrays_in(self.saved)
        for i, t in enumerate((*tensors, out)) if saved else ():
            if t is not None:
                data = t.data
                for a in saved:
                    if a is data or overlap(a, data):
                        self._held += ((i, t._version, t._version[0]),)
                        lock(data, self._locked)
                        break

    def release(self) -> None:
        """Drop what was saved and open its locks."""
        self.saved, self.retain = FREED, None
        while self._locked:
            unlock(self._locked.pop())

    def flow(self, heap: list[Node], retain_graph: bool) -> None:
        """Hand this node's gradient to its kernel's backward, and the results to its sources."""
        dy: Array = self.grad
        self.grad, self.owned = None, False
        if self.retain is not None:
            self.retain.grad = dy.copy() if self.retain.grad is None else self.retain.grad + dy
        if self.saved is FREED:
            raise RuntimeError(
                f"backward: what {self.name} saved was freed by an earlier backward(); "
                "run the forward pass again, or call the first backward(retain_graph=True)"
            )
        self._refuse_edits()
        grads = executor.backward(self.kernel, dy, self.saved, self.needs, self.attrs)
        self._check(grads)
        given: list[Array] = [dy]
        for source, dx in zip(self.sources, grads, strict=True):
            if source is not None and dx is not None:
                deliver(source, dx, any(dx is other for other in given), heap)
                given.append(dx)
        if not retain_graph:
            self.release()
            self.sources = (None,) * len(self.sources)

    def _refuse_edits(self) -> None:
        for i, version, then in self._held:
            if version[0] != then:
                which = f"input {i} {brackets(self.shapes[i])}" if i < len(self.shapes) else "output"
                raise RuntimeError(
                    f"backward: {self.name} saved its {which} for backward, and it was changed in place afterwards "
                    f"(version {then}, now {version[0]}); edit a copy, or edit after backward()"
                )

    def _check(self, grads: tuple[Array | None, ...]) -> None:
        if len(grads) != len(self.needs):
            raise ValueError(f"{self.name}.backward: expected {len(self.needs)} gradients, one per input, got {len(grads)}")
        anomaly = anomaly_mode()
        for i, (dx, need, shape) in enumerate(zip(grads, self.needs, self.shapes, strict=True)):
            if need and (dx is None or dx.shape != shape):
                came = "None" if dx is None else brackets(dx.shape)
                raise ValueError(
                    f"{self.name}.backward: gradient {i} must have its input's shape {brackets(shape)}, got {came}"
                )
            if need and anomaly:
                _refuse_nan(dx, f"{self.name}.backward", f"gradient {i}")


FREED = object()


def deliver(source: Node | Tensor, dx: Array, shared: bool, heap: list[Node]) -> None:
    """Add a gradient to a node that waits in the heap, or to the `.grad` of a leaf."""
    if isinstance(source, Tensor):
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


def record(kernel: Kernel, attrs: dict, tensors: list[Tensor | None], arrays: tuple, y: Array, saved: Any) -> Tensor:
    """The result of a kernel as a Tensor, with a Node if any input asks for a gradient."""
    out, wanted = Tensor(y), False
    for t in tensors:
        if t is not None:
            wanted = wanted or t.requires_grad
            if overlap(y, t.data):
                out._version = t._version
    now = modes()
    if now.anomaly:
        _refuse_nan(y, str(kernel), "its output")
    if wanted and now.grad and out.data.dtype.kind == "f":
        out.requires_grad = True
        out.node = Node(kernel, attrs, tensors, saved)
        out.node.hold(tensors, out)
    if now.listener is not None:
        now.listener(kernel, attrs, arrays, out, saved)
    return out


def _as_array(data: Any, dtype: Any, device: str | None) -> Array:
    if isinstance(data, Tensor):
        data = data.data
    elif not is_array(data):
        data = np.asarray(data)
        if data.dtype == np.float64 and dtype is None:
            dtype = np.float32  # numbers and lists; an array keeps its own type
        if data.dtype.kind not in "fiubc":
            raise TypeError(f"Tensor: expected numbers or an array, got {data.dtype}")
    data = data if device is None else backend.to_device(data, device)
    return xp_of(data).asarray(data, dtype=dtype)


_PLAIN = frozenset((int, float, bool, str, bytes, type(None)))


def _arrays_in(saved: Any) -> list[Array]:
    """Every array inside a saved tuple, however nested."""
    found = []
    for value in saved if type(saved) is tuple or type(saved) is list else (saved,):
        kind = type(value)
        if kind is np.ndarray:
            found.append(value)
        elif kind is tuple or kind is list:
            found += _arrays_in(value)
        elif kind not in _PLAIN and is_array(value):
            found.append(value)
    return found


def _refuse_nan(array: Array, where: str, what: str) -> None:
    xp = xp_of(array)
    if array.dtype.kind == "f" and not bool(xp.isfinite(array).all()):
        kind = "NaN" if bool(xp.isnan(array).any()) else "infinity"
        raise FloatingPointError(f"{where}: {what} {brackets(array.shape)} holds {kind}; no op before it did")
