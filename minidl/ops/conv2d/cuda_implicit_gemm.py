"""Convolution on the GPU's tensor cores, the windows never unrolled in memory: implicit_gemm.cu.

    y[n,p,q,:]  = sum over r, s of  x[n, p sh + r dh - top, q sw + s dw - left, :] F[:, r, s, :]       gathered
    dx          : the same gathering of dy, by filters that are turned. With stride, the rows h of dx fall into sh classes; each
                  sees its own r (those with h + top - r dh divisible by sh), every step = sh / gcd(sh, dh)-th, and
                  p = (h + top - r dh) / sh goes down by step dh / sh from one to the next. Columns likewise
    dw          = dY^T X, summed over parts of the rows, and the parts added up in their order
    db          : the sums of the columns of dY, by columns.cu; no factor is rounded for them

    saved : (x, w), as im2col

It is meant for tf32 and bf16 (`minidl.precision`). float64, and float32 in full precision, are computed exactly and slowly.

Source: Chetlur et al. 2014, "cuDNN: efficient primitives for deep learning", section 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from minidl.backend import Array, xp_of
from minidl.cuda import Source
from minidl.cuda.packs import AT_ONCE, pack_size
from minidl.cuda.tiles import TENSOR
from minidl.modes import modes
from minidl.ops.columns import SOURCE as COLUMNS
from minidl.ops.columns import column_sums
from minidl.ops.groups import groups_of
from minidl.signature import Shape
from minidl.window import Pair, Sides, Windows, channels_first, channels_last

PRODUCTS = {"float32": 0, "tf32": 1, "bf16": 2}
LARGE = {"WM": 2, "WN": 2, "MT": 4, "NT": 8, **TENSOR}  # tiles of 128 x 128
SMALL = {"WM": 2, "WN": 1, "MT": 1, "NT": 2, **TENSOR}  # and of 32 x 16
FULL = 64  # from so many on large tiles are expected to be the faster ones; a guess, no GPU has measured it
WORKSPACE = 1 << 26  # numbers in the parts of dw
_ALWAYS: ContextVar[bool] = ContextVar("large tiles, however few", default=False)

SOURCE = Source(
    __file__,
    "implicit_gemm.cu",
    capability=80,
    ways={
        "float32": [
            {"PRODUCTS": products, "TOGETHER": together, **tile}
            for products, together, tile in (
                (0, 4, SMALL),
                (1, 4, LARGE),
                (1, 1, LARGE),
                (1, 4, SMALL),
                (2, 4, LARGE),
                (2, 1, SMALL),
            )
        ],
        "float64": [{"PRODUCTS": 0, "TOGETHER": together, **SMALL} for together in (1, 2)],
    },
    also=(COLUMNS,),
)


class Axis(NamedTuple):
    """Along one axis: what the first tap of place p sees, p * stride + first; how many taps, and how far apart they are."""

    places: int
    stride: int
    first: int
    taps: int
    gap: int


def forward(
    x: Array, w: Array, b: Array | None, *, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> tuple[Array, tuple]:
    xp, (N, C), (K, Cg, _, _) = xp_of(x), x.shape[:2], w.shape
    axes = seen_by(x.shape, w.shape, stride, padding, dilation)
    X, F = channels_last(x), xp.ascontiguousarray(w.transpose(0, 2, 3, 1))
    y = xp.empty((N, axes[0].places, axes[1].places, K), dtype=x.dtype)
    strides = tuple(step // y.itemsize for step in y.strides[:3])
    b = None if b is None else xp.ascontiguousarray(b)
    for c, k in groups_of(groups, C, K):
        at = k.start or 0
        gather(X, c.start or 0, F, at * F[0].size, b, y, at, strides, axes, (Cg, K // groups))
    return channels_first(y), (x, w)


def backward(dy: Array, saved: tuple, needs: tuple, *, stride: Pair, padding: Sides, dilation: Pair, groups: int) -> tuple:
    x, w = saved
    xp, (C, K), dY, dx, dw = xp_of(x), (x.shape[1], len(w)), channels_last(dy), None, None
    if needs[0]:
        dx = channels_first(xp.zeros((len(x), *x.shape[2:], C), dtype=dy.dtype))
        for c, k in groups_of(groups, C, K):
            into(channels_last(dx), c.start or 0, dY, k.start or 0, w[k], stride, padding, dilation)
    if needs[1]:
        X, dF = channels_last(x), xp.empty((K, *w.shape[2:], w.shape[1]), dtype=dy.dtype)
        for c, k in groups_of(groups, C, K):
            products(dY, k, X, c, dF, seen_by(x.shape, w.shape, stride, padding, dilation))
        dw = dF.transpose(0, 3, 1, 2)
    return dx, dw, column_sums(dY.reshape(-1, K)) if needs[2] else None


def seen_by(x: Shape, w: Shape, stride: Pair, padding: Sides, dilation: Pair) -> tuple[Axis, Axis]:
    """What the windows see, along rows and columns."""
    windows = Windows.over(x, w, stride, padding, dilation)
    rows, columns = (Axis(windows.grid[i], stride[i], -padding[2 * i], windows.size[i], dilation[i]) for i in (0, 1))
    return rows, columns


def classes(length: int, size: int, stride: int, before: int, dilation: int) -> Iterator[tuple[int, slice, Axis]]:
    """Along one axis: the first place of each class of places, the taps that it sees, and where these lie in dy."""
    step = stride // math.gcd(stride, dilation)
    for a in range(min(stride, length)):
        first = next((r for r in range(size) if (a + before - r * dilation) % stride == 0), size)
        taps = len(range(first, size, step))
        if taps:
            where = (a + before - first * dilation) // stride
            yield a, slice(first, None, step), Axis(len(range(a, length, stride)), 1, where, taps, -(step * dilation // stride))


def into(dx: Array, dx_at: int, dY: Array, dY_at: int, w: Array, stride: Pair, padding: Sides, dilation: Pair) -> None:
    """Fill one group's channels of dx [N, H, W, C], zero before, from dY [N, P, Q, K]; w are the group's filters."""
    (_, H, W, C), (Kg, Cg, R, S), xp = dx.shape, w.shape, xp_of(dx)
    image, row, pixel = (step // dx.itemsize for step in dx.strides[:3])
    for a, r, rows in classes(H, R, stride[0], padding[0], dilation[0]):
        for b, s, columns in classes(W, S, stride[1], padding[2], dilation[1]):
            F = xp.ascontiguousarray(w.transpose(1, 2, 3, 0)[:, r, s])  # [C, taps, taps, K]
            steps = image, row * stride[0], pixel * stride[1]
            gather(dY, dY_at, F, 0, None, dx, (a * W + b) * C + dx_at, steps, (rows, columns), (Kg, Cg))


def gather(
    source: Array, source_at: int, F: Array, F_at: int, b: Array | None, out: Array, out_at: int, strides: tuple[int, ...],
    axes: tuple[Axis, Axis], channels: Pair,
) -> None:  # fmt: skip
    """Write sum of source times F, for every place, at out_at + n, p, q times `strides`; channels: those in and out."""
    (N, H, W, pixel), (rows, columns) = source.shape, axes
    count, places = N * rows.places * columns.places, (rows.places, columns.places)
    together = pack_size(AT_ONCE // source.itemsize, source, F, counts=(source_at, F_at))
    how = tiles(count, channels[1], source) | {"TOGETHER": together}
    high, wide = tile_of(how)
    blocks = -(-count // high) * -(-channels[1] // wide)
    launch(
        "gathered", blocks, (high + wide) * (how["DEEP"] + 4), how, source, F, F if b is None else b, out, count, channels[1],
        channels[0], *places, H, W, rows.stride, rows.first, columns.stride, columns.first, rows.taps, columns.taps, rows.gap,
        columns.gap, source_at, pixel, F_at, out_at if b is not None else 0, int(b is not None), out_at, *strides,
    )  # fmt: skip


def products(dY: Array, k: slice, X: Array, c: slice, dF: Array, axes: tuple[Axis, Axis]) -> None:
    """Fill the group's part of dF [K, R, S, Cg]."""
    (N, H, W, C), (K, R, S, Cg), (rows, columns), xp = X.shape, dF.shape, axes, xp_of(X)
    count, outputs, depth = N * rows.places * columns.places, len(range(K)[k]), R * S * Cg
    dY_at, X_at = k.start or 0, c.start or 0
    together = pack_size(AT_ONCE // X.itemsize, dY, X, counts=(outputs, Cg, dY_at, X_at))
    how = tiles(outputs, depth, X) | {"TOGETHER": together}
    high, wide = tile_of(how)
    blocks = -(-outputs // high) * -(-depth // wide)
    most = max(1, min(4 * FULL // blocks, count // (2 * how["DEEP"]), WORKSPACE // (outputs * depth)))
    each = -(-count // most)
    splits = -(-count // each)
    parts = xp.empty((splits, outputs, depth), dtype=dF.dtype)
    launch(
        "weights", blocks * splits, how["DEEP"] * (high + wide + 16), how, dY, X, parts, count, outputs, Cg, rows.places,
        columns.places, H, W, rows.stride, rows.first, columns.stride, columns.first, R, S, rows.gap, columns.gap, dY_at, K,
        X_at, C, splits, each,
    )  # fmt: skip
    numbers = outputs * depth
    SOURCE.launch("joined", numbers, dF, parts, dF, numbers, splits, dY_at * depth, 0, **how)


def launch(name: str, blocks: int, piece: int, how: dict[str, int], *args: Any) -> None:
    """Launch with pieces of so many numbers in shared memory."""
    threads, shared = 32 * how["WM"] * how["WN"], how["STAGES"] * piece * args[0].itemsize
    SOURCE.launch(name, blocks * threads, *args, block=threads, shared=shared, **how)


def tiles(rows: int, columns: int, like: Array) -> dict[str, int]:
    """How products are taken, and by large tiles where there are enough of them; exact ones by small tiles always."""
    kind = PRODUCTS[modes().precision] if like.itemsize == 4 else 0
    large = _ALWAYS.get() or (rows // 128) * (columns // 64) >= FULL
    return {"PRODUCTS": kind, **(LARGE if kind and large else SMALL)}


@contextmanager
def large_tiles() -> Iterator[None]:
    """`with large_tiles():` takes large ones however few they are: so small problems judge them. Exact products take none."""
    token = _ALWAYS.set(True)
    try:
        yield
    finally:
        _ALWAYS.reset(token)


def tile_of(how: dict[str, int]) -> Pair:
    """Rows and columns of a block's tile."""
    return 16 * how["MT"] * how["WM"], 8 * how["NT"] * how["WN"]
