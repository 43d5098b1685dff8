"""Clipping: keep one bad batch from throwing the parameters away.

    clip_grad_norm_    g <- g min(1, max_norm / (|g| + 1e-6)),  |g| the norm of all gradients taken together
    clip_grad_value_   g <- min(max(g, -clip_value), clip_value), element by element

Both edit the gradients in place. Source: Pascanu, Mikolov, Bengio 2013, arXiv 1211.5063, algorithm 1.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable

import numpy as np

from minidl.backend import Array, xp_of
from minidl.optim.optimizer import listed, non_negative
from minidl.signature import brackets
from minidl.tensor import Tensor


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> float:
    """Scale all gradients so that their joint norm is at most max_norm; returns the norm before.

    norm_type           2 (Euclidean), any p >= 1, or math.inf (the largest magnitude)
    error_if_nonfinite  a NaN or infinite norm is an error; otherwise a warning, and the gradients become NaN or 0

    >>> w = Tensor([0.0, 0.0], requires_grad=True)
    >>> (w * Tensor([6.0, 8.0])).sum().backward()
    >>> optim.clip_grad_norm_([w], max_norm=5.0)
    10.0
    >>> w.grad.round(4).tolist()
    [3.0, 4.0]
    """
    non_negative("clip_grad_norm_", {"max_norm": max_norm}, "max_norm")
    if not norm_type >= 1:
        raise ValueError(f"clip_grad_norm_: norm_type must be 1 or more (math.inf: the largest magnitude), got {norm_type!r}")
    grads = _gradients("clip_grad_norm_", parameters)
    total = _joint_norm(grads, float(norm_type))
    if not math.isfinite(total):
        message = f"clip_grad_norm_: the norm is {total}: {culprit(grads)}; minidl.detect_anomaly() names the op"
        if error_if_nonfinite:
            raise FloatingPointError(message)
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    factor = float(max_norm) / (total + 1e-6)
    if not factor >= 1:  # also where it is NaN
        with np.errstate(invalid="ignore"):  # infinity times 0: said above
            for g in grads:
                g *= factor
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of every gradient to [-clip_value, clip_value]."""
    non_negative("clip_grad_value_", {"clip_value": clip_value}, "clip_value")
    for g in _gradients("clip_grad_value_", parameters):
        g[...] = xp_of(g).clip(g, -float(clip_value), float(clip_value))


def _gradients(caller: str, parameters: Tensor | Iterable[Tensor]) -> list[Array]:
    """Those there are, themselves: what edits them edits the parameters' `.grad`."""
    given = [parameters] if isinstance(parameters, Tensor) else listed(caller, parameters)
    return [p.grad for p in given if p.grad is not None]


def _joint_norm(grads: list[Array], p: float) -> float:
    """(sum |g|^p)^(1/p) over all elements of all gradients, in float32 or wider; one wait for the device."""
    if not grads:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # the caller says what a NaN or an infinity means
        parts = [_power_sum(g.astype(np.result_type(g.dtype, np.float32), copy=False), p) for g in grads]
        if p == math.inf:
            return float(xp_of(grads[0]).stack(parts).max())
        return float(sum(parts)) ** (1 / p)


def _power_sum(g: Array, p: float) -> Array:
    """sum |g|^p as a 0-d array; the largest |g| for p = inf."""
    xp = xp_of(g)
    if p == 2:
        g = g.reshape(-1)
        return xp.dot(g, g)
    return xp.abs(g).max() if p == math.inf else (xp.abs(g) ** p).sum()


def culprit(grads: list[Array]) -> str:
    """Which gradient is to blame, if one is."""
    for i, g in enumerate(grads):
        if not bool(xp_of(g).isfinite(g).all()):
            return f"gradient {i}, shape {brackets(g.shape)}, holds NaN or infinity"
    return "every gradient is finite, their sum of powers is not"
