"""Module: a part of a model, with its parameters, its buffers and the modules inside it.

A Module is an ordinary object. Its parts are its attributes, found by looking through `vars(self)` for Parameters, Buffers
and Modules; nothing is registered behind the reader's back. Names and their order are PyTorch's, so that published weights
load by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from minidl.backend import blank, is_array, to_device, to_numpy, xp_of
from minidl.modes import no_grad, no_numbers
from minidl.nn.loaded import Loaded, compare
from minidl.tensor import Tensor

M = TypeVar("M", bound="Module")
T = TypeVar("T", bound=Tensor)

PLAIN = (list, tuple, dict, set)


class Parameter(Tensor):
    """A Tensor that is trained, as an attribute of a Module."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True, *, dtype: Any = None, device: str | None = None):
        super().__init__(data, requires_grad, dtype=dtype, device=device)
        _forget_numbers(self)

    @classmethod
    def zeros(cls, *shape: int) -> Parameter:
        """A float32 parameter of this shape, for an initialiser to fill; inside `shapes_only` not even zeros are made."""
        return cls(blank(shape, np.float32) if no_numbers() else np.zeros(shape, np.float32))


class Buffer(Tensor):
    """A Tensor that is saved with the model but not trained, as an attribute of a Module: running statistics."""

    __slots__ = ()

    def __init__(self, data: Any, *, dtype: Any = None, device: str | None = None):
        super().__init__(data, False, dtype=dtype, device=device)
        _forget_numbers(self)


class HostBuffer(Buffer):
    """A Buffer that `forward` itself reads, to know which way to go: it stays on the host wherever the model is moved to.

    To read it on a GPU would wait, in each pass, for all that is queued there.
    """

    __slots__ = ()


def _forget_numbers(tensor: Tensor) -> None:
    """Inside `shapes_only` a part of a model is a shape."""
    if no_numbers():
        tensor.data = blank(tensor.shape, tensor.dtype, xp_of(tensor.data))


class Module:
    """A part of a model: derive from it, set attributes in __init__, compute in `forward`.

    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         self.dense = nn.Linear(2, 3)  # a child
    ...         self.scale = nn.Parameter(1.0)  # trained
    ...         self.seen = nn.Buffer(0.0)  # saved with the model, but not trained
    ...     def forward(self, x):
    ...         return self.scale * self.dense(x)
    >>> Net()([[1.0, 2.0]]).shape
    (1, 3)
    >>> list(Net().state_dict())
    ['scale', 'seen', 'dense.weight', 'dense.bias']
    """

    training = True  # train() and eval() set it; Dropout and BatchNorm look at it
    frozen = False  # nn.freeze sets it: train() then leaves this part in evaluation mode

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; `module(x)` calls it."""
        raise TypeError(f"{type(self).__name__} defines no forward(self, x)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """forward(*args, **kwargs)."""
        return self.forward(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        old = vars(self).get(name)
        if isinstance(old, Parameter) and not (value is None or isinstance(value, Parameter)):
            raise TypeError(
                f"{type(self).__name__}.{name} is a Parameter and would be lost to the optimiser; change its values by "
                f"`with minidl.no_grad(): module.{name}.copy_(...)`, or assign a Parameter"
            )
        if isinstance(old, Buffer) and isinstance(value, Tensor):
            value = value if isinstance(value, Buffer) else Buffer(value)
        self._refuse_hidden(name, value)
        super().__setattr__(name, value)

    def _refuse_hidden(self, name: str, value: Any) -> None:
        """Asked when an attribute is set, and again by all that look inside: a list may have been appended to."""
        if isinstance(value, PLAIN) and _hides(value):
            raise TypeError(
                f"{type(self).__name__}.{name}: a plain {type(value).__name__} hides what is inside from parameters() and "
                "state_dict(); use nn.ModuleList or nn.Sequential, or one attribute for each"
            )

    def register_buffer(self, name: str, value: Any) -> None:
        """`self.name = Buffer(value)`, as PyTorch writes it."""
        setattr(self, name, Buffer(value))

    # ---- what is inside ----------------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the modules directly inside, in the order they were set."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        """The modules directly inside."""
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted name, module) of this module and all inside it; each module once."""
        return _once(self._modules(prefix))

    def modules(self) -> Iterator[Module]:
        """This module and all inside it."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter) of this module and all inside it; a shared one once, under its first name."""
        return _once(_only(Parameter, self._tensors()))

    def parameters(self) -> Iterator[Parameter]:
        """The parameters of this module and all inside it, for an optimiser."""
        return (p for _, p in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """(dotted name, buffer) of this module and all inside it."""
        return _once(_only(Buffer, self._tensors()))

    def buffers(self) -> Iterator[Buffer]:
        """The buffers of this module and all inside it."""
        return (b for _, b in self.named_buffers())

    def _modules(self, prefix: str) -> Iterator[tuple[str, Module]]:
        for name, value in vars(self).items():
            self._refuse_hidden(name, value)
        yield prefix, self
        for name, child in self.named_children():
            yield from child._modules(f"{prefix}.{name}" if prefix else name)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every (dotted name, Tensor) in PyTorch's order: own parameters, own buffers, then child by child."""
        for prefix, module in self._modules(""):
            own = list(vars(module).items())
            for name, value in [*_only(Parameter, own), *_only(Buffer, own)]:
                yield f"{prefix}.{name}" if prefix else name, value

    # ---- state -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Name -> NumPy array of every parameter and buffer: a copy on the host, which further training leaves alone."""
        return {name: np.array(to_numpy(t.data), order="C") for name, t in self._tensors()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Loaded:
        """Overwrite parameters and buffers by the arrays (or Tensors) of the same names.

        strict  every name must match; otherwise what does not is in the result's missing_keys and unexpected_keys

        Raises ValueError that names what is wrong, shapes always included; then nothing has been loaded.
        """
        if not isinstance(state, Mapping):
            came = type(state).__name__
            raise TypeError(
                f"load_state_dict: expected names and arrays, got {came}; nn.load_weights(model, path) reads a file"
            )
        ours = dict(self._tensors())
        arrays = {name: _as_array(value) for name, value in state.items() if name in ours}
        shapes = {name: arrays[name].shape if name in arrays else () for name in state}
        found = compare(type(self).__name__, {name: t.shape for name, t in ours.items()}, shapes)
        if misfits := found.misfits(strict):
            told = "; ".join(misfits)
            raise ValueError(f"load_state_dict: this is not the state of {type(self).__name__}, nothing was loaded; {told}")
        for name in found.loaded_keys:
            if arrays[name].dtype.kind not in "fiub":
                raise TypeError(f"load_state_dict: {name} expects numbers, got {arrays[name].dtype}; nothing was loaded")
        with no_grad():
            for name in found.loaded_keys:
                ours[name].copy_(to_device(arrays[name], ours[name].device))
        return found

    # ---- changes to all that is inside -------------------------------------------------------------------------------

    def apply(self: M, function: Callable[[Module], Any]) -> M:
        """Call the function on every module inside, and last on this one; returns self."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def train(self: M, mode: bool = True) -> M:
        """Training mode: Dropout drops, BatchNorm uses and gathers the statistics of the batch; not in frozen parts."""
        for module in self.modules():
            module.training = bool(mode) and not module.frozen
        return self

    def eval(self: M) -> M:
        """Evaluation mode: Dropout passes, BatchNorm uses its running statistics."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients; the next backward() starts afresh."""
        for p in self.parameters():
            p.grad = None

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Freeze (False) or thaw every parameter; the arithmetic of frozen gradients is skipped."""
        for p in self.parameters():
            p.requires_grad = bool(requires_grad)
        return self

    def to(self: M, device: str | None = None, *, dtype: Any = None) -> M:
        """Move parameters, buffers and gradients to a device, or cast those of floating point; in place, returns self."""
        self._check_to(device, dtype)
        for tensor in [*self.parameters(), *self.buffers()]:
            for name in ("data", "grad"):
                array = getattr(tensor, name)
                if array is not None and device is not None and not isinstance(tensor, HostBuffer):
                    array = to_device(array, device)
                if array is not None and dtype is not None and array.dtype.kind == "f":
                    array = array.astype(dtype)
                setattr(tensor, name, array)
        return self

    def _check_to(self, device: Any, dtype: Any) -> None:
        kind = type(self).__name__
        if device is not None and (not isinstance(device, str) or device.startswith("float")):
            raise TypeError(f"{kind}.to: expected a device such as 'cpu', got {device!r}; a type is a keyword, .to(dtype=...)")
        if dtype is not None and np.dtype(dtype).kind != "f":
            raise TypeError(
                f"{kind}.to: parameters are floating point, got dtype {np.dtype(dtype)}; use 'float32', 'float64' or 'float16'"
            )

    # ---- printing ----------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What a layer prints in its brackets."""
        return ""

    def __repr__(self) -> str:
        extra, children = self.extra_repr(), list(self.named_children())
        if not children:
            return f"{type(self).__name__}({extra})"
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in children]
        return f"{type(self).__name__}(\n  " + "\n  ".join([extra] * bool(extra) + lines) + "\n)"


def _hides(value: Any) -> bool:
    """Does a plain container hold a Module or a Parameter, up to three deep: [(conv, norm), ...]?"""
    level: list[Any] = [value]
    for _ in range(3):
        level = list(chain.from_iterable(v.values() if isinstance(v, dict) else v for v in level if isinstance(v, PLAIN)))
        kinds = set(map(type, level))  # few, however long the list
        if any(issubclass(kind, Module | Parameter) for kind in kinds):
            return True
        if not any(issubclass(kind, PLAIN) for kind in kinds):
            return False
    return False


def _only(kind: type[T], pairs: Any) -> Iterator[tuple[str, T]]:
    return ((name, value) for name, value in pairs if isinstance(value, kind))


def _once(pairs: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Each object under its first name only."""
    seen: set[int] = set()
    for name, value in pairs:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value


def _as_array(value: Any) -> Any:
    value = value.data if isinstance(value, Tensor) else value
    return value if is_array(value) else np.asarray(value)
