"""Batch norm, residual and rectifier as one: what it equals, its kink, and how layers call it."""

from __future__ import annotations

from collections.abc import Callable

import emulation
import numpy as np
import pytest

import minidl
from minidl import jit, nn, recompute
from minidl.modes import listening
from minidl.signature import ShapeError
from minidl.tensor import Tensor

OF_HALF = [
    "sums",
    pytest.param("cuda", marks=pytest.mark.skipif(emulation.problem() is not None, reason=f"emulation: {emulation.problem()}")),
]
KERNELS = [
    *OF_HALF,
    pytest.param("compiled", marks=pytest.mark.skipif(jit.missing() is not None, reason=f"compiled: {jit.missing()}")),
]


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


# ---- the op --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("with_residual", [False, True])
def test_it_is_batch_norm_and_a_sum_and_relu(kernel: str, with_residual: bool) -> None:
    arrays = (3 * numbers(6, 5, 4, 3) + 2, numbers(5), numbers(5, seed=1), numbers(6, 5, 4, 3, seed=2))
    ours, plain = ([Tensor(a, True) for a in arrays] for _ in range(2))
    dy = numbers(6, 5, 4, 3, seed=3)
    with minidl.batch_norm_relu.using(kernel):
        y, mean, var = minidl.batch_norm_relu(*ours[: 3 + with_residual])
    z, plain_mean, plain_var = minidl.batch_norm(*plain[:3])
    expected = minidl.relu(z + plain[3] if with_residual else z)
    y.backward(dy)
    expected.backward(dy)
    for a, b in ((y, expected), (mean, plain_mean), (var, plain_var)):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-13)
    for a, b in list(zip(ours, plain, strict=True))[: 3 + with_residual]:
        np.testing.assert_allclose(a.grad, b.grad, rtol=1e-11, atol=1e-12)


def test_slices_of_the_batch_share_their_sums() -> None:
    x, w, b, r, dy = (
        numbers(6, 4, 8, 8),
        numbers(4),
        numbers(4, seed=1),
        numbers(6, 4, 8, 8, seed=2),
        numbers(6, 4, 8, 8, seed=3),
    )
    results = []
    for threads in (None, 2):
        inputs = [Tensor(a.astype(np.float32), True) for a in (x, w, b, r)]
        with minidl.threads(threads, images=1):
            y, mean, var = minidl.batch_norm_relu(*inputs)
            y.backward(dy.astype(np.float32))
        results.append([y.numpy(), mean.numpy(), var.numpy(), *(a.grad for a in inputs)])
    for whole, sliced in zip(*results, strict=True):
        np.testing.assert_allclose(sliced, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("residual", [None, np.zeros((3, 1))])
def test_at_the_kink_the_gradient_is_0(kernel: str, residual: np.ndarray | None) -> None:
    """z = -1.2, 0 and 1.2."""
    x, r = Tensor([[-1.0], [0.0], [1.0]], True), None if residual is None else Tensor(residual.astype(np.float32), True)
    with minidl.batch_norm_relu.using(kernel):
        y, _, _ = minidl.batch_norm_relu(x, residual=r, bias=(bias := Tensor([0.0], True)))
    y.backward(np.array([[100], [10], [1]], np.float32))
    assert bias.grad.tolist() == [1.0]
    assert r is None or r.grad.tolist() == [[0.0], [0.0], [1.0]]


@pytest.mark.parametrize("kernel", KERNELS)
def test_nan_is_not_rectified_away(kernel: str) -> None:
    forward = minidl.batch_norm_relu.kernels[kernel].forward
    y, _, _ = forward(numbers(3, 2), None, None, np.array([[0, 0], [np.nan, 0], [0, 0]]), eps=0.0)
    assert np.isnan(y).tolist() == [[False, False], [True, False], [False, False]]


@pytest.mark.parametrize("kernel", OF_HALF)
def test_float16_is_computed_in_float32(kernel: str) -> None:
    """A sum of 307,200 is infinite in float16."""
    x = np.full((300, 1, 16, 16), 3.0, np.float16)
    x[::2] = 5.0
    y, saved, (mean, var) = minidl.batch_norm_relu.kernels[kernel].forward(x, None, None, x, eps=1e-5)
    assert (y.dtype, mean.dtype, var.dtype, mean.item(), var.item()) == (np.float16, np.float32, np.float32, 4.0, 1.0)
    np.testing.assert_allclose(np.unique(y.astype(np.float32)), [2.0, 6.0], atol=4e-3)
    assert all(a is None or a.dtype in (np.float16, np.float32) for a in saved)


@pytest.mark.parametrize("kernel", OF_HALF)
def test_a_half_z_is_not_rounded_before_the_residual(kernel: str) -> None:
    """z = -1000.25 and 1000.25, which float16 rounds to 1000: with a residual of 1000 that would be 0 or 2000."""
    x, bias = np.array([[-1.0], [1.0]], np.float16), None
    weight, residual = np.array([1000.5], np.float16), np.array([[1000.0], [-1000.0]], np.float16)
    y, _, _ = minidl.batch_norm_relu.kernels[kernel].forward(x, weight, bias, residual, eps=0.0005)
    np.testing.assert_allclose(y.astype(np.float32), [[0.0], [0.25]], atol=2e-3)


def test_y_is_not_held_twice() -> None:
    kernel = minidl.batch_norm_relu.kernels["sums"]
    y, saved, _ = kernel.forward(numbers(4, 3), None, None, None, eps=1e-5)
    assert saved[-1] is y


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (2, 3), (3, 3, 5, 5)])
def test_a_residual_of_another_shape_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"batch_norm_relu: residual .*x "):
        minidl.batch_norm_relu(np.ones((2, 3, 5, 5)), residual=np.ones(shape))


# ---- the layers ----------------------------------------------------------------------------------------------------------

LAYERS: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = {
    "1d": (nn.BatchNorm1d, (6, 3)),
    "sequences": (nn.BatchNorm1d, (4, 3, 5)),
    "2d": (nn.BatchNorm2d, (4, 3, 5, 2)),
    "alpha": (nn.AlphaBatchNorm2d, (4, 3, 5, 2)),
}


def layer(name: str, **options: bool) -> nn.Module:
    """With weights, biases and running statistics of its own."""
    norm = LAYERS[name][0](3, eps=0.1, **options)
    for i, array in enumerate([*norm.parameters(), *(norm.running_mean, norm.running_var) * (norm.running_mean is not None)]):
        with minidl.no_grad():
            array.copy_((1 + 0.5 * np.abs(numbers(3, seed=i))).astype(np.float32))
    return norm


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"track_running_stats": False}], ids=str)
@pytest.mark.parametrize(("rectify", "with_residual"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_layer_adds_and_rectifies(name: str, training: bool, options: dict, rectify: bool, with_residual: bool) -> None:
    shape, dy = LAYERS[name][1], numbers(*LAYERS[name][1], seed=5).astype(np.float32)
    results = []
    for together in (True, False):
        norm = layer(name, **options).train(training)
        x, r = (Tensor((2 * numbers(*shape, seed=seed) - 1).astype(np.float32), True) for seed in (3, 4))
        if together:
            y = norm(x, relu=rectify, residual=r if with_residual else None)
        else:
            y = norm(x)
            y = y + r if with_residual else y
            y = minidl.relu(y) if rectify else y
        y.backward(dy)
        grads = [x.grad, *(p.grad for p in norm.parameters()), *([r.grad] if with_residual else [])]
        results.append([y.numpy(), *grads, *norm.state_dict().values()])
    for together, apart in zip(*results, strict=True):
        np.testing.assert_allclose(together, apart, rtol=1e-5, atol=1e-6)


def called(norm: nn.Module, *args: Tensor, **keywords: object) -> list[str]:
    """The ops that a call of the layer runs."""
    names: list[str] = []
    with listening(lambda kernel, *_: names.append(kernel.op.name)):
        norm(*args, **keywords)
    return names


def test_training_is_one_op_and_evaluation_three() -> None:
    norm, x = nn.BatchNorm2d(3), Tensor(numbers(4, 3, 5, 2).astype(np.float32))
    assert called(norm, x, relu=True) == ["batch_norm_relu"]
    assert called(norm, x, relu=True, residual=x) == ["batch_norm_relu"]
    assert called(norm, x, residual=x) == ["batch_norm", "add"]
    assert called(norm, x) == ["batch_norm"]
    assert called(norm.eval(), x, relu=True, residual=x) == ["batch_norm_inference", "add", "relu"]
    assert called(norm, x) == ["batch_norm_inference"]


def test_a_recomputed_batch_is_tracked_once() -> None:
    norm, x = nn.BatchNorm2d(3), Tensor(numbers(4, 3, 5, 2).astype(np.float32), True)
    recompute(lambda a: norm(a, relu=True, residual=a), x).sum().backward()
    assert norm.num_batches_tracked.item() == 1


@pytest.mark.parametrize("training", [True, False])
def test_a_layer_says_what_does_not_fit(training: bool) -> None:
    norm, x = nn.BatchNorm2d(3).train(training), Tensor(numbers(4, 3, 5, 2).astype(np.float32))
    with pytest.raises(ShapeError, match=r"^BatchNorm2d: expected residual of the shape of x \[4,3,5,2\], got \[4,3,1,1\]$"):
        norm(x, residual=Tensor(np.ones((4, 3, 1, 1), np.float32)))
    with pytest.raises(ValueError, match=r"^BatchNorm2d: relu must be True or False, got Tensor$"):
        norm(x, relu=x)
    with pytest.raises(TypeError, match="positional"):
        norm(x, True)
