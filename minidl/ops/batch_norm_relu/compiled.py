"""Batch normalisation, residual and rectifier in compiled loops: in the passes that batch_norm[compiled] makes anyway.

    y = max(0, a x + c + residual)      g = dy where y > 0, else 0      dx = a g + b x + d

    saved : (x, weight, bias, mean, (var + eps)^-1/2, y), y None where there is no residual: its sign is computed again

The letters are those of batch_norm/compiled.py, whose statistics and sums these are, and d is its other c.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.lockstep import Steps, in_step
from minidl.ops.batch_norm.compiled import line_through, plane_through, statistics, sums_of
from minidl.ops.batch_norm.compiled import loops as loops_of_batch_norm
from minidl.ops.rows import along, as_images, as_rows


@in_step
def forward(x: Array, weight: Array | None, bias: Array | None, residual: Array | None, *, eps: float) -> Steps:
    X, more = as_rows(x), None if residual is None else as_rows(residual)
    mean, var, inverse_std = yield from statistics(X, x.shape[1], eps)
    Y = np.empty_like(X)
    loops().rectified(X, *line_through(X, weight, bias, mean, inverse_std), more, Y)
    y = as_images(Y, x)
    return y, (x, weight, bias, mean, inverse_std, None if residual is None else y), (mean, var)


@in_step
def backward(dy: Array, saved: tuple, needs: tuple, *, eps: float) -> Steps:
    x, weight, bias, mean, inverse_std, y = saved
    X, G, C = as_rows(x), as_rows(dy), x.shape[1]
    line, Y = line_through(X, weight, bias, mean, inverse_std), None if y is None else as_rows(y)
    masked = np.empty_like(X[:1] if y is None else X)
    dbias, product = sums_of(loops().masked_products, C, G, X, *line, Y, along(mean, X), masked)
    dx, dweight = None, inverse_std * product
    if needs[0]:
        sums = yield X.size // C, dweight, dbias
        dx, (a, b, d) = np.empty_like(X), plane_through(X, weight, mean, inverse_std, sums)
        if y is None:
            loops().masked_plane(G, X, *line, b, d, masked, dx)
        else:
            loops_of_batch_norm().plane(masked, X, a, b, d, dx)
        dx = as_images(dx, x)
    dresidual = as_images(masked, x) if needs[3] else None
    return dx, dweight if needs[1] else None, dbias if needs[2] else None, dresidual


def loops() -> Any:
    """Loaded when first called for."""
    from minidl.ops.batch_norm_relu import loops

    return loops
