"""The loops of batch_norm_relu[compiled]: batch norm's, with the residual and the rectifier in the same pass.

In backward a row of dy is masked and, while the cache has it, handed to batch norm's own loops. Whether there is a residual is
known where a loop is compiled: what `is None` rules out is not in it.
"""

from __future__ import annotations

from minidl.jit import loop
from minidl.ops.batch_norm.loops import plane, products


@loop
def rectified(X, a, c, residual, y):  # type: ignore[no-untyped-def]
    """y = max(0, a x + c + residual), column by column; NaN where that is NaN."""
    for r in range(len(X)):
        row, out = X[r], y[r]
        for i in range(len(row)):
            z = a[i] * row[i] + c[i]
            if residual is not None:
                z += residual[r, i]
            out[i] = 0 if z <= 0 else z


@loop
def mask(G, X, a, c, y, r, out):  # type: ignore[no-untyped-def]
    """Row r of g = dy where y > 0, else 0; a x + c tells where, if y is None."""
    g, row = G[r], X[r]
    for i in range(len(row)):
        z = a[i] * row[i] + c[i] if y is None else y[r, i]
        out[i] = g[i] if z > 0 else 0


@loop
def masked_products(G, X, a, c, y, middle, masked, first, second):  # type: ignore[no-untyped-def]
    """first += sum of g, second += sum of g (x - middle), column by column; masked = g, or its last row."""
    for r in range(len(X)):
        k = r % len(masked)
        mask(G, X, a, c, y, r, masked[k])
        products(masked[k : k + 1], X[r : r + 1], middle, first, second)


@loop
def masked_plane(G, X, a, c, slope, level, masked, dx):  # type: ignore[no-untyped-def]
    """dx = a g + slope x + level, column by column; masked = g's last row."""
    for r in range(len(X)):
        mask(G, X, a, c, None, r, masked[0])
        plane(masked, X[r : r + 1], a, slope, level, dx[r : r + 1])
