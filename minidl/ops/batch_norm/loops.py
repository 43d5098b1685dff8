"""The loops of batch_norm[compiled], on rows of numbers that belong to channel after channel, again and again."""

from __future__ import annotations

from minidl.jit import loop


@loop
def moments(X, middle, first, second):  # type: ignore[no-untyped-def]
    """first += sum of x - middle, second += sum of its square, column by column."""
    for r in range(len(X)):
        row = X[r]
        for i in range(len(row)):
            d = row[i] - middle[i]
            first[i] += d
            second[i] += d * d


@loop
def products(G, X, middle, first, second):  # type: ignore[no-untyped-def]
    """first += sum of g, second += sum of g (x - middle), column by column."""
    for r in range(len(X)):
        g, row = G[r], X[r]
        for i in range(len(row)):
            first[i] += g[i]
            second[i] += g[i] * (row[i] - middle[i])


@loop
def line(X, a, c, y):  # type: ignore[no-untyped-def]
    """y = a x + c, column by column."""
    for r in range(len(X)):
        row, out = X[r], y[r]
        for i in range(len(row)):
            out[i] = a[i] * row[i] + c[i]


@loop
def plane(G, X, a, b, c, y):  # type: ignore[no-untyped-def]
    """y = a g + b x + c, column by column."""
    for r in range(len(X)):
        g, row, out = G[r], X[r], y[r]
        for i in range(len(row)):
            out[i] = a[i] * g[i] + b[i] * row[i] + c[i]
