"""Batch normalisation in two passes over memory: one for the sums of each slice of the batch, one for y.

A slice of m values per channel has the mean `own` and `scatter` = sum (x - own)^2. Of all M values together

    mean = sum m own / M            var = (sum scatter + sum m (own - mean)^2) / M        sums over the slices
    y    = a x + c                  a = weight (var + eps)^-1/2,  c = bias - a mean
    dx   = a dy + b x + c           b = -a (var + eps)^-1/2 dweight / M,  c = -a dbias / M - b mean

    saved : (x, weight, mean, (var + eps)^-1/2)

Nothing cancels where the mean is large: sums are taken of x less the mean of a few of its pixels. What is yielded comes
back as the sum over all slices (minidl/lockstep.py); dweight and dbias are returned as this slice's share.

Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
"""

from __future__ import annotations

from minidl.backend import Array, xp_of
from minidl.lockstep import Steps, in_step
from minidl.ops.half import narrow, widen
from minidl.ops.rows import along, as_images, as_rows, blocks, channel_guess, channel_products, channel_sums


@in_step
def forward(x: Array, weight: Array | None, bias: Array | None, *, eps: float) -> Steps:
    X, m = as_rows(widen(x)), x.size // x.shape[1]
    own, scatter = moments(X, m, x.shape[1])
    M, total, within = yield m, m * own, scatter
    mean = total / M
    (between,) = yield (m * (own - mean) ** 2,)
    var = (within + between) / M
    inverse_std = (var + eps) ** -0.5
    a = inverse_std if weight is None else weight * inverse_std
    y = X * along(a, X)
    y += along(-a * mean if bias is None else bias - a * mean, X)
    return narrow(as_images(y, x), x), (x, weight, mean, inverse_std), (mean, var)


@in_step
def backward(dy: Array, saved: tuple, needs: tuple, *, eps: float) -> Steps:
    return (yield from gradients(dy, saved, needs))


def gradients(dy: Array, saved: tuple, needs: tuple, *, spent: bool = False) -> Steps:
    """What backward returns, some rows at a time; spent: dx may take the memory of dy, which is nobody else's."""
    x, weight, mean, inverse_std = saved
    X, g, (m, C) = as_rows(widen(x)), as_rows(widen(dy)), (x.size // x.shape[1], x.shape[1])
    dx, dweight, dbias = None, None, channel_sums(g, C)
    if needs[0] or needs[1]:
        middle = along(mean, X)
        dweight = inverse_std * sum(channel_products(g[some], X[some] - middle, C) for some in blocks(X))
    if needs[0]:
        M, dweights, dbiases = yield m, dweight, dbias
        a = inverse_std if weight is None else weight * inverse_std
        b = -a * inverse_std * dweights / M
        a, b, c = (along(factor, X) for factor in (a, b, -a * dbiases / M - b * mean))
        xp = xp_of(X)
        dx = g if spent else xp.empty_like(X)
        for some in blocks(X):
            rest = X[some] * b
            rest += c
            xp.multiply(g[some], a, out=dx[some])
            dx[some] += rest
        dx = narrow(as_images(dx, x), dy)
    return dx, narrow(dweight, dy) if needs[1] else None, narrow(dbias, dy) if needs[2] else None


def moments(X: Array, m: int, C: int) -> tuple[Array, Array]:
    """The mean of each channel [C], and the sum of squares about it [C]; both from x less the mean of its first pixels."""
    guess = channel_guess(X, C)
    centred = X - along(guess, X)
    rest = channel_sums(centred, C) / m
    return guess + rest, channel_products(centred, centred, C) - m * rest**2
