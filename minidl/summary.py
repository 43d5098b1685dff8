"""What a model is made of, layer by layer, read off one forward pass.

The model predicts on a black image while `modes.listening` hears of every op: its output's shape, the parameters among its
inputs, its multiply-adds (the op's own `cost`) and the bytes it saves for backward. So what is counted is what runs, also for
models that call ops without layers; each parameter and each saved array is counted once, where it is first met.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from minidl import nn
from minidl.backend import Array, is_array
from minidl.modelfile import Model
from minidl.modes import listening
from minidl.op import Kernel
from minidl.tensor import Tensor
from minidl.train import predicting


@dataclass(frozen=True)
class Layer:
    """One op of the pass: the module that called it, and what it costs for the whole batch."""

    name: str
    op: str
    output: list[int]
    parameters: int
    macs: int
    saved_bytes: int


@dataclass(frozen=True)
class Summary:
    """A model's layers and their sums. `unused_parameters`: those that the pass did not touch."""

    model: str
    input: list[int]
    batch_size: int
    layers: list[Layer]
    unused_parameters: int

    @property
    def parameters(self) -> int:
        """All numbers that training changes."""
        return sum(layer.parameters for layer in self.layers) + self.unused_parameters

    @property
    def macs(self) -> int:
        """Multiply-adds of the pass."""
        return sum(layer.macs for layer in self.layers)

    @property
    def saved_bytes(self) -> int:
        """What the tape holds between forward and backward, beside the parameters."""
        return sum(layer.saved_bytes for layer in self.layers)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "model": self.model,
            "input": self.input,
            "batch_size": self.batch_size,
            "parameters": self.parameters,
            "unused_parameters": self.unused_parameters,
            "macs": self.macs,
            "saved_bytes": self.saved_bytes,
            "layers": [asdict(layer) for layer in self.layers],
        }

    def __str__(self) -> str:
        images = f", batch of {self.batch_size}" if self.batch_size > 1 else ""
        head = ("layer", "op", "output", "parameters", "MACs", "saved bytes")
        rows = [_row(layer) for layer in self.layers]
        if self.unused_parameters:
            rows.append(("(not used in this pass)", "", "", f"{self.unused_parameters:,}", "", ""))
        total = ("total", "", "", f"{self.parameters:,}", f"{self.macs:,}", f"{self.saved_bytes:,}")
        shape = " x ".join(map(str, self.input))
        return f"{self.model}, input {shape}{images}\n\n" + "\n".join(_table([head, *rows, total]))


def summarise(model: Model, batch_size: int = 1) -> Summary:
    """Count what one forward pass of the model does, as it predicts, on a batch of black images."""
    pass_ = _Pass(model)
    shape, device = tuple(model.input_shape), next((p.device for p in model.parameters()), "cpu")
    with predicting(model), _naming(model, pass_.calls), listening(pass_.hear):
        model(Tensor(np.zeros((batch_size, *shape), np.float32), device=device))
    unused = sum(p.size for p in pass_.parameters.values())
    return Summary(type(model).__name__, list(shape), batch_size, pass_.layers, unused)


class _Pass:
    """Listens to a forward pass and makes one Layer of every op."""

    def __init__(self, model: nn.Module):
        self.layers: list[Layer] = []
        self.calls: list[str] = []  # names of the modules whose forward is running, the innermost last
        self.parameters = {id(p.data): p.data for p in model.parameters()}  # not met yet
        self.counted = {id(_memory(a)) for a in self.parameters.values()}  # memory that is not the op's own
        self.keep: list[Any] = []  # an id is good only while its array lives

    def hear(self, kernel: Kernel, attrs: dict[str, Any], arrays: tuple, out: Tensor, saved: Any) -> None:
        """One op has run."""
        shapes = tuple(None if a is None else a.shape for a in arrays)
        self.keep += [arrays, saved]
        own = sum(self.parameters.pop(id(a)).size for a in arrays if id(a) in self.parameters)
        macs = kernel.op.cost(*shapes, **attrs).macs
        name = self.calls[-1] if self.calls else ""
        self.layers.append(Layer(name, kernel.op.name, list(out.shape), own, macs, self._bytes(saved)))

    def _bytes(self, saved: Any) -> int:
        """Bytes that these arrays keep alive, and no earlier layer does."""
        total = 0
        for array in _arrays_in(saved):
            memory = _memory(array)
            if id(memory) not in self.counted:
                self.counted.add(id(memory))
                total += memory.nbytes
        return total


@contextmanager
def _naming(model: nn.Module, calls: list[str]) -> Iterator[None]:
    """While the block runs, `calls` tells which module is computing: each module's `forward` notes its name and goes on."""
    modules = list(model.named_modules())
    for name, module in modules:
        vars(module)["forward"] = _noted(module.forward, name, calls)
    try:
        yield
    finally:
        for _, module in modules:
            del vars(module)["forward"]


def _noted(forward: Any, name: str, calls: list[str]) -> Any:
    def noted(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        try:
            return forward(*args, **kwargs)
        finally:
            calls.pop()

    return noted


def _arrays_in(saved: Any) -> Iterator[Array]:
    if isinstance(saved, tuple | list):
        for value in saved:
            yield from _arrays_in(value)
    elif is_array(saved):
        yield saved


def _memory(array: Array) -> Array:
    """The array that owns the memory a view looks at: a small view keeps all of it alive."""
    while isinstance(getattr(array, "base", None), type(array)):
        array = array.base
    return array


def _row(layer: Layer) -> tuple[str, ...]:
    shape = " x ".join(map(str, layer.output))
    numbers = (f"{n:,}" if n else "-" for n in (layer.parameters, layer.macs, layer.saved_bytes))
    return (layer.name or "(model)", layer.op, shape, *numbers)


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Columns in line: words to the left, numbers to the right; a rule under the first row and above the last."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rule = "  ".join("-" * width for width in widths)
    for i, row in enumerate(rows):
        if i in (1, len(rows) - 1):
            yield rule
        cells = [c.ljust(w) if j < 3 else c.rjust(w) for j, (c, w) in enumerate(zip(row, widths, strict=True))]
        yield "  ".join(cells).rstrip()
