"""The measurement itself: right slopes pass, wrong ones fail, kinks are undecided. A test of the test."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import Tensor, derivative

DY = np.array([1.0, -0.7, 0.3])


@pytest.mark.parametrize("f", [np.sin, np.exp, lambda x: x**5, lambda x: np.exp(30 * x)], ids=["sin", "exp", "x^5", "exp(30x)"])
def test_smooth_slopes_are_measured_to_ten_digits_or_own_up_to_the_doubt(f: object) -> None:
    x, v = np.array([0.3, 0.5, -0.4]), np.array([1.0, 0.2, -0.5])
    slope = derivative.measure(lambda t: f(x + t * v), DY)
    exact = derivative.measure_complex(lambda t: f(x + t * v), DY)
    assert abs(slope.value - exact.value) <= 1e-9 * abs(exact.value) + 10 * slope.doubt
    assert slope.doubt <= 1e-6 * abs(exact.value)


def test_a_gradient_that_is_one_in_two_thousand_off_fails() -> None:
    x = np.array([1.0, 2.0, 3.0])
    slope = derivative.measure(lambda t: (x + t) ** 2, DY)
    assert derivative.agree(float((2.0 * x * DY).sum()), 2.0 * x * DY, slope) is True
    assert derivative.agree(float((2.001 * x * DY).sum()), 2.001 * x * DY, slope) is False
    assert derivative.agree(0.0, np.zeros(3), slope) is False
    assert derivative.agree(float("nan"), np.zeros(3), slope) is False


def test_a_kink_is_undecided_never_wrong() -> None:
    for off in (0.0, 1e-4, 3e-4, 1e-5):
        slope = derivative.measure(lambda t, off=off: np.abs(np.array([off, 1.0, 2.0]) + t), DY)
        right = np.sign([off, 1.0, 2.0]) * DY
        assert derivative.agree(float(right.sum()), right, slope) is not False


def test_gradcheck_passes_right_and_names_the_element_of_wrong_gradients() -> None:
    x = Tensor(np.linspace(0.2, 1.0, 6).reshape(2, 3), requires_grad=True)
    w = Tensor(np.linspace(-1, 1, 3).reshape(3, 1), requires_grad=True)
    assert minidl.gradcheck(lambda x, w: minidl.tanh(x @ w), x, w)

    def wrong(t: Tensor) -> Tensor:  # 2.001 x for x^2
        return t * t + (t * t).detach() * 0.0 + t.detach() * 0.0 + (t * 0.001) * t.detach() - (t.detach() * 0.001) * t.detach()

    with pytest.raises(AssertionError, match=r"input 0 \[2,3\]: element \[.*\] is .*\(1\.001 times what it should be\)"):
        minidl.gradcheck(wrong, x)


def test_gradcheck_at_a_kink_cannot_be_decided() -> None:
    with pytest.raises(ValueError, match="kink or a tie is near"):
        minidl.gradcheck(minidl.relu, Tensor(np.array([0.0, 1.0]), requires_grad=True))


def test_gradcheck_without_a_gradient_to_check() -> None:
    with pytest.raises(ValueError, match="no input has requires_grad=True"):
        minidl.gradcheck(minidl.exp, Tensor([1.0]))


def test_gradcheck_replays_random_ops() -> None:
    x = Tensor(np.linspace(0.2, 1.0, 20).reshape(4, 5), requires_grad=True)
    assert minidl.gradcheck(lambda t: minidl.dropout(t, p=0.5) * t, x)
