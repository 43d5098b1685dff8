"""What a model is made of, layer by layer, read off one pass without numbers.

The model predicts one image inside `shapes_only` while `modes.listening` hears of every op: its output's shape, the parameters
among its inputs, its multiply-adds (the op's own `cost`) and how much of the image it sees. So what is counted is what runs,
also for models that call ops without layers, and a model built inside `shapes_only` takes no memory for its weights. Each
parameter is counted once, where it is first met; what predicting does not meet (heads that help training) is counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from operator import add
from typing import Any

import numpy as np

from minidl.evaluation import output_of, predicting
from minidl.memory import Memory, Saved
from minidl.modelfile import Model
from minidl.modes import listening, shapes_only
from minidl.naming import naming
from minidl.op import Kernel
from minidl.receptive_field import IMAGE, Field, field_of, told
from minidl.tensor import Tensor

LEGEND = (
    "MACs: multiply-adds for one image",
    "sees: how many rows (x columns) of the image one position of the output depends on",
)
IN_TRAINING = "*: called in training alone; saved bytes: what the tape keeps for backward, counted once"
BATCH_NORM = dict.fromkeys(("batch_norm_inference", "batch_norm_relu"), "batch_norm")  # ops that do its work, by one name
AUXILIARY = "auxiliary: parameters that predicting does not use, not in the total"


@dataclass(frozen=True)
class Layer:
    """One op of the pass on one image: the module that called it, and what it costs.

    receptive_field  [rows, columns] of the image that one position of the output sees, "all" of it, or None: not known
    """

    name: str
    op: str
    output: list[int]
    parameters: int
    macs: int
    receptive_field: list[int] | str | None


@dataclass(frozen=True)
class Summary:
    """A model's layers as it predicts, and their sums.

    auxiliary_parameters  those that predicting does not use
    memory                what a training step needs, where it was asked for
    """

    model: str
    input: list[int]
    layers: list[Layer]
    auxiliary_parameters: int
    memory: Memory | None = None

    @property
    def parameters(self) -> int:
        """All numbers that predicting uses and training changes."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        return sum(layer.macs for layer in self.layers)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        layers = [asdict(layer) for layer in self.layers]
        value: dict[str, Any] = {
            "model": self.model,
            "input": self.input,
            "parameters": self.parameters,
            "macs": self.macs,
            "auxiliary_parameters": self.auxiliary_parameters,
            "layers": layers,
        }
        if self.memory:
            saved, more = self.saved(self.memory)
            if self.memory.layers:
                value["layers"] = [{**layer, "saved_bytes": n} for layer, n in zip(layers, saved, strict=True)]
            value["memory"] = {**self.memory.as_json(), "only_in_training": [row._asdict() for row in more]}
        return value

    def saved(self, memory: Memory) -> tuple[list[int], list[Saved]]:
        """Bytes saved for backward by each layer, and the ops that only training calls (dropout, auxiliary heads, the loss)."""
        of_training = dict(zip(_calls(memory.layers), memory.layers, strict=True))
        saved = [of_training.pop(call, None) for call in _calls(self.layers)]
        return [row.saved_bytes if row else 0 for row in saved], list(of_training.values())

    def __str__(self) -> str:
        rows = [("layer", "op", "output", "parameters", "MACs", "sees"), *map(_row, self.layers)]
        rows.append(("total", "", "", f"{self.parameters:,}", f"{self.macs:,}", ""))
        if self.auxiliary_parameters:
            rows.append(("auxiliary", "", "", f"{self.auxiliary_parameters:,}", "", ""))
        in_each = self.memory is not None and bool(self.memory.layers)  # a forecast along depth knows only the sums
        if self.memory and in_each:
            rows = self._with_saved(rows, self.memory)
        lines = [f"{self.model}, input {_sizes(self.input)}", "", *_table(rows), "", *LEGEND]
        lines += [AUXILIARY] if self.auxiliary_parameters else []
        lines += [IN_TRAINING] if in_each else []
        return "\n".join(lines + (["", str(self.memory)] if self.memory else []))

    def _with_saved(self, rows: list[tuple[str, ...]], memory: Memory) -> list[tuple[str, ...]]:
        """A column more, and the rows that only training has."""
        saved, more = self.saved(memory)
        n = 1 + len(self.layers)
        column = ["saved bytes", *map(_number, saved), _number(memory.saved), *[""] * (len(rows) - n - 1)]
        rows = [(*row, cell) for row, cell in zip(rows, column, strict=True)]
        training = [(f"{row.name or '(model)'} *", row.op, _sizes(row.output[1:])) for row in more]
        numbers = [("-", "-", "-", _number(row.saved_bytes)) for row in more]
        return [*rows[:n], *map(add, training, numbers), *rows[n:]]


def summarise(model: Model) -> Summary:
    """Count what the model does as it predicts one image. Nothing is computed, and the model is left as it was."""
    device = next((p.device for p in model.parameters()), "cpu")
    with shapes_only(), predicting(model), naming(model) as calls:
        images = Tensor(np.broadcast_to(np.float32(0), (1, *model.input_shape)), device=device)  # takes no memory
        pass_ = _Pass(calls, {id(p.data): p.size for p in model.parameters()}, {id(images.data): IMAGE}, [images])
        with listening(pass_.hear):
            output_of(model, images)
    return Summary(type(model).__name__, list(model.input_shape), pass_.layers, sum(pass_.parameters.values()))


@dataclass
class _Pass:
    """Listens to a pass and makes one Layer of every op. Arrays are known by their id, which is good while they live."""

    calls: list[str]
    parameters: dict[int, int]  # array -> size, of those not met yet
    fields: dict[int, Field]  # array -> what it sees, of those that depend on the image
    keep: list[Any]
    layers: list[Layer] = field(default_factory=list)

    def hear(self, kernel: Kernel, attrs: dict[str, Any], arrays: tuple, out: Tensor, saved: Any) -> None:
        """One op has run."""
        op, shapes = kernel.op, [None if a is None else a.shape for a in arrays]
        self.keep += [arrays, out.data]
        inputs = [(self.fields[id(a)], a.shape) for a in arrays if id(a) in self.fields]
        if inputs:
            seen = op.sees(*shapes, **attrs) if op.sees else None
            self.fields[id(out.data)] = field_of(seen, inputs, out.shape)
        own = sum(self.parameters.pop(id(a), 0) for a in arrays)
        macs, sees = op.cost(*shapes, **attrs).macs, told(self.fields.get(id(out.data)))
        self.layers.append(Layer(self.calls[-1], op.name, list(out.shape), own, macs, sees))


# ---- as text ---------------------------------------------------------------------------------------------------------


def _row(layer: Layer) -> tuple[str, ...]:
    numbers = map(_number, (layer.parameters, layer.macs))
    return (layer.name or "(model)", layer.op, _sizes(layer.output[1:]), *numbers, _seen(layer.receptive_field))


def _number(n: int) -> str:
    return f"{n:,}" if n else "-"


def _sizes(shape: list[int]) -> str:
    return "x".join(map(str, shape)) or "1"


def _seen(sees: list[int] | str | None) -> str:
    if isinstance(sees, list):
        return _sizes(sees if sees[0] != sees[1] else sees[:1])
    return sees or "?"


def _calls(rows: Iterable[Layer] | Iterable[Saved]) -> Iterator[tuple[str, str, int]]:
    """(module, op, which of its calls of that op): by this a layer of one pass is found in another."""
    count: Counter = Counter()
    for row in rows:
        call = row.name, BATCH_NORM.get(row.op, row.op)
        count[call] += 1
        yield *call, count[call]


def _table(rows: list[tuple[str, ...]], words: int = 3) -> Iterator[str]:
    """Columns in line: the first `words` to the left, numbers to the right; a rule under the head and above the total."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rule = "  ".join("-" * width for width in widths)
    for i, row in enumerate(rows):
        if i == 1 or row[:2] == ("total", ""):
            yield rule
        cells = [c.ljust(w) if j < words else c.rjust(w) for j, (c, w) in enumerate(zip(row, widths, strict=True))]
        yield "  ".join(cells).rstrip()
