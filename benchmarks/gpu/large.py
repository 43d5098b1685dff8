"""Kernels that compute large problems another way than small ones, which no law would see: a law's problems are tiny.

Each has a way to be made to take it on problems of a size at which the answer is known at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np

from minidl.op import Problem
from minidl.ops import gemm_cuda
from minidl.ops.conv2d import cuda_implicit_gemm

CONVOLUTIONS = ((16, 1), (6, 1), (3, 1), (16, 2), (12, 2), (6, 2))  # channels, groups: copies of 16, 8 and 4 bytes, twice
FILTERS = 136  # beyond one large tile
MATRICES = ((132, 20, 136), (136, 17, 131), (5, 300, 12))  # rows, terms, columns


class Way(NamedTuple):
    """What a kernel does with large problems.

    taken     within it, small ones are done so
    problems  what it is judged by, drawn
    """

    taken: Callable[[], AbstractContextManager[None]]
    problems: Callable[[np.random.Generator], Iterator[Problem]]


def convolutions(rng: np.random.Generator) -> Iterator[Problem]:
    """3x3 over images that are no squares, whose 144 windows are more than a large tile has rows."""
    for channels, groups in CONVOLUTIONS:
        shapes = (2, channels, 9, 8), (FILTERS, channels // groups, 3, 3), (FILTERS,)
        attrs = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": groups}
        yield Problem(tuple(rng.standard_normal(shape) for shape in shapes), attrs)


def products(rng: np.random.Generator) -> Iterator[Problem]:
    """More rows and columns than a large tile has; copies of 16 bytes and of 4; a sum that is cut into parts."""
    for M, K, N in MATRICES:
        yield Problem((rng.standard_normal((M, K)), rng.standard_normal((K, N))), {})


def layers(rng: np.random.Generator) -> Iterator[Problem]:
    """The same, with a bias."""
    for M, K, N in MATRICES:
        yield Problem((rng.standard_normal((M, K)), rng.standard_normal((N, K)), rng.standard_normal(N)), {})


WAYS = {
    "conv2d[cuda_implicit_gemm]": Way(cuda_implicit_gemm.large_tiles, convolutions),
    "linear[cuda]": Way(gemm_cuda.large_tiles, layers),
    "matmul[cuda]": Way(gemm_cuda.large_tiles, products),
}
