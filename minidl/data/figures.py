"""The figures and patterns that the hybrid data set draws: each a few lines of arithmetic on coordinates.

A shape is a function d(u, v): below 0 inside, above 0 outside, near the edge about the distance from it. It lies within the
unit circle around (0, 0). A texture is a function m(u, v, pixel) with values 0..1 that repeats every 1 or 2; target, rays and
gradient lie around (0, 0) instead. Coordinates are arrays of any shape; `pixel` is the side of a pixel in their unit: so edges
are as soft as a pixel at any size.

Only sums, products, quotients, roots and comparisons, in float32: exact by IEEE 754, so the same pictures on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

Field = np.ndarray
Shape = Callable[[Field, Field], Field]
Texture = Callable[[Field, Field, Field], Field]


def covered(d: Field, pixel: Field) -> Field:
    """How much of a pixel lies inside, 0..1, where d is its centre's distance from the edge."""
    return np.clip(np.float32(0.5) - d / pixel, 0, 1)


def radius(u: Field, v: Field) -> Field:
    """Distance from (0, 0)."""
    return np.sqrt(u * u + v * v)


def normals(n: int) -> list[tuple[float, float]]:
    """n directions around the circle, from (0, 1) on."""
    return [(math.sin(2 * math.pi * i / n), math.cos(2 * math.pi * i / n)) for i in range(n)]


# ---- shapes ----------------------------------------------------------------------------------------------------------------


def bar(u: Field, v: Field, length: float = 0.95, width: float = 0.22) -> Field:
    """A long rectangle along u; with other sides any rectangle."""
    return np.maximum(abs(u) - length, abs(v) - width)


def frame(u: Field, v: Field) -> Field:
    """A square without its middle."""
    return abs(bar(u, v, 0.56, 0.56)) - 0.14


def triangle(u: Field, v: Field) -> Field:
    """Three equal sides."""
    return np.maximum.reduce([a * u + b * v for a, b in normals(3)]) - 0.48


def star(u: Field, v: Field) -> Field:
    """Five points: inside all but one of five half-planes, so the second largest of five distances."""
    first = second = np.full_like(u, -np.inf)
    for a, b in normals(5):
        d = a * u + b * v
        first, second = np.maximum(first, d), np.maximum(second, np.minimum(first, d))
    return second - 0.31


def crescent(u: Field, v: Field) -> Field:
    """A disc that another has bitten into."""
    return np.maximum(radius(u, v) - 0.9, 0.72 - radius(u - 0.42, v))


def pair(u: Field, v: Field) -> Field:
    """Two discs side by side."""
    return np.minimum(radius(u - 0.52, v), radius(u + 0.52, v)) - 0.4


SHAPES: dict[str, Shape] = {
    "disc": lambda u, v: radius(u, v) - 0.85,
    "ring": lambda u, v: abs(radius(u, v) - 0.68) - 0.2,
    "square": lambda u, v: bar(u, v, 0.68, 0.68),
    "triangle": triangle,
    "cross": lambda u, v: np.minimum(bar(u, v), bar(v, u)),
    "star": star,
    "frame": frame,
    "crescent": crescent,
    "bar": bar,
    "pair": pair,
    "bow": lambda u, v: np.maximum(abs(u) - 0.85, abs(v) - 0.6 * abs(u) - 0.05),
    "half": lambda u, v: np.maximum(radius(u, v + 0.35) - 0.85, -0.35 - v),
}


# ---- textures --------------------------------------------------------------------------------------------------------------


def nearest(u: Field) -> Field:
    """How far, with its sign, from the nearest whole number: -1/2..1/2."""
    return u - np.floor(u + np.float32(0.5))


def stripes(u: Field, v: Field, pixel: Field) -> Field:
    """Bands across u, as wide as the gaps."""
    return covered(abs(nearest(u)) - 0.25, pixel)


def either(a: Field, b: Field) -> Field:
    """In one of the two and not in both, for soft edges too."""
    return a + b - 2 * a * b


def bricks(u: Field, v: Field, pixel: Field) -> Field:
    """Rows, each other one moved by half a brick, with joints between them."""
    row = np.floor(v + np.float32(0.5))
    return covered(bar(nearest((u + row) / 2) * 2, nearest(v), 0.9, 0.38), pixel)


def rays(u: Field, v: Field, pixel: Field) -> Field:
    """Ten sectors around a point, light and dark in turn."""
    mask = np.zeros_like(u)
    for a, b in normals(10)[:5]:
        mask = either(mask, covered(a * u + b * v, pixel))
    return mask


TEXTURES: dict[str, Texture] = {
    "stripes": stripes,
    "checks": lambda u, v, pixel: either(stripes(u, v, pixel), stripes(v, u, pixel)),
    "dots": lambda u, v, pixel: covered(radius(nearest(u), nearest(v)) - 0.3, pixel),
    "zigzag": lambda u, v, pixel: stripes(u + abs(nearest(v / 2)) * 2, v, pixel),
    "plaid": lambda u, v, pixel: (stripes(u, v, pixel) + stripes(v, u, pixel)) / 2,
    "bricks": bricks,
    "target": lambda u, v, pixel: stripes(radius(u, v), v, pixel),
    "rays": rays,
    "gradient": lambda u, v, pixel: np.clip(np.float32(0.5) + u / 4, 0, 1),
    "mesh": lambda u, v, pixel: covered(np.minimum(abs(nearest(u)), abs(nearest(v))) - 0.11, pixel),
}


# ---- kinds of picture ------------------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """What a class of drawn pictures shows: a shape, a texture, or a shape filled with one, perhaps on another."""

    shape: str = ""
    fill: str = ""
    ground: str = ""

    def __str__(self) -> str:
        """disc; stripes; disc of stripes; disc of stripes on checks."""
        if not self.shape:
            return self.fill
        return self.shape + f" of {self.fill}" * bool(self.fill) + f" on {self.ground}" * bool(self.ground)


def _kinds() -> Iterator[Kind]:
    """All of them: what is plain first, shapes and textures in turn; then as different neighbours as may be."""
    shapes, textures = list(SHAPES), list(TEXTURES)
    for shape, texture in zip_longest(shapes, textures):
        yield from ([Kind(shape)] if shape else []) + ([Kind(fill=texture)] if texture else [])
    S, T = len(shapes), len(textures)
    for step in range(T):
        yield from (Kind(shape, textures[(i + step) % T]) for i, shape in enumerate(shapes))
    for step in range(1, T):
        for turn in range(T):
            yield from (Kind(shapes[i], textures[(i + turn) % T], textures[(i + turn + step) % T]) for i in range(S))


KINDS = tuple(_kinds())  # the place of a kind here is part of its pictures' key: new ones come last
