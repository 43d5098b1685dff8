"""Tiles: a map of outputs cut into pieces of m x m, each with the t x t inputs that it sees. Winograd's geometry.

    th x tw tiles cover the P x Q outputs; the last ones hang over the edge, where there are zeros.
    t = m + r - 1, so that neighbours overlap by r - 1 in the inputs, and by nothing in the outputs.

    cut     padded x [N, H', W', C] -> [tr, ts, N*th*tw*C]     the inputs of every tile
    paste   its adjoint: what overlaps is added
    join    [mr, ms, N*th*tw*K] -> y [N, P, Q, K]              the outputs, side by side
    split   its adjoint

The position in the tile comes first: what happens to it is then a matrix product from the left, and each of the tr*ts positions
is a matrix [N*th*tw, C]. Large maps are done in bands, a few rows of tiles at a time, so that these arrays stay in the cache.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from minidl.backend import Array, xp_of
from minidl.signature import Shape
from minidl.window import Pair, Sides, Windows, channels_first, pad

Band = tuple[int, int]  # the first row of tiles, and the one after the last


class Tiles(NamedTuple):
    """th x tw tiles over a map of P x Q outputs."""

    grid: Pair  # th, tw
    outputs: Pair  # mr, ms: of one tile
    inputs: Pair  # tr, ts: of one tile
    map: Pair  # P, Q
    padding: Sides  # top, bottom, left, right of the image

    @classmethod
    def over(cls, image: Shape, size: Pair, padding: Sides, m: int) -> Tiles:
        """Tiles of m x m outputs; a filter of one row (or column) needs no tile that way, and has m = t = 1."""
        P, Q = Windows.over(image, size, (1, 1), padding).grid
        mr, ms = (m if r > 1 else 1 for r in size)
        return cls((-(-P // mr), -(-Q // ms)), (mr, ms), (mr + size[0] - 1, ms + size[1] - 1), (P, Q), padding)

    @property
    def whole(self) -> Pair:
        """Rows and columns that the tiles cover: P and Q rounded up."""
        return self.grid[0] * self.outputs[0], self.grid[1] * self.outputs[1]

    @property
    def size(self) -> Pair:
        """R and S, of the filter."""
        return self.inputs[0] - self.outputs[0] + 1, self.inputs[1] - self.outputs[1] + 1

    @property
    def places(self) -> int:
        """Positions in a tile of inputs."""
        return self.inputs[0] * self.inputs[1]

    def bands(self, most: int) -> list[Band]:
        """The rows of tiles in bands of about equal height, of at most so many tiles (but at least a row)."""
        th, tw = self.grid
        count = -(-th // max(1, most // tw))
        return [(th * i // count, th * (i + 1) // count) for i in range(count)]

    def rows(self, band: Band) -> slice:
        """The rows of y that a band covers; the last one may reach beyond P."""
        return slice(band[0] * self.outputs[0], band[1] * self.outputs[0])


def padded_inputs(x: Array, tiles: Tiles) -> Array:
    """[N, C, H, W] -> [N, H', W', C], all that the tiles see."""
    return pad(x, Windows(tiles.whole, tiles.size, (1, 1), tiles.padding))


def padded_outputs(dy: Array, tiles: Tiles) -> Array:
    """[N, K, P, Q] -> [N, th*mr, tw*ms, K], zeros over the edge."""
    return pad(dy, Windows(tiles.whole, (1, 1), (1, 1), (0, 0, 0, 0)))


def cut(padded: Array, tiles: Tiles, band: Band) -> Array:
    """[N, H', W', C] -> [tr, ts, N*rows*tw*C]: the tiles of a band."""
    (mr, ms), (tr, ts) = tiles.outputs, tiles.inputs
    seen = padded[:, band[0] * mr : band[1] * mr + tr - mr]
    seen = xp_of(padded).lib.stride_tricks.sliding_window_view(seen, tiles.inputs, axis=(1, 2))[:, ::mr, ::ms]
    return seen.transpose(4, 5, 0, 1, 2, 3).reshape(tr, ts, -1)  # from [N, rows, tw, C, tr, ts], a view


def canvas(tiles: Tiles, N: int, C: int, like: Array) -> Array:
    """Zeros for all that the tiles see and a margin, row by row of tiles: [N, th + ., mr, tw + ., ms, C]."""
    (th, tw), (mr, ms), (tr, ts) = tiles.grid, tiles.outputs, tiles.inputs
    return xp_of(like).zeros((N, th + (tr - 1) // mr, mr, tw + (ts - 1) // ms, ms, C), dtype=like.dtype)


def paste(d: Array, canvas: Array, tiles: Tiles, band: Band) -> None:
    """The adjoint of `cut`: add [tr, ts, N*rows*tw*C] where it was cut out. A tile's first m rows lie beside its neighbours'
    first m rows, the rest reach into the next tile: a few large sums, where tr*ts positions would be many small ones."""
    (mr, ms), (tr, ts), tw, (first, end) = tiles.outputs, tiles.inputs, tiles.grid[1], band
    d = d.reshape(tr, ts, len(canvas), end - first, tw, -1).transpose(2, 3, 0, 4, 1, 5)  # [N, rows, tr, tw, ts, C]
    for i, j in product(range(0, tr, mr), range(0, ts, ms)):
        piece = d[:, :, i : i + mr, :, j : j + ms]
        rows, columns = slice(first + i // mr, end + i // mr), slice(j // ms, j // ms + tw)
        canvas[:, rows, : piece.shape[2], columns, : piece.shape[4]] += piece


def image(canvas: Array, tiles: Tiles, shape: Shape) -> Array:
    """What was pasted, without the padding: [N, C, H, W]."""
    N, down, mr, across, ms, C = canvas.shape
    top, _, left, _ = tiles.padding
    return channels_first(canvas.reshape(N, down * mr, across * ms, C)[:, top : top + shape[2], left : left + shape[3]])


def join(Y: Array, tiles: Tiles, band: Band, N: int) -> Array:
    """[mr, ms, N*rows*tw*K] -> [N, P', Q, K], the rows of y that the band covers."""
    (P, Q), (mr, ms), tw, (first, end) = tiles.map, tiles.outputs, tiles.grid[1], band
    Y = Y.reshape(mr, ms, N, end - first, tw, -1).transpose(2, 3, 0, 4, 1, 5)
    return Y.reshape(N, (end - first) * mr, tw * ms, -1)[:, : P - first * mr, :Q]


def split(padded: Array, tiles: Tiles, band: Band) -> Array:
    """[N, th*mr, tw*ms, K] -> [mr, ms, N*rows*tw*K]: the tiles of a band."""
    N, K, (mr, ms), tw = len(padded), padded.shape[3], tiles.outputs, tiles.grid[1]
    return padded[:, tiles.rows(band)].reshape(N, -1, mr, tw, ms, K).transpose(2, 4, 0, 1, 3, 5).reshape(mr, ms, -1)
