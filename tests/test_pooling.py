"""What the laws do not say of pooling: ties, NaN, windows of padding, large windows, errors."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import Tensor


def gradient(x: np.ndarray, dy: np.ndarray, **attrs: object) -> np.ndarray:
    t = Tensor(x, requires_grad=True)
    minidl.max_pool2d(t, **attrs).backward(dy)
    assert t.grad is not None
    return t.grad


TIED = np.array([[1.0, 5.0, 2.0], [5.0, 5.0, 0.0]]).reshape(1, 1, 2, 3)


def test_first_gives_a_tie_to_the_first_in_reading_order() -> None:
    dx = gradient(TIED, np.full((1, 1, 1, 1), 6.0), kernel_size=(2, 3))
    assert dx[0, 0].tolist() == [[0, 6, 0], [0, 0, 0]]


def test_even_shares_a_tie_in_equal_parts() -> None:
    dx = gradient(TIED, np.full((1, 1, 1, 1), 6.0), kernel_size=(2, 3), ties="even")
    assert dx[0, 0].tolist() == [[0, 2, 0], [2, 2, 0]]


@pytest.mark.parity
def test_ties_go_where_pytorch_sends_them() -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).integers(3, size=(2, 3, 9, 8)).astype(float)
    t = torch.from_numpy(x).requires_grad_()
    y = torch.nn.functional.max_pool2d(t, 3, 2, 1)
    dy = np.random.default_rng(1).standard_normal(tuple(y.shape))
    y.backward(torch.from_numpy(dy))
    np.testing.assert_allclose(gradient(x, dy, kernel_size=3, stride=2, padding=1), t.grad.numpy())


def test_windows_that_overlap_add_up() -> None:
    x = np.array([0.0, 9.0, 0.0]).reshape(1, 1, 1, 3)
    assert gradient(x, np.array([1.0, 10.0]).reshape(1, 1, 1, 2), kernel_size=(1, 2), stride=1).ravel().tolist() == [0, 11, 0]


@pytest.mark.parametrize("ties", ["first", "even"])
def test_a_window_of_more_than_256_positions(ties: str) -> None:
    x = np.zeros((1, 1, 20, 20))
    x[0, 0, 19, 18] = 1.0
    dx = gradient(x, np.ones((1, 1, 1, 1)), kernel_size=20, ties=ties)
    assert (dx == x).all()


def test_one_byte_is_saved_per_output() -> None:
    y = minidl.max_pool2d(Tensor(np.zeros((1, 2, 32, 32), np.float32), requires_grad=True), 16)
    code, _ = y.node.saved
    assert (code.dtype, code.size) == (np.uint8, y.size)


@pytest.mark.parametrize("place", [(0, 0), (1, 2), (3, 3)])
def test_nan_is_not_hidden(place: tuple[int, int]) -> None:
    x = np.zeros((1, 1, 4, 4))
    x[0, 0, place[0], place[1]] = np.nan
    y = minidl.max_pool2d(x, 2).numpy()[0, 0]
    assert np.argwhere(np.isnan(y)).tolist() == [[place[0] // 2, place[1] // 2]]


def test_a_window_of_padding_alone_gives_minus_infinity_and_takes_no_gradient() -> None:
    x = Tensor(np.ones((1, 1, 1, 1)), requires_grad=True)
    y = minidl.max_pool2d(x, 2, stride=1, padding=1, dilation=2)
    assert y.numpy().tolist() == [[[[-np.inf]]]]
    y.backward(np.ones(y.shape))
    assert x.grad.tolist() == [[[[0.0]]]]


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({}, "kernel_size is missing; give an int or a pair"),
        ({"kernel_size": 0}, "kernel_size must be an int or a pair of ints, 1 or more; got 0"),
        ({"kernel_size": 3, "stride": 0}, "stride must be an int or a pair of ints, 1 or more; got 0"),
        ({"kernel_size": 3, "padding": 2}, "padding 2 is more than half of a window that covers 3; use at most 1"),
        ({"kernel_size": 9}, "a window of 9 rows (R=9) does not fit into 4 (H=4, padding 0 + 0); pad by 5 more"),
    ],
)
def test_errors_teach(op: str, attrs: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        getattr(minidl, op)(np.zeros((1, 1, 4, 4), np.float32), **attrs)
    assert str(error.value).startswith(f"{op}: {message}")
    assert str(error.value).endswith("  (x [1,1,4,4])")


def test_an_unknown_tie_rule() -> None:
    with pytest.raises(ValueError, match="max_pool2d: ties must be 'first' or 'even', got 'last'"):
        minidl.max_pool2d(np.zeros((1, 1, 4, 4), np.float32), 2, ties="last")


def test_global_average_divides_in_float32() -> None:
    x = Tensor(np.ones((1, 1, 256, 257), np.float16), requires_grad=True)  # 65,792 values: infinite in float16
    minidl.global_avg_pool2d(x).backward(np.full((1, 1, 1, 1), 1000, np.float16))
    assert x.grad.dtype == np.float16
    np.testing.assert_allclose(x.grad, np.float16(1000 / 65_792))


def test_lrn_squares_in_float32() -> None:
    x = Tensor(np.full((1, 1, 1, 1), 300, np.float16), requires_grad=True)  # 300^2 is infinite in float16
    exact = Tensor(np.full((1, 1, 1, 1), 300.0), requires_grad=True)
    y, expected = minidl.lrn(x), minidl.lrn(exact)
    for t in (y, expected):
        t.backward(np.ones(t.shape, t.dtype))
    assert (y.dtype, x.grad.dtype) == (np.float16, np.float16)
    assert round(expected.item(), 1) == 138.6
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-3)
    np.testing.assert_allclose(x.grad, exact.grad, rtol=1e-3)


@pytest.mark.parametrize(("ties", "expected"), [("first", [[2, 0], [0, 0]]), ("even", [[0.5, 0.5], [0.5, 0.5]])])
def test_padding_does_not_win_where_all_is_minus_infinity(ties: str, expected: list) -> None:
    x, dy = np.full((1, 1, 2, 2), -np.inf), np.full((1, 1, 1, 1), 2.0)
    assert gradient(x, dy, kernel_size=3, padding=(1, 0, 1, 0), ties=ties)[0, 0].tolist() == expected


@pytest.mark.parity
@pytest.mark.parametrize(
    ("padding", "stride", "dilation"), [((2, 1), (1, 1), (1, 1)), ((1, 1), (2, 1), (1, 2)), ((2, 1), (1, 2), (2, 3))]
)
def test_minus_infinity_gets_its_gradient_where_pytorch_sends_it(padding: tuple, stride: tuple, dilation: tuple) -> None:
    torch = pytest.importorskip("torch")
    x = np.where(np.random.default_rng(0).random((4, 5, 7, 6)) < 0.9, -np.inf, 1.0)
    t = torch.from_numpy(x).requires_grad_()
    y = torch.nn.functional.max_pool2d(t, (4, 2), stride, padding, dilation)
    dy = np.random.default_rng(1).standard_normal(tuple(y.shape))
    y.backward(torch.from_numpy(dy))
    dx = gradient(x, dy, kernel_size=(4, 2), stride=stride, padding=padding, dilation=dilation)
    np.testing.assert_allclose(dx, t.grad.numpy())
