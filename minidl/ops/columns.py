"""Rows of numbers (rows.py) cut into parts, one for each block of a GPU, and their sums by channel.

    X [R, k*C]  ->  parts of 32 columns and `rows` rows  ->  partial sums [sets, P, C]  ->  sums [sets, C]

Two kernels, one after the other, and no atomics: every sum is taken in one order, so that its bits are the same in every run.
The CUDA side is cuda/columns.cuh, for sources that have more to do with a number while it is at hand. Where there is only a sum
to take, `column_sums` takes it, by columns.cu.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minidl.backend import Array, xp_of
from minidl.cuda import BLOCK, Source
from minidl.ops.half import narrow

TILE, WARPS = 32, 4  # columns of a part; rows that a block reads at once
THREADS = TILE * WARPS  # of a block
PARTS = 1 << 12  # so many blocks keep any GPU busy; more would only make more partial sums
SOURCE = Source(__file__, "columns.cu")


class Parts(NamedTuple):
    """How rows are cut; what a kernel takes as `int parts, int R, int width, int rows`."""

    blocks: int
    R: int
    width: int
    rows: int  # of a part, but for the last

    @property
    def threads(self) -> int:
        """A block for each part."""
        return self.blocks * THREADS


def parts_of(X: Array) -> Parts:
    """About PARTS parts of the rows [R, width], fewer where there are few rows."""
    (R, width), tiles = X.shape, -(-X.shape[1] // TILE)
    rows = WARPS * max(2, -(-R * tiles // (WARPS * PARTS)))
    return Parts(tiles * -(-R // rows), R, width, rows)


def partial_sums(X: Array, C: int, sets: int) -> Array:
    """Room for sums of each part by channel [sets, P, C], in float32 for half types."""
    parts = parts_of(X)
    P = -(-parts.R // parts.rows) * (parts.width // C)
    return xp_of(X).empty((sets, P, C), dtype=np.result_type(X.dtype, np.float32))


def threads_for(P: int) -> int:
    """Of a block that joins the P partial sums of a channel."""
    return min(BLOCK, TILE * max(1, -(-P // TILE)))


def joined(source: Source, partial: Array) -> Array:
    """[sets, P, C] -> [sets, C], by the kernel that columns.cuh gives every source."""
    sets, P, C = partial.shape
    total, block = xp_of(partial).empty((sets, C), dtype=partial.dtype), threads_for(P)
    source.launch("join", sets * C * block, partial, total, sets * C, P, C, block=block)
    return total


def column_sums(X: Array, Y: Array | None = None) -> Array:
    """[R, K] -> [K], of X or of X * Y. Sums of halves are taken in float32, and rounded once."""
    parts, sums = parts_of(X), partial_sums(X, X.shape[1], 1)
    given = (X,) if Y is None else (X, Y)
    SOURCE.launch("summed" if Y is None else "multiplied", parts.threads, *given, sums, *parts, block=THREADS)
    return narrow(joined(SOURCE, sums)[0], X)


def per_channel(a: Array | None, value: float, X: Array, C: int) -> Array:
    """A number for each channel [C] as a kernel reads it; all `value` where none is given."""
    xp = xp_of(X)
    return xp.full(C, value, dtype=X.dtype) if a is None else xp.ascontiguousarray(a)
