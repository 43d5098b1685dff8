"""Who answers a problem's questions: bounds, determinism, shrinking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl  # noqa: F401  (declares every op)
from minidl.draw import Random, Replay, Table, shrink
from minidl.op import OPS


def test_the_same_seed_gives_the_same_problem() -> None:
    for op in OPS.values():
        first, second = op.ask(Random(7)), op.ask(Random(7))
        assert str(first.attrs) == str(second.attrs), op.name
        for a, b in zip(first.inputs, second.inputs, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_the_simplest_answers_make_a_problem_too(op: object) -> None:
    op.ask(Replay({}, seed=0))


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_every_workload_answers_the_problem(op: object) -> None:
    """A small sibling: the workload's answers with the batch cut to 1, so that it fits in a test."""
    for name, workload in op.workloads.items():
        inputs, attrs = op.ask(Small({**op.attrs, **workload}))
        assert op.shape(*(None if x is None else x.shape for x in inputs), **attrs) is not None, name


class Small(Table):
    """A table whose arrays are memory-less: the shapes of a workload without its bytes."""

    def array(self, *shape: int) -> np.ndarray:
        return np.broadcast_to(np.float64(0), shape)

    def labels(self, n: int, classes: int) -> np.ndarray:
        return np.zeros(n, np.int64)

    def positive(self, *shape: int) -> np.ndarray:
        return self.array(*shape)

    def distinct(self, *shape: int, step: float = 0.1) -> np.ndarray:
        return self.array(*shape)

    def away_from(self, kinks: object, *shape: int, gap: float = 0.05, scale: float = 1.0) -> np.ndarray:
        return self.array(*shape)


@given(st.integers(0, 2**32 - 1), st.lists(st.floats(-2, 2), min_size=1, max_size=3, unique=True))
def test_values_keep_away_from_kinks(seed: int, kinks: list[float]) -> None:
    kinks = [k for i, k in enumerate(kinks) if all(abs(k - other) > 0.3 for other in kinks[:i])]
    x = Random(seed).away_from(kinks, 200, gap=0.05)
    assert min(np.abs(x - k).min() for k in kinks) >= 0.049


def test_distinct_values_have_no_ties_and_no_zero() -> None:
    x = Random(3).distinct(4, 5)
    assert np.diff(np.sort(x.ravel())).min() > 0.09
    assert np.abs(x).min() > 0.03


def test_a_question_asked_twice_is_an_error() -> None:
    d = Random(0)
    d.size("N", 3)
    with pytest.raises(ValueError, match="asked for 'N' twice"):
        d.size("N", 3)


def test_a_workload_that_forgets_an_answer_is_named() -> None:
    with pytest.raises(KeyError, match="no answer for 'C'"):
        Table({"N": 3}).size("C", 3)


def test_shrinking_finds_the_smallest_failing_answers() -> None:
    d = Random(11)
    answers = {"N": 9, "C": 7, "H": 6, "stride": 2}
    least = {"N": 1, "C": 1, "H": 2, "stride": 0}
    assert shrink(answers, least, lambda a: a["N"] >= 3 and a["C"] + a["H"] >= 8) == {"N": 3, "C": 2, "H": 6, "stride": 0}
    assert d.answers == {}
