"""Check the gradients of any function of Tensors, by the same measurement that the laws use.

Source of the test along one random direction: the transpose identity <dy, J v> = <J^T dy, v>.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from minidl import derivative
from minidl.backend import to_numpy
from minidl.modes import no_grad
from minidl.random import stream, using_stream
from minidl.signature import brackets
from minidl.tensor import Tensor


def gradcheck(function: Callable[..., Tensor], *inputs: Any, seed: int = 0, directions: int = 3) -> bool:
    """True if the gradients of `function` at `inputs` are its measured derivatives; otherwise an AssertionError that teaches.

    function    takes the inputs, returns one Tensor of any shape; random ops see the same keys at every call
    inputs      Tensors and other values; each floating one with requires_grad is checked, in float64 on the host
    directions  random directions tried per input

    Raises AssertionError with the worst element of the first wrong gradient; ValueError where nothing can be decided: no
    input requires a gradient, or a kink (ReLU at 0, a tie in a maximum) lies within reach of the measurement.

    >>> x = Tensor([[1.0, 2.0]], requires_grad=True)
    >>> w = Tensor([[0.5], [-0.3]], requires_grad=True)
    >>> minidl.gradcheck(lambda x, w: minidl.tanh(x @ w), x, w)
    True
    >>> minidl.gradcheck(lambda w: w * w.detach(), w)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    AssertionError: gradcheck: input 0 [2,1]: element [...] is ... (0.5 times what it should be)
    """
    rng = np.random.default_rng(seed)
    points = [_leaf(value) if isinstance(value, Tensor) else value for value in inputs]
    checked = [i for i, p in enumerate(points) if isinstance(p, Tensor) and p.requires_grad]
    if not checked:
        raise ValueError("gradcheck: no input has requires_grad=True, so there is no gradient to check")
    start = stream().fork()

    if directions < 1:
        raise ValueError(f"gradcheck: directions must be 1 or more, got {directions}")

    def run(values: list[Any]) -> Tensor:
        with using_stream(start.fork()):
            return function(*values)

    out = run(points)
    if not isinstance(out, Tensor):
        raise TypeError(f"gradcheck: the function must return one Tensor, got {type(out).__name__}")
    if not out.requires_grad:
        raise AssertionError(
            "gradcheck: the result is off the tape (detached, or of an op without a gradient): every gradient is 0"
        )
    dy = np.asarray(rng.standard_normal(out.shape))
    out.backward(dy)
    for i in checked:
        dx = np.zeros(points[i].shape) if points[i].grad is None else to_numpy(points[i].grad)
        for _ in range(directions):
            _compare(run, points, i, dx, dy, rng)
    return True


def _leaf(value: Tensor) -> Tensor:
    kind = np.float64 if value.dtype.kind == "f" else value.dtype
    return Tensor(value.numpy().astype(kind), value.requires_grad)


def _slope(run: Callable, points: list[Any], i: int, dy: np.ndarray, v: np.ndarray) -> derivative.Slope:
    def at(t: float) -> np.ndarray:
        with no_grad():
            return run([*points[:i], Tensor(points[i].data + t * v), *points[i + 1 :]]).numpy()

    return derivative.measure(at, dy)


def _compare(run: Callable, points: list[Any], i: int, dx: np.ndarray, dy: np.ndarray, rng: np.random.Generator) -> None:
    v = np.asarray(rng.standard_normal(dx.shape))
    v /= max(float(np.abs(v).max(initial=0.0)), 1e-300)
    slope = _slope(run, points, i, dy, v)
    verdict = derivative.agree(float((dx * v).sum()), dx * v, slope)
    if verdict is None:
        raise ValueError(
            f"gradcheck: input {i} {brackets(dx.shape)} cannot be decided: the slope is {slope.value:.6g} give or take "
            f"{slope.doubt:.2g}. A kink or a tie is near; move the input away from it"
        )
    if not verdict:
        lesson = derivative.worst(dx, partial(_slope, run, points, i, dy))
        raise AssertionError(f"gradcheck: input {i} {brackets(dx.shape)}: {lesson}")
