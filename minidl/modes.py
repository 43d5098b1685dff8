"""The engine's modes: one context variable, set by `with` blocks, never a hidden global.

A thread sees them if it runs in a copy of the context: `contextvars.copy_context().run(work)`, as the executor's will.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from minidl.random import Stream, using_stream


class Modes(NamedTuple):
    """What holds where the code runs now."""

    grad: bool = True  # is the tape recording?
    anomaly: bool = False  # is every result checked for NaN and infinity?
    replay: bool = False  # is `recompute` running a segment the second time?
    shapes: bool = False  # does every op give an array of the right shape and type, and compute nothing?
    listener: Callable | None = None  # who hears of every op: listener(kernel, attrs, arrays, out, saved)
    after_backward: Callable | None = None  # who hears when backward is done with a node: after_backward(node)


_MODES: ContextVar[Modes] = ContextVar("modes", default=Modes())  # noqa: B039  (immutable)
modes = _MODES.get


@contextmanager
def _with(**changes: Any) -> Iterator[None]:
    token = _MODES.set(_MODES.get()._replace(**changes))
    try:
        yield
    finally:
        _MODES.reset(token)


def no_grad() -> AbstractContextManager[None]:
    """`with no_grad():` computes without a tape: evaluation, and edits of parameters.

    >>> w = Tensor([1.0], requires_grad=True)
    >>> with minidl.no_grad():
    ...     y = 2 * w
    >>> y.requires_grad, (2 * w).requires_grad
    (False, True)
    """
    return _with(grad=False)


def enable_grad() -> AbstractContextManager[None]:
    """`with enable_grad():` records again inside a no_grad block; not inside shapes_only, where there is nothing to record."""
    return _with(grad=not modes().shapes)


def grad_enabled() -> bool:
    """Is the tape recording?"""
    return modes().grad


@contextmanager
def shapes_only() -> Iterator[None]:
    """`with shapes_only():` every op checks its inputs and gives the right shape and type, but computes nothing.

    Such an array takes no memory: it is one 0, seen everywhere (`numpy()` shows zeros). Parameters made inside are so too;
    initialisers draw nothing, edits in place change nothing, and the stream stays where it is. So the largest model is built
    and passed in a moment. There is no tape.

    >>> with minidl.shapes_only():
    ...     layer = nn.Linear(100_000, 100_000)  # 40 GB of weights, if they were there
    ...     y = layer(Tensor([[0.0] * 100_000]))
    >>> y.shape, layer.weight.shape
    ((1, 100000), (100000, 100000))
    """
    with _with(shapes=True, grad=False, anomaly=False), using_stream(Stream()):
        yield


def no_numbers() -> bool:
    """Are arrays mere shapes (`shapes_only`)?"""
    return modes().shapes


def detect_anomaly() -> AbstractContextManager[None]:
    """`with detect_anomaly():` names the op that first makes a NaN or an infinity, forward or backward. Slow."""
    return _with(anomaly=True)


def anomaly_mode() -> bool:
    """Are results being checked for NaN?"""
    return modes().anomaly


def listening(listener: Callable, backward: Callable | None = None) -> AbstractContextManager[None]:
    """`with listening(f, g):` calls f(kernel, attrs, arrays, out, saved) after every op, and g(node) after backward has passed
    a node, which is the `out.node` of an op (summaries, profilers)."""
    return _with(listener=listener, after_backward=backward)


def replaying() -> AbstractContextManager[None]:
    """`with replaying():` marks the second run of a recomputed segment."""
    return _with(replay=True)


def is_replay() -> bool:
    """Is `recompute` running a segment the second time? Running statistics are left alone then."""
    return modes().replay
