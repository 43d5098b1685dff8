"""The engine's modes. Each is a context variable: set by a `with` block, seen by worker threads, never a hidden global."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_GRAD: ContextVar[bool] = ContextVar("gradients are recorded", default=True)
_ANOMALY: ContextVar[bool] = ContextVar("every result is checked for NaN", default=False)
_REPLAY: ContextVar[bool] = ContextVar("recompute runs a segment again", default=False)
_LISTENER: ContextVar[Callable | None] = ContextVar("who hears of every op", default=None)


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


def listener() -> Callable | None:
    """Who hears of every op, if anyone."""
    return _LISTENER.get()


def enable_grad() -> Any:
    """`with enable_grad():` records again inside a no_grad block."""
    return _mode(_GRAD, True)


def replaying() -> Any:
    """`with replaying():` marks the second run of a recomputed segment."""
    return _mode(_REPLAY, True)


def is_replay() -> bool:
    """Is `recompute` running a segment the second time? Running statistics are left alone then."""
    return _REPLAY.get()
