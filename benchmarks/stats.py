"""Statistics of timings on a machine that is not ours alone, as plain functions.

Timings have heavy tails (another program ran for a moment) and drift (the clock rate falls, a neighbour wakes up). So

    - rivals take turns: every round times each of them once, in shuffled order, and what drifts slower than a round hits all
    - two are compared round by round, by log(theirs / ours): one bad round is one of many, and the median does not see it
    - the interval of that median is the sign test's, between two of the sorted values themselves: if theirs and ours were
      alike, each difference would be as often above 0 as below, whatever the timings look like. No shape of a distribution is
      assumed.

With fewer than 6 rounds no interval can be 95 % sure; its `level` then says how sure it is, and nothing is called different.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

LEVEL = 0.95
T = TypeVar("T")


class Interval(NamedTuple):
    """From low to high; `level`: how often such an interval holds the truth."""

    low: float
    high: float
    level: float


class Ratio(NamedTuple):
    """How many times as long `theirs` takes as `ours`: above 1, ours is faster."""

    value: float
    low: float
    high: float
    level: float

    @property
    def differs(self) -> bool:
        """Is 1 outside the interval, and the interval sure enough?"""
        return self.level >= LEVEL and not self.low <= 1 <= self.high

    def __str__(self) -> str:
        sure = f" at {self.level:.0%}" if self.level < LEVEL else ""
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f}{sure})"


def median(values: Sequence[float]) -> float:
    """The middle one, or the mean of the two in the middle."""
    return float(np.median(values))


def spread(values: Sequence[float]) -> float:
    """The interquartile range: from a quarter of the values to three quarters."""
    low, high = np.percentile(values, [25, 75])
    return float(high - low)


def bootstrap(
    values: Sequence[float],
    statistic: Callable[..., np.ndarray] = np.median,
    *,
    level: float = LEVEL,
    samples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Where the statistic of as many values drawn from these, with repeats, lies in `level` of the draws (percentile method).

    Of few values, four or less, it is too narrow.

    statistic  statistic(array [samples, n], axis=1) -> [samples]
    """
    values = np.asarray(values, np.float64)
    drawn = np.random.default_rng(seed).integers(len(values), size=(samples, len(values)))
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(statistic(values[drawn], axis=1), [tail, 100 - tail])
    return Interval(float(low), float(high), level)


def sign_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """The median's interval by the sign test: from the k-th smallest value to the k-th largest, k as large as `level` allows.

    Exact for any distribution: the median lies outside if fewer than k of n fair coins show heads, or tails. With few values
    the level reached is below the one asked for.
    """
    ordered, n = sorted(values), len(values)
    k, outside = 0, 0.0
    while k < n / 2:
        more = outside + 2 * math.comb(n, k) / 2**n
        if k > 0 and more > 1 - level:
            break
        k, outside = k + 1, more
    return Interval(float(ordered[k - 1]), float(ordered[n - k]), max(0.0, 1 - outside))


def ratio(ours: Sequence[float], theirs: Sequence[float], level: float = LEVEL) -> Ratio:
    """Theirs over ours: the median of the rounds' log-ratios and its interval. The i-th of each must be of the same round."""
    if len(ours) != len(theirs) or not len(ours):
        counts = f"{len(ours)}, {len(theirs)}"
        raise ValueError(f"ratio: expected as many timings of ours as of theirs, round by round; got {counts}")
    logs = np.log(np.asarray(theirs, np.float64) / np.asarray(ours, np.float64))
    low, high, reached = sign_interval(logs, level)
    return Ratio(math.exp(median(logs)), math.exp(low), math.exp(high), reached)


def take_turns(
    turns: dict[str, Callable[[], T]], rounds: int, seed: int = 0, pause: Callable[[], None] | None = None
) -> dict[str, list[T]]:
    """Time every rival once a round, in an order shuffled anew each round; lists of equal length, round by round.

    turns  rival -> a function that does its work and returns the seconds
    pause  called before each turn, for what the last one left behind to come to rest
    """
    rng, names = np.random.default_rng(seed), list(turns)
    seconds: dict[str, list[T]] = {name: [] for name in names}
    for _ in range(rounds):
        for i in rng.permutation(len(names)):
            if pause:
                pause()
            seconds[names[i]].append(turns[names[i]]())
    return seconds
