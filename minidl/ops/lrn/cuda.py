"""Local response normalisation on the GPU: lrn.cu, one pass forward and one backward, channels-last.

saved : (x,); backward makes s again
"""

from __future__ import annotations

from minidl.backend import Array, xp_of
from minidl.cuda import BLOCK, Source
from minidl.signature import Shape
from minidl.window import channels_first, channels_last

TILE = 1024  # numbers that a block computes
FARTHEST = 64  # neighbours on each side for which a block has memory
SOURCE = Source(__file__, "lrn.cu", TILE=TILE, REACH=2)


def forward(x: Array, *, n: int, alpha: float, beta: float, k: float, convention: str) -> tuple[Array, tuple]:
    X, share = channels_last(x), alpha if convention == "paper" else alpha / n
    y = xp_of(x).empty_like(X)
    launch("lrn_forward", X, y, n=n, numbers=(share, beta, k))
    return channels_first(y), (x,)


def backward(dy: Array, saved: tuple, needs: tuple, *, n: int, alpha: float, beta: float, k: float, convention: str) -> tuple:
    X, dY, share = channels_last(saved[0]), channels_last(dy), alpha if convention == "paper" else alpha / n
    dx = xp_of(dy).empty_like(dY)
    launch("lrn_backward", dY, X, dx, n=n, numbers=(share, beta, k))
    return (channels_first(dx),)


def launch(name: str, *arrays: Array, n: int, numbers: tuple[float, float, float]) -> None:
    """A block for each tile of the arrays' numbers."""
    count, C = arrays[0].size, arrays[0].shape[-1]
    SOURCE.launch(name, -(-count // TILE) * BLOCK, *arrays, count, C, *map(float, numbers), TILE=TILE, REACH=n // 2)


def refuses(x: Shape, *, n: int, **_: object) -> str | None:
    return f"needs a window of at most {2 * FARTHEST + 1} channels, got n={n}" if n // 2 > FARTHEST else None
