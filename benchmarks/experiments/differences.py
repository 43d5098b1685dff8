"""Columns compared, seed by seed.

    d[r, i] = a[r, i] - b[r, i]                   row r, seed i: both columns with the same seed
    d       = mean over the R rows of the mean over the row's n_r seeds
    v_r     = sum of the squared deviations from the row's mean / (n_r - 1) / n_r      the variance of the row's mean
    d +- t(f) sqrt(sum v_r) / R                   f = (sum v_r)^2 / sum v_r^2 / (n_r - 1):     a 95 % interval

Student's interval ('Student' 1908), each row with a spread of its own, and the degrees of freedom of Satterthwaite
(1946), rounded down: deep nets spread far more than shallow ones. A row of one seed has no spread; it is given the greatest of
the others'. What the interval covers is another draw of the seeds: other weights, another order of images. It does not cover
other test images, nor other data.

Accuracies come in steps of one image. Where all seeds agree to the image a spread would be 0, and the interval a point; so a
row's standard deviation is taken to be one image at least.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

# 97.5 % of Student's distribution lie below, for 1, 2, ... degrees of freedom
STUDENT = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


class Mean(NamedTuple):
    """Of n values, with its standard error; NaN of one value."""

    value: float
    error: float
    n: int


class Difference(NamedTuple):
    """Between two columns, from low to high with 95 % confidence; n pairs. The interval is infinite where each row has one."""

    value: float
    low: float
    high: float
    n: int


def mean(values: Sequence[float]) -> Mean:
    """ValueError for none."""
    n = len(values)
    if not n:
        raise ValueError("mean: expected one value or more, got none")
    middle = sum(values) / n
    error = math.sqrt(_squares(values) / (n - 1) / n) if n > 1 else math.nan
    return Mean(middle, error, n)


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> list[float]:
    """a - b for every seed that both have."""
    return [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]


def difference(rows: Sequence[Sequence[float]], least: float = 0.0) -> Difference | None:
    """Of the paired differences of each row, rows without any left out; None where no row has one.

    least  that a row's standard deviation is taken to be: one test image, in the unit of the values
    """
    rows = [row for row in rows if len(row)]
    if not rows:
        return None
    value = sum(mean(row).value for row in rows) / len(rows)
    spreads = [max(least**2, _squares(row) / (len(row) - 1)) for row in rows if len(row) > 1]
    if not spreads:
        return Difference(value, -math.inf, math.inf, len(rows))
    known = iter(spreads)
    variances = [(next(known) if len(row) > 1 else max(spreads)) / len(row) for row in rows]
    weights = sum(v**2 / max(len(row) - 1, 1) for v, row in zip(variances, rows, strict=True))
    freedom = sum(variances) ** 2 / weights if weights else 1.0
    half = student(max(1, math.floor(freedom + 1e-9))) * math.sqrt(sum(variances)) / len(rows)
    return Difference(value, value - half, value + half, sum(map(len, rows)))


def student(freedom: int) -> float:
    """t such that 95 % of Student's distribution lie between -t and t."""
    if freedom < 1:
        raise ValueError(f"student: expected one degree of freedom or more, got {freedom}")
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    z = 1.959964  # and the first two terms of the expansion in 1 / freedom
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def verdict(claimed: float, found: Difference, rows: Sequence[Difference] = ()) -> str:
    """What the measured difference says of the claimed one. Where rows are sure of opposite signs, their mean says nothing."""
    if any(row.low > 0 for row in rows) and any(row.high < 0 for row in rows):
        return "mixed: better in some rows, worse in others"
    same_size = found.low <= claimed <= found.high
    if found.low <= 0 <= found.high:
        return "undecided" if same_size else "not seen: 0 is within the interval, the claim is not"
    if (found.value > 0) != (claimed > 0):
        return "contradicted: the sign is the other one"
    if same_size:
        return "supported: sign and size"
    return f"sign supported, size not: the claim is too {'large' if abs(claimed) > abs(found.value) else 'small'}"


def _squares(values: Sequence[float]) -> float:
    """The sum of the squared deviations from their mean."""
    middle = sum(values) / len(values)
    return sum((value - middle) ** 2 for value in values)
