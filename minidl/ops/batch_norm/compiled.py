"""Batch normalisation in compiled loops: x is read twice, once for the sums and once for y, and so are dy and x in backward.

The maths is that of `sums`, whose sums over the slices of a batch come back in the same way:

    y = a x + c       a = weight (var + eps)^-1/2,  c = bias - a mean
    dx = a dy + b x + c     b = -a (var + eps)^-1/2 dweight / M,  c = -a dbias / M - b mean

    saved : (x, weight, mean, (var + eps)^-1/2)

Why: two sums, or a sum of three terms, take NumPy two or three passes each; here they are one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.lockstep import Steps, in_step
from minidl.ops.rows import along, as_images, as_rows, channel_guess


@in_step
def forward(x: Array, weight: Array | None, bias: Array | None, *, eps: float) -> Steps:
    X, C, m = as_rows(x), x.shape[1], x.size // x.shape[1]
    guess = channel_guess(X, C)
    first, second = sums_of(loops().moments, C, X, along(guess, X))
    own = guess + first / m
    M, total, within = yield m, m * own, second - first * first / m
    mean = total / M
    (between,) = yield (m * (own - mean) ** 2,)
    var = (within + between) / M
    inverse_std = (var + eps) ** -0.5
    a, y = inverse_std if weight is None else weight * inverse_std, np.empty_like(X)
    loops().line(X, along(a, X), along(-a * mean if bias is None else bias - a * mean, X), y)
    return as_images(y, x), (x, weight, mean, inverse_std), (mean, var)


@in_step
def backward(dy: Array, saved: tuple, needs: tuple, *, eps: float) -> Steps:
    x, weight, mean, inverse_std = saved
    X, G, C, m = as_rows(x), as_rows(dy), x.shape[1], x.size // x.shape[1]
    dbias, product = sums_of(loops().products, C, G, X, along(mean, X))
    dx, dweight = None, inverse_std * product
    if needs[0]:
        M, dweights, dbiases = yield m, dweight, dbias
        a = inverse_std if weight is None else weight * inverse_std
        b, dx = -a * inverse_std * dweights / M, np.empty_like(X)
        loops().plane(G, X, along(a, X), along(b, X), along(-a * dbiases / M - b * mean, X), dx)
        dx = as_images(dx, x)
    return dx, dweight if needs[1] else None, dbias if needs[2] else None


def sums_of(loop: Any, C: int, *arrays: Array) -> tuple[Array, Array]:
    """What the loop adds up for each column of its rows, by channel: [C], [C]."""
    first, second = (np.zeros(arrays[0].shape[1], arrays[0].dtype) for _ in range(2))
    loop(*arrays, first, second)
    return first.reshape(-1, C).sum(axis=0), second.reshape(-1, C).sum(axis=0)


def loops() -> Any:
    """Loaded when first called for."""
    from minidl.ops.batch_norm import loops

    return loops
