"""A training step as one launch: `capture` records what a step launches on a GPU, and repeats it.

    def step(images, labels):
        loss = minidl.softmax_cross_entropy(model(images), labels)
        loss.backward()
        return loss

    step = minidl.capture(step, model)
    for images, labels in loader:
        loss = step(images, labels)          # on the CPU as before; on a GPU one launch, from the third call on
        optimizer.step()

Python needs longer to launch a small kernel than a GPU needs to run it, and a step launches hundreds. For arguments of new
shapes the first call computes as ever (kernels are chosen and compiled), the second is recorded as a CUDA graph, and from then
on its arguments are copied to where those of the recorded call lay, and the graph is launched.

What the GPU reads is read anew by each call: arguments, weights, running statistics, random keys. Keys are those that the plain
step would draw, so that it should compute the same bits. What Python reads stays as it was when the step was recorded, kernels
chosen by name (`conv2d.using`) too; where a mode, train() or eval(), requires_grad, a number that the model keeps on the host
(`nn.HostBuffer`) or the place of the weights has changed, it is recorded anew.

Source of the idea: Gray 2019, "Getting started with CUDA graphs" (NVIDIA's developer blog); PyTorch's `torch.cuda.graphs`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from minidl.backend import Array, device_of, is_array, xp_of
from minidl.cuda.recording import Launch, Recorder, recorder_of
from minidl.gpu import first_line, is_full
from minidl.modes import anomaly_mode, modes, own_products, recording
from minidl.random import Stream, stream, using_stream
from minidl.tensor import Tensor

MOST = 8  # kinds of arguments that are recorded: each keeps the memory of its results


class Parts(Protocol):
    """A model, as far as `capture` looks into it."""

    def parameters(self) -> Any:
        """Tensors that backward() gives gradients to."""

    def buffers(self) -> Any:
        """Tensors that the step may edit."""

    def modules(self) -> Any:
        """All that has a `training`."""


def capture(step: Callable[..., Any], model: Parts) -> Captured:
    """step(*arguments), recorded and repeated where it computes on a GPU (CuPy); on the CPU it is called as it is.

    step   takes Tensors and arrays, calls backward(), and returns a Tensor, an array, None or a tuple of them. It must not read
           numbers (`item()`, `if loss > 1`, printing), draw on the host (`stream().generator()`) or update weights
    model  all whose weights the step reads and whose gradients it leaves; complete, on its device. What else the step reads
           must stay where it is

    Each call begins without gradients: those of several calls do not add up. Results are off the tape. On a GPU they and the
    gradients lie where those of the call before lay, and are overwritten by the next: copy what should stay. Matrix products
    are minidl's own there (`own_products`), because CuPy's cannot be recorded; until a GPU has run them under the laws, they
    are unverified. Steps of eight kinds are recorded, by shapes and all that is looked at; a ninth is computed as ever.

    Raises RuntimeError, one line, where the step cannot be recorded; then nothing has been computed. TypeError, ValueError for
    arguments that are no arrays, need gradients, or lie elsewhere than the model.

    >>> model = nn.Linear(2, 1)
    >>> def step(x, y):
    ...     loss = minidl.mse_loss(model(x), y)
    ...     loss.backward()
    ...     return loss
    >>> fast, opt = minidl.capture(step, model), optim.SGD(model.parameters(), lr=0.1)
    >>> x, y = Tensor([[1.0, 2.0]]), Tensor([[3.0]])
    >>> losses = []
    >>> for _ in range(4):
    ...     losses.append(fast(x, y).item())
    ...     opt.step()
    >>> losses == sorted(losses, reverse=True)
    True
    """
    return Captured(step, model)


class Captured:
    """What `capture` gives: call it as the step."""

    def __init__(self, step: Callable[..., Any], model: Parts):
        self.step = step
        self._parameters, self._modules = list(model.parameters()), list(model.modules())
        self._tensors = [*self._parameters, *model.buffers()]
        self._places: list[Array] | None = None  # where the weights lay when the first call was made that still counts
        self._recorder: Recorder | None = None
        self._known: dict[Any, int | _Recorded] = {}  # kind of call -> keys that it drew, and then what was recorded

    def __call__(self, *args: Any) -> Any:
        """What the step gives for these arguments, off the tape."""
        recorder = self._settled()
        for i, a in enumerate(args):
            self._check(i, a)
        if recorder is None:
            return self._plain(args)
        if anomaly_mode():
            raise RuntimeError("capture: detect_anomaly reads every array, which a recorded step cannot; leave one of them out")
        kind = self._kind(args)
        known = self._known.get(kind)
        with own_products():
            if known is None:
                before, result = stream().position, self._plain(args)
                if len(self._known) < MOST:
                    self._known[kind] = stream().position - before
                return result
            if isinstance(known, int):
                known = self._known[kind] = self._record(recorder, args, known)
        return known(args, self._parameters)

    def _settled(self) -> Recorder | None:
        """Who records, None on the CPU; where the model's arrays are others than before, what was recorded is forgotten."""
        places = [t.data for t in self._tensors]
        if self._places is None or any(a is not b for a, b in zip(places, self._places, strict=True)):
            self._places, self._known = places, {}
            found = (recorder_of(a) for a in places if type(a) is not np.ndarray)
            self._recorder = next((recorder for recorder in found if recorder), None)
        return self._recorder

    def _check(self, i: int, value: Any) -> None:
        array = _array(value)
        if not is_array(array) or (isinstance(value, Tensor) and value.requires_grad):
            came = "a Tensor that requires a gradient" if is_array(array) else type(value).__name__
            raise TypeError(f"capture: argument {i} must be a Tensor or an array that needs no gradient, got {came}")
        if self._recorder and (there := device_of(array)) != (here := device_of(self._first())):
            raise ValueError(f"capture: argument {i} is on {there} and the model on {here}; move it with .to({here!r})")

    def _first(self) -> Array:
        return next(t.data for t in self._tensors if type(t.data) is not np.ndarray)

    def _forget_gradients(self) -> None:
        for p in self._parameters:
            p.grad = None

    def _plain(self, args: tuple) -> Any:
        self._forget_gradients()
        return _off_tape(self.step(*args))

    @property
    def reserved(self) -> int:
        """Bytes of the device that recorded calls hold between two of them, beside the weights."""
        return self._recorder.reserved if self._recorder else 0

    def _kind(self, args: tuple) -> tuple:
        """All by which a recorded call may differ from this one."""
        shapes = tuple((type(a), _array(a).shape, _array(a).strides, _array(a).dtype) for a in args)
        training = tuple(m.training for m in self._modules)
        host = tuple(t.data.tobytes() for t in self._tensors if type(t.data) is np.ndarray)
        return shapes, modes(), training, host, tuple(p.requires_grad for p in self._parameters)

    def _record(self, recorder: Recorder, args: tuple, drawn: int) -> _Recorded:
        places = tuple(_copied(a) for a in args)
        keys = xp_of(self._first()).zeros((drawn, 2), dtype=np.uint64)
        dealt = _Dealt(keys)
        try:
            with recording(), using_stream(dealt):
                result, launch = recorder.record(lambda: self._plain(places))
            if dealt.position != drawn:
                raise RuntimeError(f"it drew {drawn} keys at first, and then {dealt.position}")
        except BaseException as error:
            self._forget_gradients()  # no launch has filled them
            if not isinstance(error, RuntimeError) or is_full(error):
                raise
            why = f"capture: the step cannot be recorded: {first_line(error)}"
            raise RuntimeError(f"{why}; do that outside of the step, or do without capture") from error
        return _Recorded(places, keys, result, [p.grad for p in self._parameters], launch)


class _Recorded(NamedTuple):
    """A recorded call: where its arguments and keys lie, what it gives, and what runs it."""

    places: tuple
    keys: Array
    result: Any
    grads: list[Array | None]
    launch: Launch

    def __call__(self, args: tuple, parameters: list[Tensor]) -> Any:
        for place, given in zip(self.places, args, strict=True):
            _array(place)[...] = _array(given)
        if n := len(self.keys):
            seed, first = (int(word) for word in stream().keys(n)[0])
            self.keys[:, 0] = np.uint64(seed)
            self.keys[:, 1] = xp_of(self.keys).arange(first, first + n, dtype=np.uint64)
        self.launch()
        for p, grad in zip(parameters, self.grads, strict=True):
            p.grad = grad
        return self.result


class _Dealt(Stream):
    """Deals the keys of a recorded step out of an array on the GPU, which is filled before each launch."""

    def __init__(self, dealt: Array, position: int = 0):
        super().__init__(0, position)
        self._dealt = dealt

    def keys(self, n: int) -> Array:
        """The next n, uint64 [n, 2]."""
        first, self.position = self.position, self.position + n
        if self.position > len(self._dealt):
            raise RuntimeError(f"it drew {len(self._dealt)} keys at first, and now more")
        return self._dealt[first : self.position]

    def fork(self) -> Stream:
        """Another that deals the same from here on."""
        return _Dealt(self._dealt, self.position)

    def generator(self) -> np.random.Generator:
        """Refused: what is drawn on the host would be drawn once."""
        raise RuntimeError("it draws on the host (stream().generator())")


def _array(value: Any) -> Any:
    return value.data if isinstance(value, Tensor) else value


def _copied(value: Any) -> Any:
    """The same in a place of its own, with its axes in memory in the same order."""
    array = _array(value).copy(order="K")
    return Tensor(array) if isinstance(value, Tensor) else array


def _off_tape(result: Any) -> Any:
    if type(result) in (tuple, list):
        return type(result)(_off_tape(item) for item in result)
    if result is None or is_array(result):
        return result
    if not isinstance(result, Tensor):
        came = type(result).__name__
        raise TypeError(f"capture: a step returns a Tensor, an array, None, or a tuple or list of them, got {came}")
    return result.detach()
