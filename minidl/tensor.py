"""Tensor: an array that remembers which kernel made it.

    loss.backward()  ->  Tensor.backward  ->  im2col.backward        (the second hop is the arithmetic)

A Tensor is an array and, where a gradient is asked for, the Node (minidl/tape.py) of the call that made it.

What a node saved is locked: a raw write (`t.data[0] = 1`) to a NumPy array that the tape holds raises NumPy's
"read-only" error, and the lock opens when backward has used the array or the graph is dropped (minidl/locks.py says what a lock
cannot see). Edits through a Tensor (`t.add_`, an optimiser's step) are allowed, raise the Tensor's version, and backward
refuses to compute with what was changed.
"""

from __future__ import annotations

import heapq
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import backend, executor
from minidl.backend import Array, blank, is_array, xp_of
from minidl.locks import Version, overlap, unlocked
from minidl.methods import Methods
from minidl.modes import grad_enabled, modes, precision
from minidl.signature import brackets
from minidl.tape import Node, deliver, refuse_nan

if TYPE_CHECKING:
    from minidl.op import Kernel


class Tensor(Methods):
    """An array with a place on the tape.

    data           the array (NumPy or CuPy), not copied; Python floats become float32
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
        array = data if type(data) is np.ndarray and dtype is None and device is None else _as_array(data, dtype, device)
        if requires_grad and array.dtype.kind != "f":
            raise TypeError(f"Tensor: only floating point has gradients, got {array.dtype}; use .astype('float32')")
        self.data: Array = array
        self.requires_grad = bool(requires_grad)
        self.grad: Array | None = None
        self.node: Node | None = None
        self._version: Version = [0]  # shared by the Tensors over one memory
        if array is not data and isinstance(data, Tensor) and overlap(array, data.data):
            self._version = data._version

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

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.size == 1 and spec else str(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """np.asarray(tensor): the values, of a Tensor on the CPU."""
        if self.device != "cpu":
            raise TypeError(f"a Tensor on {self.device} is not copied to the host silently; use tensor.numpy()")
        return np.array(self.data, dtype=dtype, copy=copy)

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
        """On another device: this Tensor if it is there already, otherwise a new leaf, off the tape."""
        if backend.device_of(self.data) == backend.check_device(device):
            return self
        self._refuse_to_leave_the_tape("to", "the model by model.to(device) and the data before it is used")
        return Tensor(self.data, self.requires_grad, device=device)

    def astype(self, dtype: Any) -> Tensor:
        """With another element type: this Tensor if it has it already, otherwise a new leaf, off the tape."""
        if self.dtype == np.dtype(dtype):
            return self
        self._refuse_to_leave_the_tape("astype", "the data, or the model by model.to(dtype=...)")
        return Tensor(self.data.astype(dtype), self.requires_grad and np.dtype(dtype).kind == "f")

    def _refuse_to_leave_the_tape(self, what: str, remedy: str) -> None:
        """A copy has no way back to this Tensor's `.grad`: that must be asked for, not happen."""
        if self.requires_grad and grad_enabled():
            raise ValueError(
                f"{what}: this Tensor {brackets(self.shape)} requires a gradient, which would not come back through the copy; "
                f"change {remedy}, or detach() first"
            )

    def copy(self) -> Tensor:
        """A leaf with its own memory and the same `requires_grad`."""
        return Tensor(self.data.copy(), self.requires_grad)

    def __deepcopy__(self, memo: dict) -> Tensor:
        """For copy.deepcopy(model). A result of the tape has no copy: its node belongs to one backward."""
        if self.node is not None:
            raise TypeError("deepcopy: a Tensor that the tape made cannot be copied with its history; detach() first")
        out = memo[id(self)] = Tensor.__new__(type(self))
        out.data, out.requires_grad, out.node, out._version = self.data.copy(), self.requires_grad, None, [0]
        out.grad = None if self.grad is None else self.grad.copy()
        return out

    # ---- edits in place ----------------------------------------------------------------------------------------------

    @contextmanager
    def editing(self) -> Iterator[Array]:
        """The array, writable inside the block; afterwards the version is one higher, so backward can tell."""
        if modes().shapes:
            yield blank(self.shape, self.dtype)
            return
        if self.requires_grad and grad_enabled():
            raise RuntimeError(
                f"in-place edit of a Tensor {brackets(self.shape)} that requires a gradient: the tape could not see it; "
                "write `with minidl.no_grad():` around it, or compute a new Tensor"
            )
        if self.size > 1 and not any(self.data.strides):
            raise RuntimeError(
                f"in-place edit of a Tensor {brackets(self.shape)} without numbers: it was made inside shapes_only(); "
                "build the model outside"
            )
        with unlocked(self.data, self._version):
            self._version[0] += 1
            yield self.data

    def _edit(self, how: str, value: Any) -> Tensor:
        if modes().shapes:
            return self
        value = self._beside(value, "in-place edit")
        with self.editing() as data:
            getattr(data, how)(value)
        return self

    def copy_(self, value: Any) -> Tensor:
        """Overwrite the values."""
        self[...] = value
        return self

    def add_(self, value: Any) -> Tensor:
        """Add to the values in place."""
        return self._edit("__iadd__", value)

    def mul_(self, value: Any) -> Tensor:
        """Multiply the values in place."""
        return self._edit("__imul__", value)

    def zero_(self) -> Tensor:
        """Set every value to 0."""
        return self.copy_(0)

    def __setitem__(self, index: Any, value: Any) -> None:
        if modes().shapes:
            return
        value = self._beside(value, "in-place edit")
        with self.editing() as data:
            data[tuple(map(_plain, index)) if isinstance(index, tuple) else _plain(index)] = value

    def _beside(self, value: Any, what: str) -> Any:
        """The array of a Tensor, or what was given; ValueError for an array on another device: nothing is moved silently."""
        value = _plain(value)
        if type(value) is type(self.data) is np.ndarray or not is_array(value) or isinstance(value, np.generic):
            return value
        if (there := backend.device_of(value)) != (here := self.device):
            raise ValueError(
                f"{what}: this Tensor {brackets(self.shape)} is on {here} but the value {brackets(value.shape)} is on {there}; "
                f"move it with Tensor(value, device={here!r})"
            )
        return value

    def __iadd__(self, other: Any) -> Tensor:
        return self + other if self._on_tape_with(other) else self._edit("__iadd__", other)

    def __isub__(self, other: Any) -> Tensor:
        return self - other if self._on_tape_with(other) else self._edit("__isub__", other)

    def __imul__(self, other: Any) -> Tensor:
        return self * other if self._on_tape_with(other) else self._edit("__imul__", other)

    def __itruediv__(self, other: Any) -> Tensor:
        return self / other if self._on_tape_with(other) else self._edit("__itruediv__", other)

    def _on_tape_with(self, other: Any) -> bool:
        """Is `self += other` a new result of the tape (loss += penalty), not an edit in place (w -= lr * w.grad)?"""
        leaf = self.requires_grad and self.node is None
        wanted = self.requires_grad or (isinstance(other, Tensor) and other.requires_grad)
        return wanted and grad_enabled() and not leaf

    # ---- backward ----------------------------------------------------------------------------------------------------

    def retain_grad(self) -> Tensor:
        """Keep the gradient of this intermediate result in `.grad` too."""
        if self.node is not None:
            self.node.retain = weakref.ref(self)
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
        if modes().shapes:
            raise RuntimeError("backward: inside shapes_only() there are no numbers and no tape; leave that block first")
        if not self.requires_grad:
            raise RuntimeError(
                "backward: this Tensor is on no tape: no input had requires_grad=True, or it was made under no_grad() "
                "or shapes_only()"
            )
        xp = xp_of(self.data)
        if dy is None:
            if self.size != 1:
                raise RuntimeError(
                    f"backward: only a scalar starts by itself, this Tensor is {brackets(self.shape)}; "
                    "pass dy of that shape, or take .sum() or .mean() first"
                )
            dy = xp.ones_like(self.data)
        dy = xp.asarray(self._beside(dy, "backward"), dtype=self.dtype)
        if dy.shape != self.shape:
            raise ValueError(f"backward: dy must have shape {brackets(self.shape)}, got {brackets(dy.shape)}")
        heap: list[Node] = []
        hear = modes().after_backward
        deliver(self.node or self, dy, True, heap)
        try:
            while heap:
                node = heapq.heappop(heap)  # the latest
                dy = node.take()
                if not node.expand(dy, heap):
                    node.pass_on(dy, _gradients(node, dy), heap)
                if not retain_graph:
                    node.release()
                if hear is not None:
                    hear(node)
        finally:
            for node in heap:  # only after an error: leave nothing half-summed on the tape
                node.grad, node.owned = None, False


def _gradients(node: Node, dy: Array) -> tuple[Array | None, ...]:
    """What the kernel's backward gives, in the precision of its forward."""
    with nullcontext() if node.precision == modes().precision else precision(node.precision):
        return executor.backward(node.kernel, dy, node.saved, node.needs, node.attrs)


def record(
    kernel: Kernel, attrs: dict, tensors: list[Tensor | None], arrays: tuple, y: Array, saved: Any, aux: tuple[Tensor, ...] = ()
) -> Tensor:
    """The result of a kernel as a Tensor, with a Node if any input asks for a gradient."""
    out, wanted = Tensor(y), False
    view = type(y) is not np.ndarray or y.base is not None
    for t in tensors:
        if t is not None:
            wanted = wanted or t.requires_grad
            if y is t.data or (view and overlap(y, t.data)):
                out._version = t._version
    now = modes()
    if now.anomaly:
        refuse_nan(y, str(kernel), "its output", arrays)
    if wanted and now.grad and out.data.dtype.kind == "f":
        out.requires_grad = True
        out.node = Node(kernel, attrs, tensors, saved)
        out.node.hold(arrays, tensors, (out, *aux))
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


def _plain(value: Any) -> Any:
    """The array of a Tensor; anything else as it is."""
    return value.data if isinstance(value, Tensor) else value
