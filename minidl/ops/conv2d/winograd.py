"""Convolution by Winograd's minimal filtering: tiles of m x m outputs, by t x t products where the textbook takes m r x m r.

    U = G w G^T        [t, t, K, Cg]    the filters, once per call
    V = B x B^T        [t, t, T, C]     every tile of t x t inputs, t = m + r - 1; T tiles
    M = V U^T          t*t matrix products, one for each place in the tile
    y = A^T M A + b                     m x m outputs of every tile

    dM = A dy A^T      dU = dM^T V      dw = G^T dU G      dV = dM U      dx = B^T dV B      db : the sum of dy

F(4, 3) takes 36 products per 16 outputs, where the textbook takes 144; F(4, 5) takes 64 for 400.

    saved : (x, U). V would be (t / m)^2 times the memory of x; it is made again where dw is asked for.

A, G, B hold high powers of small numbers, so rounding errors grow with t. In float32, with 256 channels of normal numbers, the
error of y is within these multiples of the largest |y| (tests/test_winograd.py holds them; im2col's is 1e-6):

    F(2,3) 2e-6     F(4,3) 1e-5     F(5,3) 2e-5     F(4,5) 2e-5     F(6,3) 3e-5     and t = 9 would be 3e-4, so t <= 8

Large maps are done in bands of tiles, so that V and M stay in the cache. Groups are convolutions of their own.
In half types that is too much: they are refused. Stride and dilation are 1. Rows and columns may differ: a filter of 1 x 3 is
F(1, 1) down and F(m, 3) across.

Source: Lavin, Gray 2016, "Fast algorithms for convolutional neural networks"; the matrices: cook_toom.py, the tiles: tiles.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

from minidl.backend import Array, xp_of
from minidl.ops.conv2d.cook_toom import LARGEST, Transforms, transforms
from minidl.ops.conv2d.tiles import Band, Tiles, canvas, cut, image, join, padded_inputs, padded_outputs, paste, split
from minidl.ops.gemm import add_rows, product
from minidl.ops.groups import groups_of, joined
from minidl.signature import Shape
from minidl.window import Pair, Sides, channels_first, channels_last

SMALL = 64 * 64  # elements of U at one place: turning fewer takes no time, beside the product
ROWS = 144  # tiles in a slice of the batch, at least: all slices read all of U
BAND = 1 << 20  # elements of V or M in a band: 4 MB of float32. Where U has more, so has a band: each of them reads all of U


def forward(
    x: Array, U: Array, b: Array | None, *, stride: Pair, padding: Sides, dilation: Pair, groups: int, m: int = 4
) -> tuple[Array, tuple]:
    K, tiles = U.shape[2], tiles_of(x, U, padding, m)
    down, across = matrices(tiles.outputs, tiles.size, x)
    y, padded = xp_of(x).empty((len(x), *tiles.map, K), dtype=x.dtype), padded_inputs(x, tiles)
    for c, k in groups_of(groups, x.shape[1], K):
        F = by_place(U[:, :, k])
        for band in bands_of(tiles, x, F):
            M = product(transformed(padded[..., c], tiles, band), turned(F))
            Y = join(both(down.A.T, across.A.T, M.reshape(*tiles.inputs, -1)), tiles, band, len(x))
            y[:, tiles.rows(band), :, k] = Y if b is None else Y + b[k]
    return channels_first(y), (x, U)


def backward(
    dy: Array, saved: tuple, needs: tuple, *, stride: Pair, padding: Sides, dilation: Pair, groups: int, m: int = 4
) -> tuple:
    x, U = saved
    C, K, dx, dU = x.shape[1], U.shape[2], None, None
    if needs[0] or needs[1]:
        tiles, parts = tiles_of(x, U, padding, m), groups_of(groups, C, K)
        grads = [gradients(dy[:, k], x[:, c], by_place(U[:, :, k]), tiles, needs) for c, k in parts]
        dx = joined([dx for dx, _ in grads], axis=1) if needs[0] else None
        dU = joined([dF for _, dF in grads], axis=1).reshape(U.shape) if needs[1] else None
    return dx, dU, add_rows(channels_last(dy).reshape(-1, K)) if needs[2] else None


def gradients(dy: Array, x: Array, F: Array, tiles: Tiles, needs: tuple) -> tuple[Array | None, Array | None]:
    """dx and dF of one group, F [t*t, K, C]; band by band."""
    down, across = matrices(tiles.outputs, tiles.size, x)
    dY, dF = padded_outputs(dy, tiles), None
    X = padded_inputs(x, tiles) if needs[1] else None
    dX = canvas(tiles, len(x), x.shape[1], like=dy) if needs[0] else None
    for band in bands_of(tiles, x, F):
        dM = both(down.A, across.A, split(dY, tiles, band)).reshape(tiles.places, -1, F.shape[1])
        if needs[0]:
            dV = product(dM, F).reshape(*tiles.inputs, -1)
            paste(both(down.B.T, across.B.T, dV), dX, tiles, band)
        if needs[1]:
            more = product(dM.transpose(0, 2, 1), transformed(X, tiles, band))
            dF = more if dF is None else dF + more
    return image(dX, tiles, x.shape) if needs[0] else None, dF


def transform(w: Array, *, m: int = 4, **attrs: Any) -> Array:
    """U = G w G^T: [K, Cg, R, S] -> [tr, ts, K, Cg]. Slices of a batch share it."""
    K, Cg, R, S = w.shape
    down, across = matrices((m, m), (R, S), w)
    U = product(xp_of(w).kron(down.G, across.G), w.reshape(K * Cg, R * S).T)  # both sides at once: w is read as it lies
    return U.reshape(len(down.G), len(across.G), K, Cg)


def adjoint(dU: Array, shape: Shape, *, m: int = 4, **attrs: Any) -> Array:
    """dw = G^T dU G: [tr, ts, K, Cg] -> [K, Cg, R, S]."""
    K, Cg, R, S = shape
    down, across = matrices((m, m), (R, S), dU)
    return product(dU.reshape(-1, K * Cg).T, xp_of(dU).kron(down.G, across.G)).reshape(shape)


def refuses(x: Shape, w: Shape, b: Shape | None, *, stride: Pair, dilation: Pair, m: int = 4, **attrs: Any) -> str | None:
    R, S = w[2:]
    if stride != (1, 1):
        return f"needs stride 1, got {stride}"
    if dilation != (1, 1):
        return f"needs dilation 1, got {dilation}"
    if max(R, S) == 1:
        return "a 1x1 filter has nothing to save"
    if (t := m + max(R, S) - 1) > LARGEST:
        return f"float32 loses too much in tiles of more than {LARGEST}, and {m}x{m} outputs of {R}x{S} filters need {t}"
    return None


def rung(m: int) -> dict[str, Any]:
    """The kernel with tiles of m x m outputs, as `Op.kernel` takes it."""
    f = {function.__name__: bound(function, m) for function in (forward, backward, refuses)}
    pair, sizes = (bound(transform, m), bound(adjoint, m)), {"images": bound(images_of, m), "workspace": bound(places_of, m)}
    return {**f, **sizes, "prepare": {"w": pair}, "half": False}


def bound(function: Callable, m: int) -> Callable:
    """The function with its m given."""
    return update_wrapper(partial(function, m=m), function)


def images_of(x: Shape, w: Shape, b: Shape | None, *, padding: Sides, m: int, **attrs: Any) -> int:
    """How many a slice should have, for ROWS tiles."""
    th, tw = Tiles.over(x, (w[2], w[3]), padding, m).grid
    return -(-ROWS // (th * tw))


def places_of(x: Shape, w: Shape, b: Shape | None, *, padding: Sides, m: int, **attrs: Any) -> int:
    """Elements of V or M, whichever is larger, of an image."""
    tiles = Tiles.over(x, (w[2], w[3]), padding, m)
    return tiles.places * tiles.grid[0] * tiles.grid[1] * max(x[1], w[0])


def tiles_of(x: Array, U: Array, padding: Sides, m: int) -> Tiles:
    """The tiles that an image and the transformed filters call for: t = m + r - 1 says what r was."""
    return Tiles.over(x.shape, (max(1, U.shape[0] - m + 1), max(1, U.shape[1] - m + 1)), padding, m)


def bands_of(tiles: Tiles, x: Array, F: Array) -> list[Band]:
    """As many tiles of all images at once as the cache holds."""
    return tiles.bands(max(BAND, F.size) // (len(x) * tiles.places * max(F.shape[1:])))


def by_place(U: Array) -> Array:
    """[tr, ts, K, C] -> [tr*ts, K, C]."""
    return U.reshape(-1, *U.shape[2:])


def turned(F: Array) -> Array:
    """[places, K, C] -> [places, C, K]; small ones in memory too, since BLAS multiplies by them up to 1.6 times as fast."""
    return xp_of(F).ascontiguousarray(F.transpose(0, 2, 1)) if F[0].size <= SMALL else F.transpose(0, 2, 1)


def matrices(outputs: Pair, size: Pair, like: Array) -> list[Transforms]:
    """A, G, B down the columns, and across the rows."""
    return [transforms(m if r > 1 else 1, r, like) for m, r in zip(outputs, size, strict=True)]


def both(down: Array, across: Array, X: Array) -> Array:
    """down X across^T, for every one of the L matrices X: [a, b, L] -> [a', b', L]."""
    return product(across, product(down, X.reshape(len(X), -1)).reshape(len(down), *X.shape[1:]))


def transformed(padded: Array, tiles: Tiles, band: Band) -> Array:
    """V = B x B^T of a band, [t*t, T, C]."""
    down, across = matrices(tiles.outputs, tiles.size, padded)
    return both(down.B, across.B, cut(padded, tiles, band)).reshape(tiles.places, -1, padded.shape[3])
