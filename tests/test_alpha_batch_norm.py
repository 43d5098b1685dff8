"""The signed power and Alpha-Net's batch norm: exact values, alpha = 1, running statistics, recompute, half types."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import Tensor, nn
from minidl.recompute import recompute

RNG = np.random.default_rng(0)


def images(*shape: int, dtype: type = np.float64) -> np.ndarray:
    return (2 * RNG.standard_normal(shape) + 1).astype(dtype)


def moved(norm: nn.Module) -> nn.Module:
    """With weights and statistics that are not those of the start, in float64."""
    norm.to(dtype=np.float64)
    rng = np.random.default_rng(1)
    with minidl.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.copy_(rng.standard_normal(tensor.shape))
        norm.running_var.copy_(rng.uniform(0.5, 2, norm.running_var.shape))
    return norm


# ---- the power ---------------------------------------------------------------------------------------------------------


def test_the_power_by_hand() -> None:
    x = np.array([[-0.15, 0.0, 0.08]])
    y = minidl.signed_power(x, alpha=0.5, epsilon=0.01).numpy()
    np.testing.assert_allclose(y, [[-(0.4 - 0.1), 0.0, 0.3 - 0.1]], atol=1e-15)
    shifted = minidl.signed_power(x, [2.0, 5.0, -1.0], [0.0, 7.0, 1.0], alpha=0.5, epsilon=0.01).numpy()
    np.testing.assert_allclose(shifted, [[-0.6, 7.0, 0.8]], atol=1e-15)


def test_it_is_odd_grows_and_is_steepest_at_0() -> None:
    grid = np.linspace(-3, 3, 601)[:, None]
    x = Tensor(grid, requires_grad=True)
    y = minidl.signed_power(x, alpha=0.5, epsilon=0.01)
    y.backward(np.ones(y.shape))
    np.testing.assert_allclose(y.numpy(), -y.numpy()[::-1], atol=1e-15)
    assert (np.diff(y.numpy()[:, 0]) > 0).all()
    assert x.grad[300, 0] == x.grad.max() == pytest.approx(5)  # alpha e^(alpha - 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_alpha_1_changes_nothing(dtype: type) -> None:
    x, dy = Tensor(images(3, 4, 5, dtype=dtype), requires_grad=True), images(3, 4, 5, dtype=dtype)
    y = minidl.signed_power(x, alpha=1.0)
    y.backward(dy)
    np.testing.assert_allclose(y.numpy(), x.numpy(), atol=10 * np.finfo(dtype).eps)
    np.testing.assert_allclose(x.grad, dy, rtol=10 * np.finfo(dtype).eps)


def test_float16_is_added_in_float32() -> None:
    x = Tensor(np.full((64, 1, 64), 4, np.float16), requires_grad=False)
    weight, bias = (Tensor(np.ones(1, np.float16), requires_grad=True) for _ in range(2))
    y = minidl.signed_power(x, weight, bias)
    y.backward(np.full(y.shape, 2, np.float16))
    assert (y.dtype, weight.grad.dtype) == (np.float16, np.float16)
    assert bias.grad.item() == 8192  # float16 stops counting twos at 4096
    assert weight.grad.item() == pytest.approx(8192 * (4.01**0.5 - 0.1), rel=1e-3)


# ---- the op ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_op_computes_what_the_two_do_and_keeps_one_array(dtype: type) -> None:
    data, dy, weight, bias = (images(*shape, dtype=dtype) for shape in ((4, 3, 5, 2), (4, 3, 5, 2), (3,), (3,)))
    data += 100
    results = []
    for as_one in (True, False):
        x, w, b = (Tensor(a, requires_grad=True) for a in (data, weight, bias))
        if as_one:
            y, mean, var = minidl.alpha_batch_norm(x, w, b, eps=1e-3)
            assert y.node.saved[0] is x.data
            assert all(a.size == 3 for a in y.node.saved[1:])
        else:
            z, mean, var = minidl.batch_norm(x, eps=1e-3)
            y = minidl.signed_power(z, w, b)
        y.backward(dy)
        results.append([mean.numpy(), var.numpy(), y.numpy(), x.grad, w.grad, b.grad])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_threads_keep_the_statistics_of_the_whole_batch() -> None:
    x, dy = images(16, 8, 80, 80, dtype=np.float32), images(16, 8, 80, 80, dtype=np.float32)
    w, results = np.linspace(-1, 2, 8, dtype=np.float32), []
    for threads in (1, 2):
        with minidl.threads(threads):
            t, weight = Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)
            y, mean, var = minidl.alpha_batch_norm(t, weight)
            y.backward(dy)
        results.append([mean.numpy(), var.numpy(), y.numpy(), t.grad, weight.grad])
    np.testing.assert_allclose(results[0][0], x.mean((0, 2, 3)), rtol=1e-5)
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)


# ---- the layer ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_alpha_1_is_batch_norm(training: bool) -> None:
    ours, plain = moved(nn.AlphaBatchNorm2d(3, alpha=1.0)).train(training), moved(nn.BatchNorm2d(3)).train(training)
    data, dy = images(4, 3, 5, 2), images(4, 3, 5, 2)
    results = []
    for norm in (ours, plain):
        x = Tensor(data, requires_grad=True)
        y = norm(x)
        y.backward(dy)
        results.append((y.numpy(), x.grad, norm.weight.grad, norm.bias.grad))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    assert ours.state_dict().keys() == plain.state_dict().keys()
    for name, array in plain.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name], array)


@pytest.mark.parametrize("training", [True, False])
def test_the_layer_is_the_formula(training: bool) -> None:
    norm, x = moved(nn.AlphaBatchNorm2d(3, alpha=0.4, epsilon=0.05, eps=1e-3)).train(training), images(4, 3, 5, 2)
    mean, var = (norm.running_mean.numpy(), norm.running_var.numpy()) if not training else (x.mean((0, 2, 3)), x.var((0, 2, 3)))
    column = (3, 1, 1)
    z = (x - mean.reshape(column)) / np.sqrt(var.reshape(column) + 1e-3)
    power = np.sign(z) * ((np.abs(z) + 0.05) ** 0.4 - 0.05**0.4)
    expected = norm.weight.numpy().reshape(column) * power + norm.bias.numpy().reshape(column)
    np.testing.assert_allclose(norm(x).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.3, None])
def test_a_batch_moves_the_running_statistics(momentum: float | None) -> None:
    norm, x = moved(nn.AlphaBatchNorm2d(3, momentum=momentum)), images(4, 3, 5, 2)
    was, part = norm.running_mean.numpy().copy(), 1 if momentum is None else momentum  # the first batch is the mean of all
    norm(x)
    np.testing.assert_allclose(norm.running_mean.numpy(), (1 - part) * was + part * x.mean((0, 2, 3)), rtol=1e-12)


def test_the_gradient_of_the_layer_is_measured() -> None:
    norm = moved(nn.AlphaBatchNorm2d(2, epsilon=0.1))
    weights = np.random.default_rng(3).standard_normal((3, 2, 2, 2))
    x = Tensor(np.random.default_rng(2).standard_normal((3, 2, 2, 2)), requires_grad=True)
    assert minidl.gradcheck(lambda x: (norm(x) * weights).sum(), x)


def test_recompute_gives_the_same_bits_and_counts_a_batch_once() -> None:
    results = []
    for again in (False, True):
        block = nn.Sequential(nn.AlphaBatchNorm2d(3), nn.ReLU())
        x = Tensor(np.random.default_rng(0).standard_normal((4, 3, 2, 2)).astype(np.float32), requires_grad=True)
        y = recompute(block, x) if again else block(x)
        y.backward(np.random.default_rng(1).standard_normal(y.shape).astype(np.float32))
        results.append([y.numpy(), x.grad, *(p.grad for p in block.parameters()), *block.state_dict().values()])
        assert block[0].num_batches_tracked.item() == 1
    for plain, recomputed in zip(*results, strict=True):
        np.testing.assert_array_equal(plain, recomputed)


def test_it_prints_its_power_and_refuses_other_images() -> None:
    norm = nn.AlphaBatchNorm2d(3)
    text = "3, alpha=0.5, epsilon=0.01, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True"
    assert repr(norm) == f"AlphaBatchNorm2d({text})"
    with pytest.raises(ValueError) as error:
        norm(images(4, 2, 3, 3))
    assert str(error.value) == "AlphaBatchNorm2d: expected x [N,3,H,W], got [4,2,3,3]"
    bare = nn.AlphaBatchNorm2d(3, affine=False, track_running_stats=False)
    assert bare.state_dict() == {}
    assert bare.eval()(images(4, 3, 2, 2, dtype=np.float32)).shape == (4, 3, 2, 2)
