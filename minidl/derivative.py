"""A derivative measured from outside, with an honest statement of how well it is known.

Along one random direction v, with a random dy, the chain rule says <dy, J v> = <J^T dy, v>. The left side is measured
here from values of f alone; the right side is what a backward computes.

    central differences D(h), D(h/2), D(h/4), extrapolated twice (Romberg): error O(h^6) where f is smooth
    doubt = |last extrapolation - the one before| + |slope on the right - slope on the left, extrapolated to h = 0|
            near a kink the first, at a kink the second is large, and the verdict is 'undecided'
    noise = what rounding can do

Where f computes on complex numbers, f(x + i h v) / i h has no cancellation at all (Squire, Trapp 1998).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

EPS = np.finfo(np.float64).eps


class Slope(NamedTuple):
    """A measured directional derivative and how far off it may be."""

    value: float
    doubt: float
    noise: float


def measure(f: Callable[[float], np.ndarray], dy: np.ndarray) -> Slope:
    """d/dt <dy, f(t)> at t = 0, by Romberg extrapolation; the step with the least doubt of those tried."""
    best = _romberg(f, dy, 1e-3)
    if best.doubt > 1e-8 * abs(best.value) + best.noise:
        best = min((best, _romberg(f, dy, 1e-2), _romberg(f, dy, 1e-4)), key=lambda slope: slope.doubt + slope.noise)
    return best


def measure_complex(f: Callable[[complex], np.ndarray], dy: np.ndarray) -> Slope:
    """d/dt <dy, f(t)> at t = 0 by one complex step: exact to rounding where f is analytic."""
    terms = dy * np.imag(f(1e-30j)) / 1e-30
    return Slope(float(terms.sum()), 0.0, 100 * EPS * float(np.abs(terms).sum()))


def _romberg(f: Callable[[float], np.ndarray], dy: np.ndarray, h: float) -> Slope:
    middle = dy * f(0.0)
    central, jump, rounding = [], [], 0.0
    for step in (h, h / 2, h / 4):
        up, down = dy * f(step), dy * f(-step)
        central.append(float((up - down).sum()) / (2 * step))
        jump.append(float((up - middle).sum() + (down - middle).sum()) / step)  # slope on the right less slope on the left
        rounding = EPS * float(np.abs(up).sum() + np.abs(down).sum() + np.abs(middle).sum()) / step
    once = [(4 * central[1] - central[0]) / 3, (4 * central[2] - central[1]) / 3]
    slope = (16 * once[1] - once[0]) / 15
    kink = [2 * jump[1] - jump[0], 2 * jump[2] - jump[1]]  # a smooth f's jump shrinks with h, h^3, ...; a kink's stays
    kink_at_0 = (8 * kink[1] - kink[0]) / 7
    return Slope(slope, abs(slope - once[1]) + abs(kink_at_0), 16 * rounding)


def agree(claimed: float, contributions: np.ndarray, slope: Slope) -> bool | None:
    """Is `claimed` (the sum of `contributions`) the measured slope? None where the measurement cannot tell."""
    scale = max(abs(slope.value), float(np.sqrt((contributions**2).sum())))
    gap, uncertain = abs(claimed - slope.value), slope.doubt + slope.noise
    if not np.isfinite(claimed) or gap > 1e-6 * scale + 100 * uncertain + 1e-12:
        return False
    if slope.doubt > 1e-4 * scale + slope.noise:
        return None
    return True if gap <= 1e-6 * scale + 10 * uncertain + 1e-12 else None


def worst(dx: np.ndarray, slope_along: Callable[[np.ndarray], Slope], most: int = 256) -> str:
    """The lesson of a wrong gradient: its element that is furthest off, what it is and what it should be."""
    if dx.size > most:
        return f"the gradient {list(dx.shape)} is not the derivative along a random direction"
    measured = np.zeros(dx.shape)
    for index in np.ndindex(dx.shape):
        unit = np.zeros(dx.shape)
        unit[index] = 1.0
        measured[index] = slope_along(unit).value
    where = np.unravel_index(np.argmax(np.abs(measured - dx)), dx.shape)
    place = "[" + ",".join(str(int(k)) for k in where) + "]"
    ratio = f"{dx[where] / measured[where]:.4g} times what it should be" if measured[where] else "it should be 0"
    return f"element {place} is {dx[where]:.6g}, the measured derivative is {measured[where]:.6g} ({ratio})"
