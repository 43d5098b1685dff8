"""What training needs of memory, forecast for any batch from real steps on one image and on two.

What an op allocates grows with the batch along a line: weights and their gradients do not, images and what is kept for backward
do. The peak of a step does not: for one image it may lie in the gradient of a dense layer or in the optimiser, for many in the
first convolution. So each step is taken apart at its events, one after every op, every backward of an op, and the update;
each event has a line through its two peaks, and the forecast is the largest of all lines at the batch asked for.

The peaks come from `tracemalloc`, to which NumPy reports. What it cannot see is not in the figures: the interpreter and the
buffers of BLAS (some 70 MB), what malloc keeps for later, the data set, and the best weights of which `minidl train` keeps a
copy. Of a net smaller than that, under a megabyte, the forecast is rough: Python's own objects blur the lines. Batches are
computed whole; in slices (`minidl.threads`, and so `minidl train`) the workspace is smaller, and the forecast an upper bound.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from minidl.backend import Array, is_array
from minidl.evaluation import loss_of, output_of
from minidl.modelfile import Model
from minidl.modes import as_for_batch, is_replay, listening, shapes_only
from minidl.naming import naming
from minidl.op import Kernel
from minidl.optim import Optimizer
from minidl.random import Stream, using_stream
from minidl.recipe import Recipe
from minidl.signature import ShapeError
from minidl.tape import Node
from minidl.tensor import Tensor


class Saved(NamedTuple):
    """Bytes that the tape holds for one op between forward and backward, beside the parameters and what earlier ops hold."""

    name: str
    op: str
    output: list[int]  # for one image
    saved_bytes: int


@dataclass(frozen=True)
class Memory:
    """A forecast, in bytes. `workspace`: what comes and goes within the event that has the peak."""

    batch_size: int
    optimizer: str
    measured_at: tuple[int, int]
    weights: int
    gradients: int
    optimizer_state: int
    saved: int
    workspace: int
    peak: int
    peak_at: str
    layers: list[Saved]
    accumulate: int = 1  # batches in a step
    depths: tuple[int, int] | None = None  # of the nets measured in the place of a deeper one; then `layers` is empty
    in_place: dict[str, Any] = field(default_factory=dict)  # options of what was measured that are others than the net's

    def as_json(self) -> dict[str, Any]:
        """For programs; the layers are told by the summary."""
        optional = {"depths", "in_place"}
        return {name: value for name, value in vars(self).items() if name != "layers" and (value or name not in optional)}

    def __str__(self) -> str:
        parts = {
            "weights": self.weights,
            "gradients": self.gradients,
            f"state of {self.optimizer}": self.optimizer_state,
            "saved for backward": self.saved,
            "workspace at the peak": self.workspace,
        }
        width = max(map(len, parts))
        lines = [f"  {name:<{width}}  {amount(size):>10}" for name, size in parts.items()]
        lines.append(f"  {'peak':<{width}}  {amount(self.peak):>10}  {self.peak_at}")
        images = "1 image" if self.batch_size == 1 else f"{self.batch_size} images"
        if self.accumulate > 1:
            images = f"{self.accumulate} batches of {images}"
        one, two = self.measured_at
        steps = f"steps on {one} and {two}" + (" of nets with {} and {} layers".format(*self.depths) if self.depths else "")
        steps += ", with " + ", ".join(f"{name}={value}" for name, value in self.in_place.items()) if self.in_place else ""
        head = f"A training step on {images}, forecast from {steps}; its parts are not all there at once:"
        note = "Of batches computed whole; `minidl train` computes large ones in slices, and needs less workspace."
        return "\n".join([head, *lines, note])


def amount(size: float) -> str:
    """Bytes as a person reads them: 1.2 MiB, with MiB = 2^20 bytes."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def forecast(model: Model, batch_size: int, optimizer: str | None = None, accumulate: int = 1) -> Memory:
    """What a training step on so many images needs. The model is trained on two batches of noise, and then put back.

    optimizer   a name of the recipe's; its default if not given
    accumulate  batches in a step: of more than one, all but the first find gradients there, which stay while they compute
    """
    return forecasts(model, batch_size, optimizer, accumulate)(batch_size)


def forecasts(model: Model, batch_size: int, optimizer: str | None = None, accumulate: int = 1) -> Callable[[int], Memory]:
    """The forecast for any batch, from the same two steps; kernels are chosen as for `batch_size`."""
    if any(p.device != "cpu" for p in model.parameters()):
        raise ValueError(f"{type(model).__name__} is on {next(model.parameters()).device}; memory is measured on the CPU")
    recipe = Recipe() if optimizer is None else Recipe(optimizer=optimizer)
    with _put_back(model), _tracing(), using_stream(Stream()), as_for_batch(batch_size), np.errstate(all="ignore"):
        rule = recipe.build_optimizer(model.parameters())
        batches, (one, two) = _two_steps(model, rule, batch_size, again=accumulate > 1)
        state = sum(array.nbytes for slots in rule.state for array in slots.values())
        gradients = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    weights = sum(t.data.nbytes for t in (*model.parameters(), *model.buffers()))

    def for_batch(batch_size: int) -> Memory:
        at = _Line(batches, batch_size)
        events = list(zip(one.events, two.events, strict=True))
        peaks = [at(a.peak, b.peak) for a, b in events]
        highest = int(np.argmax(peaks))
        layers = [a._replace(saved_bytes=at(a.saved_bytes, b.saved_bytes)) for a, b in zip(one.layers, two.layers, strict=True)]
        return Memory(
            batch_size,
            recipe.optimizer,
            batches,
            weights,
            gradients,
            state,
            sum(layer.saved_bytes for layer in layers),
            at(*(event.workspace for event in events[highest])),
            weights + state + (gradients if accumulate > 1 else 0) + peaks[highest],
            events[highest][0].label,
            layers,
            accumulate,
        )

    return for_batch


def along_depth(shallow: Memory, deep: Memory, depths: tuple[int, int], depth: int) -> Memory:
    """The forecast for a net of this depth from those of two other depths, for nets too deep to be measured themselves.

    True where every stage grows with the depth along a line; the peak is taken to stay where the deeper of the two has it, but
    is no less than what the update needs, which has weights, gradients and state before it.
    """
    at = _Line(depths, depth)
    parts = ("weights", "gradients", "optimizer_state", "saved", "workspace", "peak")
    figures: dict[str, Any] = {name: at(getattr(shallow, name), getattr(deep, name)) for name in parts}
    at_update = figures["weights"] + figures["gradients"] + figures["optimizer_state"]
    if figures["peak"] < at_update:
        figures |= {"peak": at_update, "peak_at": "the update", "workspace": 0}
    return replace(deep, **figures, layers=[], depths=depths)


class _Line(NamedTuple):
    """The line through what was measured at two batches, or two depths, at a third."""

    measured: tuple[int, int]
    wanted: int

    def __call__(self, first: int, second: int) -> int:
        one, two = self.measured
        return max(0, round(first + (second - first) / (two - one) * (self.wanted - one)))


# ---- a step, taken apart ---------------------------------------------------------------------------------------------


class _Event(NamedTuple):
    """From the end of the event before to the end of this one."""

    label: str
    peak: int  # bytes traced at most
    workspace: int  # of these, what was there neither before nor after


class _Step:
    """One training step on noise: its events, and what each op saved."""

    def __init__(self, model: Model, optimizer: Optimizer, images: int):
        self.events: list[_Event] = []
        self.layers: list[Saved] = []
        self.labels: dict[int, str] = {}  # time of a node -> what to call it
        self.counted = {id(_owner(p.data)) for p in model.parameters()}
        self.start = self.now = tracemalloc.get_traced_memory()[0]
        noise = np.random.default_rng(0).standard_normal((images, *model.input_shape), dtype=np.float32)
        tracemalloc.reset_peak()
        with naming(model) as self.calls, listening(self.forward, self.backward):
            self.take(model, optimizer, Tensor(noise), np.zeros(images, np.int64))

    def take(self, model: Model, optimizer: Optimizer, images: Tensor, labels: Array) -> None:
        """Forward, backward, update, as the trainer does them."""
        out = output_of(model, images)
        self.calls.append("(loss)")
        loss = loss_of(model, out, labels)
        loss.backward()
        optimizer.step()
        self.event("the update")

    def forward(self, kernel: Kernel, attrs: dict[str, Any], arrays: tuple, out: Tensor, saved: Any) -> None:
        """An op has run."""
        name = self.calls[-1] or "(model)"
        if out.node is not None:
            self.labels[out.node.time] = f"in the backward of {name}, {kernel.op.name}"
            if not is_replay():  # what `recompute` makes again is held for its segment alone
                self.layers.append(Saved(self.calls[-1], kernel.op.name, [1, *out.shape[1:]], self.bytes_of(saved)))
        self.event(f"in {name}, {kernel.op.name}")

    def backward(self, node: Node) -> None:
        """Backward has passed a node."""
        self.event(self.labels.get(node.time, node.name))

    def event(self, label: str) -> None:
        """All since the last event was for this."""
        before, (self.now, peak) = self.now, tracemalloc.get_traced_memory()
        self.events.append(_Event(label, peak - self.start, peak - max(before, self.now)))
        tracemalloc.reset_peak()

    def bytes_of(self, saved: Any) -> int:
        """Bytes that these arrays keep alive, and no earlier op does."""
        total = 0
        for array in map(_owner, _arrays_in(saved)):
            if id(array) not in self.counted:
                self.counted.add(id(array))
                total += array.nbytes
        return total


def _two_steps(model: Model, optimizer: Optimizer, batch_size: int, again: bool) -> tuple[tuple[int, int], list[_Step]]:
    """Steps on two batches, after one that makes the optimiser's state; on more images where one is refused.

    again  each adds to the gradients of the one before
    """
    batches = (1, 2)
    try:
        _settle(model, batches[0])
    except ShapeError as error:  # batch norm, where one image gives one value a channel
        if batch_size == 1:
            raise ValueError(f"{type(model).__name__}: no forecast, a step on 1 image is refused: {error}") from error
        batches = (2, 3)
        _settle(model, batches[0])
    _settle(model, batches[1])
    _Step(model, optimizer, batches[0])
    steps = []
    for images in batches:
        if not again:
            optimizer.zero_grad()
        steps.append(_Step(model, optimizer, images))
    if [e.label for e in steps[0].events] != [e.label for e in steps[1].events]:
        raise ValueError(f"{type(model).__name__} calls other ops on {batches[0]} images than on {batches[1]}: no forecast")
    return batches, steps


def _settle(model: Model, images: int) -> None:
    """Pass the shapes, so that what does not fit is told, and what is remembered of a first call is not taken for its need."""
    with shapes_only():
        out = output_of(model, Tensor(np.zeros((images, *model.input_shape), np.float32)))
        loss_of(model, out, np.zeros(images, np.int64))


@contextmanager
def _tracing() -> Iterator[None]:
    """tracemalloc is on inside the block; if it was on before, it goes on."""
    was = tracemalloc.is_tracing()
    if not was:
        tracemalloc.start()
    try:
        yield
    finally:
        if not was:
            tracemalloc.stop()


@contextmanager
def _put_back(model: Model) -> Iterator[None]:
    """In training mode inside the block; afterwards weights, statistics, gradients and modes are what they were."""
    state, modes = model.state_dict(), [(module, module.training) for module in model.modules()]
    gradients = [(p, p.grad) for p in model.parameters()]
    model.zero_grad()
    model.train()
    try:
        yield
    finally:
        model.load_state_dict(state)
        for p, grad in gradients:
            p.grad = grad
        for module, mode in modes:
            module.training = mode


def _arrays_in(saved: Any) -> Iterator[Array]:
    if isinstance(saved, tuple | list):
        for value in saved:
            yield from _arrays_in(value)
    elif is_array(saved):
        yield saved


def _owner(array: Array) -> Array:
    """The array that owns the memory a view looks at: a small view keeps all of it alive."""
    while isinstance(getattr(array, "base", None), type(array)):
        array = array.base
    return array
