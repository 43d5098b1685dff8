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
    X = as_rows(x)
    mean, var, inverse_std = yield from statistics(X, x.shape[1], eps)
    y = np.empty_like(X)
    loops().line(X, *line_through(X, weight, bias, mean, inverse_std), y)
    return as_images(y, x), (x, weight, mean, inverse_std), (mean, var)


@in_step
def backward(dy: Array, saved: tuple, needs: tuple, *, eps: float) -> Steps:
    x, weight, mean, inverse_std = saved
    X, G, C = as_rows(x), as_rows(dy), x.shape[1]
    dbias, product = sums_of(loops().products, C, G, X, along(mean, X))
    dx, dweight = None, inverse_std * product
    if needs[0]:
        sums = yield X.size // C, dweight, dbias
        dx = np.empty_like(X)
        loops().plane(G, X, *plane_through(X, weight, mean, inverse_std, sums), dx)
        dx = as_images(dx, x)
    return dx, dweight if needs[1] else None, dbias if needs[2] else None


def statistics(X: Array, C: int, eps: float) -> Steps:
    """Mean, variance and (var + eps)^-1/2 of each channel [C] over all slices of the batch."""
    m, guess = X.size // C, channel_guess(X, C)
    first, second = sums_of(loops().moments, C, X, along(guess, X))
    own = guess + first / m
    M, total, within = yield m, m * own, second - first * first / m
    mean = total / M
    (between,) = yield (m * (own - mean) ** 2,)
    var = (within + between) / M
    return mean, var, (var + eps) ** -0.5


def line_through(X: Array, weight: Array | None, bias: Array | None, mean: Array, inverse_std: Array) -> tuple[Array, Array]:
    """a and c of y = a x + c, for each number of a row."""
    a = inverse_std if weight is None else weight * inverse_std
    return along(a, X), along(-a * mean if bias is None else bias - a * mean, X)


def plane_through(X: Array, weight: Array | None, mean: Array, inverse_std: Array, sums: tuple) -> tuple[Array, Array, Array]:
    """a, b and c of dx = a dy + b x + c, for each number of a row, from M, dweight and dbias of the whole batch."""
    M, dweight, dbias = sums
    a = inverse_std if weight is None else weight * inverse_std
    b = -a * inverse_std * dweight / M
    return along(a, X), along(b, X), along(-a * dbias / M - b * mean, X)


def sums_of(loop: Any, C: int, rows: Array, *others: Array | None) -> tuple[Array, Array]:
    """What the loop adds up for each column of these rows, by channel: [C], [C]."""
    first, second = (np.zeros(rows.shape[1], rows.dtype) for _ in range(2))
    loop(rows, *others, first, second)
    return first.reshape(-1, C).sum(axis=0), second.reshape(-1, C).sum(axis=0)


def loops() -> Any:
    """Loaded when first called for."""
    from minidl.ops.batch_norm import loops

    return loops
