"""Matrix products on the GPU without cuBLAS: gemm.cu.

    products(a, b)   [M, K] @ [K, N], and stacks of as many [B, M, K] @ [B, K, N]
    matmul(a, b)     the same by NumPy's rules, with vectors and leading dimensions that broadcast

Full precision is IEEE; float32 under tf32 or bf16 goes to the tensor cores, which round its factors and nothing else. So do
halves, whose factors tf32 holds as they are; they are added up in float32, and rounded once. A matrix that is transposed, or a
part of another, is read as it lies; where neither rows nor columns lie side by side it is copied first.

Where a product has few tiles and long sums (the gradient of filters), the sums are cut into parts, so that the whole GPU has
work. The parts are added up in their order: the same bits in every run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import numpy as np

from minidl.backend import Array, xp_of
from minidl.cuda import NAMES, Source
from minidl.cuda.packs import AT_ONCE, pack_size
from minidl.cuda.tiles import PLAIN, TENSOR
from minidl.ops.columns import SOURCE as COLUMNS
from minidl.signature import Shape

PRODUCTS = {"float32": 0, "tf32": 1, "bf16": 2}
# tiles of plain sums, and of tensor cores: 128 x 128 both, or 32 x 32 and 32 x 16
LARGE = {"WM": 4, "WN": 2, "MT": 8, "NT": 8, **PLAIN}, {"WM": 2, "WN": 2, "MT": 4, "NT": 8, **TENSOR}
SMALL = {"WM": 2, "WN": 1, "MT": 4, "NT": 4, **PLAIN}, {"WM": 2, "WN": 1, "MT": 1, "NT": 2, **TENSOR}
FULL = 64  # from so many on large tiles are expected to be the faster ones; a guess, no GPU has measured it
LEAST = 128  # terms of a part of a sum
WORKSPACE = 1 << 26  # numbers in all parts
_ALWAYS: ContextVar[bool] = ContextVar("large tiles, however few", default=False)

SOURCE = Source(
    __file__,
    "gemm.cu",
    capability=80,
    also=(COLUMNS,),  # which sums gradients of biases wherever this multiplies
    ways={
        "float16": [{"PRODUCTS": 1, "ALONG_A": 1, "ALONG_B": 0, "TOGETHER": 4, **tile} for tile in (LARGE[1], SMALL[1])],
        "float32": [
            {"PRODUCTS": kind, "ALONG_A": a, "ALONG_B": b, "TOGETHER": together, **tile}
            for kind, a, b, together, tile in (
                (0, 1, 1, 4, LARGE[0]),
                (0, 1, 0, 4, LARGE[0]),
                (0, 0, 0, 1, LARGE[0]),
                (0, 0, 1, 4, SMALL[0]),
                (1, 1, 1, 4, LARGE[1]),
                (1, 0, 0, 4, LARGE[1]),
                (2, 1, 0, 1, LARGE[1]),
                (2, 0, 1, 4, SMALL[1]),
            )
        ],
        "float64": [{"PRODUCTS": 0, "ALONG_A": 1, "ALONG_B": b, "TOGETHER": 2 - b, **SMALL[0]} for b in (0, 1)],
    },
)


class Factor(NamedTuple):
    """Matrices [stack, places, terms] as they lie in memory: places are rows of A, or columns of B."""

    numbers: Array  # from the first to the last
    along: bool  # do the terms of a place lie side by side? If not, the places of a term do
    step: int  # numbers from one line of them to the next
    next: int  # and from one matrix to the next


def matmul(a: Array, b: Array, precision: str = "float32") -> Array:
    """a @ b by NumPy's rules of shapes: a vector is a row, or a column; leading dimensions broadcast."""
    A, B = a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
    if B.ndim == 2:  # one product over all rows
        y = products(A.reshape(math.prod(A.shape[:-1]), A.shape[-1]), B, precision=precision)
    else:
        lead = np.broadcast_shapes(A.shape[:-2], B.shape[:-2])
        y = products(stacked(A, lead), stacked(B, lead), precision=precision)
    return y.reshape(np.broadcast_shapes(a.shape[:-2], b.shape[:-2]) + a.shape[-2:-1] + b.shape[1:][-1:])


def stacked(a: Array, lead: Shape) -> Array:
    """[..., M, K] -> [stack, M, K], repeated along leading dimensions that others have; one matrix is not copied for that."""
    *own, M, K = a.shape
    if math.prod(own) == 1:
        return xp_of(a).broadcast_to(a.reshape(1, M, K), (math.prod(lead), M, K))
    return xp_of(a).broadcast_to(a, (*lead, M, K)).reshape(math.prod(lead), M, K)


def products(a: Array, b: Array, bias: Array | None = None, precision: str = "float32") -> Array:
    """a b + bias: [M, K] @ [K, N] -> [M, N], or the same of stacks [B, M, K] @ [B, K, N].

    bias       [N], added before anything is rounded
    precision  of the factors, where they are float32: a name in `minidl.modes.PRECISIONS`

    TypeError where the numbers are of no type that it is written for.
    """
    xp, dtype, stack = xp_of(a), np.result_type(a.dtype, b.dtype), len(a) if a.ndim == 3 else 1
    if dtype.name not in NAMES:
        raise TypeError(f"products on the GPU: expected floats of {', '.join(NAMES)}, got {a.dtype} and {b.dtype}")
    (M, K), N = a.shape[-2:], b.shape[-1]
    out = xp.empty((stack, M, N), dtype=dtype)
    if out.size and K:
        left, right = a.astype(dtype, copy=False).reshape(stack, M, K), b.astype(dtype, copy=False).reshape(stack, K, N)
        more = None if bias is None else xp.ascontiguousarray(bias, dtype=dtype)
        multiply(factor(left), factor(right.transpose(0, 2, 1)), more, out, K, precision)
    else:
        out[...] = 0 if bias is None else bias
    return out.reshape(*a.shape[:-1], N)


def factor(a: Array) -> Factor:
    """[stack, places, terms] as it lies in memory, or a copy where neither places nor terms are side by side."""
    stack, places, terms = (0 if n == 1 else step // a.itemsize for n, step in zip(a.shape, a.strides, strict=True))
    whole = all(step >= 0 and step % a.itemsize == 0 for step in a.strides)
    along = a.shape[2] == 1 or terms == 1
    if not whole or not (along or a.shape[1] == 1 or places == 1):
        return factor(xp_of(a).array(a, order="C"))
    span = 1 + sum((n - 1) * step for n, step in zip(a.shape, (stack, places, terms), strict=True))
    numbers = xp_of(a).lib.stride_tricks.as_strided(a, (span,), (a.itemsize,))
    return Factor(numbers, along, places if along else terms, stack)


def multiply(left: Factor, right: Factor, bias: Array | None, out: Array, K: int, precision: str) -> None:
    """Fill out [stack, M, N] with the products of two factors whose places have K terms."""
    xp, (stack, M, N), sums = xp_of(out), out.shape, np.result_type(out.dtype, np.float32)
    kind = "tf32" if out.itemsize == 2 else precision  # which has all bits of a half: nothing is rounded
    how = ways(left, right, out, K, PRODUCTS[kind] if out.itemsize < 8 else 0)
    deep, high, wide = tile_of(how)
    blocks = stack * -(-M // high) * -(-N // wide)
    splits = max(1, min(4 * FULL // blocks, K // LEAST, WORKSPACE // out.size))
    each = deep * -(-K // (deep * splits))
    splits = -(-K // each)
    parts = out if splits == 1 else xp.empty((splits, *out.shape), dtype=sums)
    threads, room = 32 * how["WM"] * how["WN"], (high + wide) * (deep + 4) + 16 * deep  # or less
    SOURCE.launch(
        "product", blocks * splits * threads, left.numbers, right.numbers, out if bias is None else bias, out, parts, M, N, K,
        stack, left.step, left.next, right.step, right.next, splits, each, int(bias is not None and splits == 1),
        block=threads, shared=how["STAGES"] * room * sums.itemsize, **how,
    )  # fmt: skip
    if splits > 1:
        columns = 0 if bias is None else N
        SOURCE.launch("joined", out.size, out, parts, out if bias is None else bias, out.size, splits, 0, columns, **how)


def ways(left: Factor, right: Factor, out: Array, K: int, kind: int) -> dict[str, int]:
    """What the compiler should know: how the factors lie, how many numbers are copied at once, and the tiles."""
    most = min(4, AT_ONCE // out.itemsize)
    steps = left.step, left.next, right.step, right.next  # and so the last line, what is left of all numbers, is divided, too
    together = most if pack_size(most, out, left.numbers, right.numbers, counts=steps) == most else 1
    stack, M, N = out.shape
    enough = min(M, N) >= 64 and stack * -(-M // 128) * -(-N // 128) * -(-K // LEAST) >= FULL
    tile = (LARGE if out.itemsize < 8 and (enough or _ALWAYS.get()) else SMALL)[min(kind, 1)]
    return {"PRODUCTS": kind, "ALONG_A": int(left.along), "ALONG_B": int(right.along), "TOGETHER": together, **tile}


def tile_of(how: dict[str, int]) -> tuple[int, int, int]:
    """Terms of a piece; rows and columns of a block's tile."""
    return how["DEEP"], (16 if how["PRODUCTS"] else 4) * how["MT"] * how["WM"], 8 * how["NT"] * how["WN"]


@contextmanager
def large_tiles() -> Iterator[None]:
    """`with large_tiles():` takes large ones however small the matrices are: so small problems judge them. Not for float64."""
    token = _ALWAYS.set(True)
    try:
        yield
    finally:
        _ALWAYS.reset(token)
