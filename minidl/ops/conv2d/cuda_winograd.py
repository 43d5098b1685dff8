"""Winograd's convolution on the GPU: the transforms by winograd.cu, t*t products between them. Tiles of 4 x 4 outputs.

    U = G w G^T     V = B x B^T     M = V U^T     y = A^T M A + b

    dM = A dy A^T   dU = dM^T V     dw = G^T dU G     dV = dM U      dx = B^T dV B     db : the sum of dy (columns.cu)

    saved : (x, U); V and M, (t / m)^2 of x and y, are made for a part of the batch at a time (parts.py)

The t*t products are one of three dimensions, which CuPy computes in IEEE float32 whatever CUPY_TF32 says. In TF32 (V and U
rounded to its 10 bits) the error of y is 3e-3 of the largest |y| for 3x3 filters, 8e-3 for 5x5, where im2col has 3e-4 and
2e-4: the transforms multiply what is rounded away.

Why: a transform reads an image once and writes its tiles once, and 3x3 filters take a quarter of the multiply-adds. A pixel of
dx is gathered from the tiles that saw it, without atomics.

Refused is what winograd.py refuses. Source: Lavin, Gray 2016, "Fast algorithms for convolutional neural networks".
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from minidl.backend import Array, xp_of
from minidl.cuda import Source, matrix
from minidl.ops.columns import SOURCE as COLUMNS
from minidl.ops.columns import column_sums
from minidl.ops.conv2d import winograd
from minidl.ops.conv2d.cook_toom import exact
from minidl.ops.conv2d.parts import parts_of, too_large
from minidl.ops.conv2d.tiles import Tiles
from minidl.ops.conv2d.winograd import by_place, tiles_of
from minidl.ops.gemm import product
from minidl.ops.groups import groups_of
from minidl.signature import Shape
from minidl.window import Pair, Sides, channels_first, channels_last

M = 4  # m, the rows and columns of outputs in a tile


@cache
def known(R: int, S: int) -> dict[str, Any]:
    """What the compiler should know of filters of R x S."""
    found: dict[str, Any] = {"R": R, "S": S}
    for r, letter, way in ((R, "R", "DOWN"), (S, "S", "ACROSS")):
        m = M if r > 1 else 1
        found |= {f"M{letter}": m, f"T{letter}": m + r - 1}
        found |= {f"{name}_{way}": matrix(rows) for name, rows in zip("AGB", exact(m, r), strict=True)}
    return found


SOURCE = Source(__file__, "winograd.cu", numbers=("float32", "float64"), also=(COLUMNS,), **known(5, 5))  # the largest


def forward(
    x: Array, U: Array, b: Array | None, *, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> tuple[Array, tuple]:
    (N, C), K, tiles, xp = x.shape[:2], U.shape[2], tiles_of(x, U, padding, M), xp_of(x)
    pixels, y = channels_last(x), xp.empty((N, *tiles.map, K), dtype=x.dtype)
    bias = xp.zeros(K, dtype=x.dtype) if b is None else xp.ascontiguousarray(b)
    for part in parts_of(N, largest(x.shape, K, groups, tiles)):
        for c, k in groups_of(groups, C, K):
            F = by_place(U[:, :, k]).transpose(0, 2, 1)  # [t*t, Cg, K / groups]
            to_outputs(product(from_inputs(pixels[part], tiles, c), F), bias, y[part], tiles, k)
    return channels_first(y), (x, U)


def backward(dy: Array, saved: tuple, needs: tuple, *, stride: Pair, padding: Sides, dilation: Pair, groups: int) -> tuple:
    x, U = saved
    dY, dx, dU = channels_last(dy), None, None
    if needs[0] or needs[1]:
        dx, dU = gradients(dY, x, U, tiles_of(x, U, padding, M), groups, needs)
    return dx, dU, column_sums(dY.reshape(-1, U.shape[2])) if needs[2] else None


def gradients(dY: Array, x: Array, U: Array, tiles: Tiles, groups: int, needs: tuple) -> tuple[Array | None, Array | None]:
    """dx and dU, part by part."""
    xp, (N, C, H, W), K = xp_of(dY), x.shape, U.shape[2]
    pixels: Array = channels_last(x) if needs[1] else None
    dx: Array = xp.empty((N, H, W, C), dtype=dY.dtype) if needs[0] else None
    dU: Array = xp.zeros_like(U) if needs[1] else None
    for part in parts_of(N, largest(x.shape, K, groups, tiles)):
        for c, k in groups_of(groups, C, K):
            dM = from_outputs(dY[part], tiles, k)
            if needs[0]:
                to_inputs(product(dM, by_place(U[:, :, k])), dx[part], tiles, c)
            if needs[1]:
                more = product(dM.transpose(0, 2, 1), from_inputs(pixels[part], tiles, c))
                dU[:, :, k] += more.reshape(*tiles.inputs, *more.shape[1:])
    return channels_first(dx) if needs[0] else None, dU


def from_inputs(pixels: Array, tiles: Tiles, c: slice) -> Array:
    """V [t*t, T, Cg] of x [N, H, W, C]."""
    return transformed("inputs", pixels, tiles, c, *corner(tiles))


def from_outputs(dY: Array, tiles: Tiles, k: slice) -> Array:
    """dM [t*t, T, K / groups] of dy [N, P, Q, K]."""
    return transformed("outputs_back", dY, tiles, k)


def transformed(kernel: str, image: Array, tiles: Tiles, own: slice, *corner: int) -> Array:
    """The tiles of an image, by place."""
    many = own.stop - own.start
    T = len(image) * tiles.grid[0] * tiles.grid[1]
    V = xp_of(image).empty((tiles.places, T, many), dtype=image.dtype)
    SOURCE.launch(kernel, T * many, image, V, T, *tiles.grid, *image.shape[1:], own.start, many, *corner, **known(*tiles.size))
    return V


def to_inputs(dV: Array, dx: Array, tiles: Tiles, c: slice) -> None:
    """Fill one group's channels of dx [N, H, W, C]."""
    (_, T, many), (N, H, W, _), (top, left), (mr, ms) = dV.shape, dx.shape, corner(tiles), tiles.outputs
    count = N * -(-(top + H) // mr) * -(-(left + W) // ms) * many
    numbers = (T, *tiles.grid, *dx.shape[1:], c.start, many, top, left)
    SOURCE.launch("inputs_back", count, dV, dx, *numbers, **known(*tiles.size))


def to_outputs(product: Array, bias: Array, y: Array, tiles: Tiles, k: slice) -> None:
    """Fill one group's filters of y [N, P, Q, K]."""
    _, T, many = product.shape
    numbers = (T, *tiles.grid, *y.shape[1:], k.start, many)
    SOURCE.launch("outputs", T * many, product, bias, y, *numbers, **known(*tiles.size))


def corner(tiles: Tiles) -> Pair:
    """Rows and columns of zeros before the image."""
    top, _, left, _ = tiles.padding
    return top, left


def transform(w: Array, **attrs: Any) -> Array:
    """U = G w G^T: [K, Cg, R, S] -> [tr, ts, K, Cg]."""
    (K, Cg, R, S), w = w.shape, xp_of(w).ascontiguousarray(w)
    constants = known(R, S)
    U = xp_of(w).empty((constants["TR"], constants["TS"], K, Cg), dtype=w.dtype)
    SOURCE.launch("filters", K * Cg, w, U, K * Cg, **constants)
    return U


def adjoint(dU: Array, shape: Shape, **attrs: Any) -> Array:
    """dw = G^T dU G: [tr, ts, K, Cg] -> [K, Cg, R, S]."""
    K, Cg, R, S = shape
    dw = xp_of(dU).empty(shape, dtype=dU.dtype)
    SOURCE.launch("filters_back", K * Cg, xp_of(dU).ascontiguousarray(dU), dw, K * Cg, **known(R, S))
    return dw


def largest(x: Shape, K: int, groups: int, tiles: Tiles) -> int:
    """How many numbers an image has, in x, in y, or in a group's V or M."""
    (th, tw), C = tiles.grid, x[1]
    return max(math.prod(x[1:]), math.prod(tiles.map) * K, tiles.places * th * tw * max(C, K) // groups)


def refuses(x: Shape, w: Shape, b: Shape | None, *, padding: Sides, groups: int, **attrs: Any) -> str | None:
    if why := winograd.refuses(x, w, b, padding=padding, m=M, **attrs):
        return why
    return too_large(largest(x, w[0], groups, Tiles.over(x, (w[2], w[3]), padding, M)))
