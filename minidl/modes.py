"""The engine's modes: one context variable, set by `with` blocks, never a hidden global.

A thread sees them if it runs in a copy of the context: `contextvars.copy_context().run(work)`, as the executor's will.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple


class Modes(NamedTuple):
    """What holds where the code runs now."""

    grad: bool = True  # is the tape recording?
    anomaly: bool = False  # is every result checked for NaN and infinity?
    replay: bool = False  # is `recompute` running a segment the second time?
    listener: Callable | None = None  # who hears of every op: listener(kernel, attrs, arrays, out, saved)


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
    """`with enable_grad():` records again inside a no_grad block."""
    return _with(grad=True)


def grad_enabled() -> bool:
    """Is the tape recording?"""
    return modes().grad


def detect_anomaly() -> AbstractContextManager[None]:
    """`with detect_anomaly():` names the op that first makes a NaN or an infinity, forward or backward. Slow."""
    return _with(anomaly=True)


def anomaly_mode() -> bool:
    """Are results being checked for NaN?"""
    return modes().anomaly


def listening(listener: Callable) -> AbstractContextManager[None]:
    """`with listening(f):` calls f(kernel, attrs, arrays, out, saved) for every op (summaries, profilers)."""
    return _with(listener=listener)


def replaying() -> AbstractContextManager[None]:
    """`with replaying():` marks the second run of a recomputed segment."""
    return _with(replay=True)


def is_replay() -> bool:
    """Is `recompute` running a segment the second time? Running statistics are left alone then."""
    return modes().replay
