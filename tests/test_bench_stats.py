"""The statistics of the benchmark tell alike from different, on timings with heavy tails and drift."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.stats import Ratio, bootstrap, median, ratio, sign_interval, spread, take_turns

TRIALS, ROUNDS = 1000, 21  # as many rounds as `python -m benchmarks.kernels` takes by itself


class Machine:
    """A clock like that of a shared machine: every timing shakes by 3 %, one in ten is up to several times as long (a Pareto
    tail), and the whole machine wanders: by a random walk, a steady slowdown of 30 % over the run, and a jump of 20 %."""

    def __init__(self, seed: int, timings: int):
        self.rng = np.random.default_rng(seed)
        walk = np.exp(np.cumsum(0.01 * self.rng.standard_normal(timings)))
        slowing = np.linspace(1, 1.3, timings)
        jump = np.where(np.arange(timings) < self.rng.integers(timings), 1, 1.2)
        self.pace = iter(walk * slowing * jump)

    def time(self, seconds: float) -> float:
        """How long work of so many seconds seems to take now."""
        tail = self.rng.pareto(2.0) if self.rng.random() < 0.1 else 0.0
        return seconds * next(self.pace) * math.exp(0.03 * self.rng.standard_normal()) * (1 + tail)


def compared(seed: int, slowdown: float) -> Ratio:
    machine = Machine(seed, 2 * ROUNDS)
    timed = take_turns({"a": lambda: machine.time(1.0), "b": lambda: machine.time(slowdown)}, ROUNDS, seed)
    return ratio(timed["a"], timed["b"])


def test_a_rival_is_seldom_told_from_itself() -> None:
    flagged = sum(compared(seed, 1.0).differs for seed in range(TRIALS))
    assert flagged <= 0.05 * TRIALS


def test_a_slowdown_of_a_tenth_is_found() -> None:
    found = [compared(seed, 1.1) for seed in range(TRIALS)]
    assert sum(r.differs and r.value > 1 for r in found) >= 0.95 * TRIALS
    assert median([r.value for r in found]) == pytest.approx(1.1, rel=0.01)


def test_timing_one_after_the_other_would_be_fooled() -> None:
    """What turns are for: with all of a first and then all of b, the drift is taken for a difference."""
    fooled = 0
    for seed in range(200):
        machine = Machine(seed, 2 * ROUNDS)
        a, b = ([machine.time(1.0) for _ in range(ROUNDS)] for _ in range(2))
        fooled += ratio(a, b).differs
    assert fooled > 150


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for n in (6, 11, 20):
        held = 0
        for _ in range(2000):
            low, high, level = sign_interval(rng.standard_cauchy(n))
            held += low <= 0 <= high
        assert level >= 0.95
        assert held / 2000 == pytest.approx(level, abs=0.02)


def test_few_rounds_are_sure_of_nothing() -> None:
    assert [round(sign_interval(range(n)).level, 4) for n in (1, 2, 5, 6)] == [0, 0.5, 0.9375, 0.9688]
    assert sign_interval([3.0, 1.0, 2.0])[:2] == (1.0, 3.0)
    assert not ratio([1.0] * 5, [2.0] * 5).differs
    assert ratio([1.0] * 6, [2.0] * 6).differs


def test_the_order_of_turns_is_shuffled_and_repeatable() -> None:
    def orders(seed: int) -> list[str]:
        order: list[str] = []
        take_turns({name: lambda name=name: order.append(name) or 1.0 for name in "abc"}, 50, seed)
        return ["".join(order[i : i + 3]) for i in range(0, 150, 3)]

    assert orders(1) == orders(1) != orders(2)
    assert set(orders(1)) == {"abc", "acb", "bac", "bca", "cab", "cba"}


def test_plain_figures() -> None:
    assert (median([3, 1, 2]), spread([1, 2, 3, 4, 5])) == (2.0, 2.0)
    low, high, level = bootstrap([1.0, 2.0, 3.0, 4.0, 50.0])
    assert (low, high, level) == (1.0, 50.0, 0.95)
    assert bootstrap([2.0] * 4)[:2] == (2.0, 2.0)
    assert bootstrap(range(100)) == bootstrap(range(100))
    with pytest.raises(ValueError, match="as many timings of ours as of theirs, round by round; got 1, 2"):
        ratio([1.0], [1.0, 2.0])
    assert str(ratio([1.0] * 6, [2.0] * 6)) == "2.00 (2.00-2.00)"
