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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import backend, executor
from minidl.backend import Array, is_array, xp_of
from minidl.random import Stream, stream, using_stream
from minidl.signature import brackets

if TYPE_CHECKING:
    from minidl.op import Kernel

_clock = itertools.count()
_GRAD: ContextVar[bool] = ContextVar("gradients are recorded", default=True)
_ANOMALY: ContextVar[bool] = ContextVar("every result is checked for NaN", default=False)
_REPLAY: ContextVar[bool] = ContextVar("recompute runs a segment again", default=False)
_LISTENER: ContextVar[Callable | None] = ContextVar("who hears of every op", default=None)


class Tensor:
    """An array with a place on the tape.

    data           the array (NumPy or CuPy); Python numbers and lists become float32
    requires_grad  should backward() leave a gradient here?
    grad           after backward(): an array of the same shape, type and device, summed over all calls; or None
    """

    __slots__ = ("__weakref__", "_version", "data", "grad", "node", "requires_grad")
    __array_ufunc__ = None  # numpy_array * tensor calls Tensor.__rmul__, not a loop over elements

    def __init__(self, data: Any, requires_grad: bool = False, *, dtype: Any = None, device: str | None = None):
        if isinstance(data, Tensor):
            data = data.data
        elif not is_array(data):
            data = np.asarray(data)
            if data.dtype == np.float64 and dtype is None:
                dtype = np.float32  # numbers and lists; an array keeps its own type
            if data.dtype.kind not in "fiubc":
                raise TypeError(f"Tensor: expected numbers or an array, got {data.dtype}")
        data = data if device is None else backend.to_device(data, device)
        self.data: Array = xp_of(data).asarray(data, dtype=dtype)
        if requires_grad and self.data.dtype.kind != "f":
            raise TypeError(f"Tensor: only floating point has gradients, got {self.data.dtype}; use .astype('float32')")
        self.requires_grad, self.grad = bool(requires_grad), None
        self.node: Node | None = None
        self._version = [0]  # shared by every Tensor that sees the same memory

    # ---- what it is --------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def device(self) -> str:
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

    def copy(self) -> Tensor:
        """A leaf with its own memory and the same `requires_grad`."""
        return Tensor(self.data.copy(), self.requires_grad)

    # ---- edits in place ----------------------------------------------------------------------------------------------

    @contextmanager
    def editing(self) -> Iterator[Array]:
        """The array, writable inside the block; afterwards the version is one higher, so backward can tell."""
        if self.requires_grad and _GRAD.get():
            raise RuntimeError(
                f"in-place edit of a Tensor {brackets(self.shape)} that requires a gradient: the tape could not see it; "
                "write `with minidl.no_grad():` around it, or compute a new Tensor"
            )
        self._version[0] += 1
        with _unlocked(self.data):
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
        _deliver(self.node or self, dy, False, heap)
        while heap:
            node = heapq.heappop(heap)
            node.flow(heap, retain_graph)


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
        self.needs = tuple(t is not None and t.requires_grad for t in tensors)
        self.sources = tuple((t.node or t) if t is not None and t.requires_grad else None for t in tensors)
        self.shapes = tuple(None if t is None else t.data.shape for t in tensors)
        self.grad: Array | None = None
        self.owned = False  # may `grad` be added to in place?
        self.retain: Tensor | None = None
        self._held: tuple[tuple[str, list[int], int], ...] = ()
        self._locked: list[np.ndarray] = []

    def __lt__(self, other: Node) -> bool:
        return self.time > other.time  # the heap gives the latest first

    def __del__(self) -> None:
        self.release()

    @property
    def name(self) -> str:
        return str(self.kernel)

    def hold(self, tensors: list[Tensor | None], out: Tensor) -> None:
        """Lock what was saved, and note the version of every Tensor whose memory it is."""
        saved = list(_arrays_in(self.saved))
        if not saved:
            return
        named = [(f"input {i}", t) for i, t in enumerate(tensors) if t is not None] + [("output", out)]
        sharing = [(name, t) for name, t in named if any(a is t.data or _overlap(a, t.data) for a in saved)]
        self._held = tuple((f"{name} {brackets(t.shape)}", t._version, t._version[0]) for name, t in sharing)
        for array in saved + [t.data for _, t in sharing]:
            if type(array) is np.ndarray:
                _lock(array, self._locked)

    def release(self) -> None:
        """Drop what was saved and open its locks."""
        self.saved = FREED
        while self._locked:
            _unlock(self._locked.pop())

    def flow(self, heap: list[Node], retain_graph: bool) -> None:
        """Hand this node's gradient to its kernel's backward, and the results to its sources."""
        dy, self.grad, self.owned = self.grad, None, False
        if self.retain is not None:
            self.retain.grad = dy if self.retain.grad is None else self.retain.grad + dy
        if self.saved is FREED:
            raise RuntimeError(
                f"backward: what {self.name} saved was freed by an earlier backward(); "
                "run the forward pass again, or call the first backward(retain_graph=True)"
            )
        for which, version, then in self._held:
            if version[0] != then:
                raise RuntimeError(
                    f"backward: {self.name} saved its {which} for backward, and it was changed in place afterwards "
                    f"(version {then}, now {version[0]}); edit a copy, or edit after backward()"
                )
        grads = executor.backward(self.kernel, dy, self.saved, self.needs, self.attrs)
        self._check(grads)
        given: list[Array] = [dy]
        for source, dx in zip(self.sources, grads, strict=True):
            if source is not None and dx is not None:
                _deliver(source, dx, any(dx is other for other in given), heap)
                given.append(dx)
        if not retain_graph:
            self.release()
            self.sources = (None,) * len(self.sources)

    def _check(self, grads: tuple[Array | None, ...]) -> None:
        if len(grads) != len(self.needs):
            raise ValueError(f"{self.name}.backward: expected {len(self.needs)} gradients, one per input, got {len(grads)}")
        for i, (dx, need, shape) in enumerate(zip(grads, self.needs, self.shapes, strict=True)):
            if need and (dx is None or dx.shape != shape):
                came = "None" if dx is None else brackets(dx.shape)
                raise ValueError(
                    f"{self.name}.backward: gradient {i} must have its input's shape {brackets(shape)}, got {came}"
                )
            if need and _ANOMALY.get():
                _refuse_nan(dx, f"{self.name}.backward", f"gradient {i}")


class _Recomputed(Node):
    """A segment whose inside was thrown away; backward runs it forward again and lets the gradient flow through that."""

    __slots__ = ("function", "inputs", "stream")
    name = "recompute"  # type: ignore[assignment]

    def __init__(self, function: Callable, inputs: tuple, drawn: Stream, out: Tensor):
        super().__init__(None, {}, [i if isinstance(i, Tensor) else None for i in inputs], ())  # type: ignore[arg-type]
        self.function, self.inputs, self.stream = function, inputs, drawn
        self.saved = tuple(i.data for i in inputs if isinstance(i, Tensor))
        self.hold([i if isinstance(i, Tensor) else None for i in inputs], out)

    def flow(self, heap: list[Node], retain_graph: bool) -> None:
        dy, self.grad = self.grad, None
        if self.saved is FREED:
            raise RuntimeError("backward: this recomputed segment was freed by an earlier backward(); run forward again")
        if any(version[0] != then for _, version, then in self._held):
            raise RuntimeError("backward: an input of a recomputed segment was changed in place after the forward pass")
        replayed = Stream(self.stream.seed, self.stream.position)
        token, grad_token = _REPLAY.set(True), _GRAD.set(True)
        try:
            with using_stream(replayed):
                out = self.function(*self.inputs)
        finally:
            _REPLAY.reset(token)
            _GRAD.reset(grad_token)
        if out.requires_grad:  # its nodes are later than all that wait, so they come next, in the order of a plain tape
            _deliver(out.node or out, dy, True, heap)
        if not retain_graph:
            self.release()
            self.inputs = ()


FREED = object()


def _deliver(source: Node | Tensor, dx: Array, shared: bool, heap: list[Node]) -> None:
    """Add a gradient to a node that waits in the heap, or to the `.grad` of a leaf."""
    if isinstance(source, Tensor):
        if source.grad is None:  # a leaf's gradient must be its own memory: clipping edits it in place
            source.grad = dx.copy() if shared or getattr(dx, "base", None) is not None else dx
        else:
            source.grad = source.grad + dx
    elif source.grad is None:
        source.grad = dx
        heapq.heappush(heap, source)
    elif source.owned:
        source.grad += dx
    else:
        source.grad, source.owned = source.grad + dx, True


def record(kernel: Kernel, attrs: dict, tensors: list[Tensor | None], arrays: tuple, y: Array, saved: Any) -> Tensor:
    """The result of a kernel as a Tensor, with a Node if any input asks for a gradient."""
    out = Tensor(y)
    for t in tensors:
        if t is not None and (y is t.data or (type(y) is np.ndarray and y.base is not None and _overlap(y, t.data))):
            out._version = t._version
    if _ANOMALY.get():
        _refuse_nan(y, str(kernel), "its output")
    if _GRAD.get() and any(t is not None and t.requires_grad for t in tensors) and out.data.dtype.kind == "f":
        out.requires_grad = True
        out.node = Node(kernel, attrs, tensors, saved)
        out.node.hold(tensors, out)
    if (listener := _LISTENER.get()) is not None:
        listener(kernel, attrs, arrays, out, saved)
    return out


# ---- modes -----------------------------------------------------------------------------------------------------------


@contextmanager
def _mode(variable: ContextVar, value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def no_grad() -> Any:
    """`with no_grad():` computes without a tape: evaluation, and edits of parameters."""
    return _mode(_GRAD, False)


def grad_enabled() -> bool:
    """Is the tape recording?"""
    return _GRAD.get()


def detect_anomaly() -> Any:
    """`with detect_anomaly():` names the op that first makes a NaN or an infinity, forward or backward. Slow."""
    return _mode(_ANOMALY, True)


def anomaly_mode() -> bool:
    """Are results being checked for NaN?"""
    return _ANOMALY.get()


def listening(listener: Callable) -> Any:
    """`with listening(f):` calls f(kernel, attrs, arrays, out, saved) for every op (summaries, profilers)."""
    return _mode(_LISTENER, listener)


def is_replay() -> bool:
    """Is `recompute` running a segment the second time? Running statistics are left alone then."""
    return _REPLAY.get()


def recompute(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """function(*inputs), keeping only the inputs: backward runs it again (Chen, Xu, Zhang, Guestrin 2016).

    Trades one more forward pass of the segment for all the memory inside it. Loss, gradients and buffers are equal to
    the plain pass bit for bit: random keys are replayed and running statistics updated once. `function` returns one Tensor.
    """
    if not _GRAD.get():
        return function(*inputs)
    current = stream()
    start = Stream(current.seed, current.position)
    with no_grad():
        out = function(*inputs)
    if any(out is i for i in inputs):
        return out
    out.requires_grad = True
    out.node = _Recomputed(function, inputs, start, out)
    return out


# ---- locks and checks --------------------------------------------------------------------------------------------------

_locks: dict[int, int] = {}  # id of an array -> how many nodes hold it
_waiting: dict[int, list[np.ndarray]] = {}  # id of a base -> views that can be unlocked only after it


def _lock(array: np.ndarray, locked: list[np.ndarray]) -> None:
    """Make an array and the memory behind it read-only, remembering each in `locked`."""
    for a in (array, array.base):
        if type(a) is np.ndarray and (a.flags.writeable or id(a) in _locks):
            _locks[id(a)] = _locks.get(id(a), 0) + 1
            a.flags.writeable = False
            locked.append(a)


def _unlock(array: np.ndarray) -> None:
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
def _unlocked(array: Array) -> Iterator[None]:
    """Let the engine itself write to an array that the tape locked."""
    chain = [a for a in (getattr(array, "base", None), array) if type(a) is np.ndarray and id(a) in _locks]
    for a in chain:
        a.flags.writeable = True
    try:
        yield
    finally:
        for a in chain:
            a.flags.writeable = False


def _overlap(a: Array, b: Array) -> bool:
    return type(a) is np.ndarray and type(b) is np.ndarray and np.may_share_memory(a, b)


def _arrays_in(saved: Any) -> Iterator[Array]:
    """Every array inside a saved tuple, however nested."""
    if isinstance(saved, tuple | list):
        for value in saved:
            yield from _arrays_in(value)
    elif is_array(saved):
        yield saved


def _refuse_nan(array: Array, where: str, what: str) -> None:
    xp = xp_of(array)
    if array.dtype.kind == "f" and not bool(xp.isfinite(array).all()):
        kind = "NaN" if bool(xp.isnan(array).any()) else "infinity"
        raise FloatingPointError(f"{where}: {what} {brackets(array.shape)} holds {kind}; no op before it did")
