"""Local response normalisation on the GPU: lrn.cu, one pass forward and one backward.

saved : (x, s), both [N, C, H, W]
"""

from __future__ import annotations

from minidl.backend import Array, xp_of
from minidl.cuda import Source

SOURCE = Source(__file__, "lrn.cu")


def forward(x: Array, *, n: int, alpha: float, beta: float, k: float, convention: str) -> tuple[Array, tuple]:
    x, share = xp_of(x).ascontiguousarray(x), alpha if convention == "paper" else alpha / n
    y, s = xp_of(x).empty_like(x), xp_of(x).empty_like(x)
    N, C, H, W = x.shape
    SOURCE.launch("lrn_forward", N * H * W, x, y, s, N * H * W, C, H * W, n // 2, float(share), float(beta), float(k))
    return y, (x, s)


def backward(dy: Array, saved: tuple, needs: tuple, *, n: int, alpha: float, beta: float, k: float, convention: str) -> tuple:
    x, s = saved
    dy, share = xp_of(dy).ascontiguousarray(dy), alpha if convention == "paper" else alpha / n
    dx = xp_of(dy).empty_like(dy)
    N, C, H, W = x.shape
    SOURCE.launch("lrn_backward", N * H * W, dy, x, s, dx, N * H * W, C, H * W, n // 2, float(share), float(beta))
    return (dx,)
