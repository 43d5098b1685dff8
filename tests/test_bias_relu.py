"""Bias and rectifier as one: what it equals, its kink, half sums."""

from __future__ import annotations

import emulation
import numpy as np
import pytest

import minidl
from minidl import cuda
from minidl.ops import columns
from minidl.signature import ShapeError
from minidl.tensor import Tensor

emulated = pytest.mark.skipif(emulation.problem() is not None, reason=f"emulation: {emulation.problem()}")
KERNELS = ["rows", pytest.param("cuda", marks=emulated)]


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", [(4, 3), (2, 5, 7), (3, 4, 6, 5)])
def test_it_is_a_sum_and_relu(kernel: str, shape: tuple[int, ...]) -> None:
    ours, plain = ([Tensor(numbers(*shape), True), Tensor(numbers(shape[1], seed=1), True)] for _ in range(2))
    with minidl.bias_relu.using(kernel):
        y = minidl.bias_relu(*ours)
    expected = minidl.relu(plain[0] + plain[1].reshape(-1, *[1] * (len(shape) - 2)))
    dy = numbers(*shape, seed=2)
    y.backward(dy)
    expected.backward(dy)
    np.testing.assert_array_equal(y.numpy(), expected.numpy())
    np.testing.assert_array_equal(ours[0].grad, plain[0].grad)
    np.testing.assert_allclose(ours[1].grad, plain[1].grad, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kernel", KERNELS)
def test_at_the_kink_the_gradient_is_0_and_nan_stays(kernel: str) -> None:
    kernel = minidl.bias_relu.kernels[kernel]
    y, saved = kernel.forward(np.array([[1.0, 2.0, np.nan]]), np.array([-1.0, -1.0, 0.0]))
    assert y[0, :2].tolist() == [0.0, 1.0]
    assert np.isnan(y[0, 2])
    dx, dbias = kernel.backward(np.ones((1, 3)), saved, (True, True))
    assert dx[0, :2].tolist() == dbias[:2].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("kernel", KERNELS)
def test_float16_is_summed_in_float32(kernel: str) -> None:
    """5,000 ones added one by one in float16 would stay at 2048."""
    forward, backward = minidl.bias_relu.kernels[kernel].forward, minidl.bias_relu.kernels[kernel].backward
    y, saved = forward(np.ones((5000, 1), np.float16), np.zeros(1, np.float16))
    _, dbias = backward(np.ones((5000, 1), np.float16), saved, (True, True))
    assert (y.dtype, dbias.dtype, dbias.item()) == (np.float16, np.float16, 5000.0)


@pytest.mark.parametrize("kernel", KERNELS)
def test_it_keeps_y_alone(kernel: str) -> None:
    y, (kept,) = minidl.bias_relu.kernels[kernel].forward(numbers(2, 3), numbers(3))
    assert kept is y


def test_slices_of_the_batch_add_up() -> None:
    x, b, dy = (a.astype(np.float32) for a in (numbers(6, 4, 32, 32), numbers(4, seed=1), numbers(6, 4, 32, 32, seed=2)))
    results = []
    for threads in (None, 2):
        inputs = [Tensor(a, True) for a in (x, b)]
        with minidl.threads(threads, images=1):
            y = minidl.bias_relu(*inputs)
            y.backward(dy)
        results.append([y.numpy(), *(a.grad for a in inputs)])
    for whole, sliced in zip(*results, strict=True):
        np.testing.assert_allclose(sliced, whole, rtol=1e-5, atol=1e-4)


@emulated
@pytest.mark.parametrize(("parts", "blocks"), [(1, 1), (8, 3), (1 << 11, 1 << 16)])
def test_parts_and_grids_of_any_size_give_the_same(parts: int, blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "PARTS", parts)
    monkeypatch.setattr(cuda, "MOST_BLOCKS", blocks)
    x, b, dy = numbers(3, 40, 5, 7), numbers(40, seed=1), numbers(3, 40, 5, 7, seed=2)
    results = []
    for kernel in (minidl.bias_relu.kernels[name] for name in ("rows", "cuda")):
        y, saved = kernel.forward(x, b)
        results.append([y, *kernel.backward(dy, saved, (True, True))])
    for plain, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-12, atol=1e-13)


def test_errors_name_the_shapes() -> None:
    with pytest.raises(ShapeError, match=r"bias_relu: bias has C=4 but x has C=3  \(x \[2,3,5,5\], bias \[4\]\)"):
        minidl.bias_relu(np.ones((2, 3, 5, 5)), np.ones(4))
