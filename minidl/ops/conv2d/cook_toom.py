"""Cook-Toom: how few products a short convolution takes, in exact fractions.

Two polynomials with m and r coefficients have a product with t = m + r - 1. It is fixed by its values at t points, and a value
of the product is a product of values: t multiplications, where the textbook takes m r.

    u(z) w(z) :   B^T ((G w) * (A u))        A u, G w : their values at the points        B^T : from values back to coefficients

For a fixed w that is a matrix S times u, and the correlation y_i = sum_k x_{i+k} w_k is its transpose S^T times x:

    F(m, r) :     y = A^T ((G w) * (B x))    m outputs of an r-tap filter from t inputs, by t multiplications

    A [t, m]  row j : 1, a_j, a_j^2, ...                        the last point is infinity: of u it sees the highest coefficient
    G [t, r]  row j : 1, a_j, a_j^2, ... over prod_{i != j} (a_j - a_i)
    B [t, t]  row j : the coefficients of prod_{i != j} (z - a_i)      (for infinity: of prod_i (z - a_i))

Exact arithmetic would give exact results; in floats the error grows with t, since A, G, B hold high powers of the points.
Small points, each with its negative or its negative inverse, keep it least.

Source: Cook 1966, Toom 1963; Winograd 1980, "Arithmetic complexity of computations"; as matrices: Lavin, Gray 2016; the order
of the points: Barabasz, Anderson, Soodhalter, Gregg 2020, "Error analysis and improving the accuracy of Winograd convolution".
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import prod
from typing import NamedTuple

from minidl.backend import Array, device_of, xp_of

POINTS = tuple(Fraction(p) for p in ("0", "1", "-1", "1/2", "-2", "2", "-1/2"))  # and infinity
LARGEST = len(POINTS) + 1  # t: from 9 points on, float32 loses an order of magnitude
Rows = list[list[Fraction]]


class Transforms(NamedTuple):
    """The matrices of F(m, r) as arrays."""

    A: Array  # [t, m]
    G: Array  # [t, r]
    B: Array  # [t, t]


def transforms(m: int, r: int, like: Array) -> Transforms:
    """A, G and B in the type and on the device of the array `like`."""
    return _arrays(m, r, xp_of(like), like.dtype, device_of(like))


@cache
def _arrays(m: int, r: int, xp: object, dtype: object, device: str) -> Transforms:
    return Transforms(*(xp.array([[float(v) for v in row] for row in M], dtype=dtype) for M in exact(m, r)))  # type: ignore[attr-defined]


@cache
def exact(m: int, r: int) -> tuple[Rows, Rows, Rows]:
    """A, G and B of F(m, r) in fractions.

    >>> from minidl.ops.conv2d.cook_toom import exact
    >>> A, G, B = exact(2, 3)  # 4 multiplications for 6
    >>> [[int(v) for v in row] for row in A]
    [[1, 0], [1, 1], [1, -1], [0, 1]]
    """
    points = POINTS[: m + r - 2]
    others = [[b for b in points if b != a] for a in points]
    A = [powers(a, m) for a in points] + [powers(None, m)]
    scales = [prod(a - b for b in rest) for a, rest in zip(points, others, strict=True)]
    G = [[v / s for v in powers(a, r)] for a, s in zip(points, scales, strict=True)] + [powers(None, r)]
    B = [[*polynomial(rest), Fraction(0)] for rest in others] + [polynomial(points)]
    return A, G, B


def powers(a: Fraction | None, count: int) -> list[Fraction]:
    """1, a, a^2, ...; at infinity (None) the highest alone counts."""
    return [Fraction(i == count - 1) if a is None else a**i for i in range(count)]


def polynomial(roots: list[Fraction] | tuple[Fraction, ...]) -> list[Fraction]:
    """The coefficients of prod (z - root), the lowest first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [*(root * c for c in coefficients), Fraction(0)]
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients
