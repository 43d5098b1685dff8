"""Batch normalisation: what its statistics are, where it is hard, and what PyTorch keeps of them."""

from __future__ import annotations

import emulation
import numpy as np
import pytest

import minidl
from minidl import cuda
from minidl.ops import columns, rows
from minidl.signature import ShapeError
from minidl.tensor import Tensor

emulated = pytest.mark.skipif(emulation.problem() is not None, reason=f"emulation: {emulation.problem()}")
RNG = np.random.default_rng(0)


def test_the_output_has_mean_0_and_variance_1() -> None:
    x = Tensor(RNG.normal(5, 3, (8, 4, 6, 6)))
    y, mean, var = minidl.batch_norm(x, eps=0.0)
    np.testing.assert_allclose(y.numpy().mean(axis=(0, 2, 3)), 0, atol=1e-14)
    np.testing.assert_allclose(y.numpy().var(axis=(0, 2, 3)), 1, atol=1e-14)
    np.testing.assert_allclose(mean.numpy(), x.numpy().mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(var.numpy(), x.numpy().var(axis=(0, 2, 3)))  # the biased one


def test_statistics_have_no_gradient() -> None:
    x = Tensor(RNG.normal(size=(8, 4)), requires_grad=True)
    y, mean, var = minidl.batch_norm(x)
    assert (y.requires_grad, mean.requires_grad, var.requires_grad) == (True, False, False)


def test_the_gradient_is_blind_to_the_mean_and_the_scale_of_x() -> None:
    """y does not change when a channel is shifted or (eps = 0) stretched, so dx is orthogonal to both directions."""
    x = Tensor(RNG.normal(size=(8, 4)), requires_grad=True)
    y, _, _ = minidl.batch_norm(x, eps=0.0)
    y.backward(RNG.normal(size=y.shape))
    np.testing.assert_allclose(x.grad.sum(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose((x.grad * x.numpy()).sum(axis=0), 0, atol=1e-13)


def test_a_large_mean_costs_no_accuracy() -> None:
    """In one pass, E x^2 - (E x)^2 would leave nothing of a variance of 1 beside a mean of 10,000 in float32."""
    x = (10_000 + RNG.normal(size=(64, 2, 8, 8))).astype(np.float32)
    y, _, var = minidl.batch_norm(Tensor(x))
    exact = x.astype(np.float64)
    exact = (exact - exact.mean(axis=(0, 2, 3), keepdims=True)) / np.sqrt(exact.var(axis=(0, 2, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(y.numpy(), exact, atol=2e-3)
    np.testing.assert_allclose(var.numpy(), x.astype(np.float64).var(axis=(0, 2, 3)), rtol=1e-3)


@pytest.mark.parametrize("then", ["nothing", "relu", "residual and relu"])
def test_rows_are_taken_some_at_a_time(then: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four rows three, and then the last; against the plain formulas."""
    arrays = [RNG.normal(size=shape) for shape in ((3, 5, 4, 7), 5, 5, (3, 5, 4, 7))][: 4 if "residual" in then else 3]
    dy, op = RNG.normal(size=(3, 5, 4, 7)), minidl.batch_norm if then == "nothing" else minidl.batch_norm_relu
    monkeypatch.setattr(rows, "BLOCK", 3 * 105)
    assert rows.blocks(rows.as_rows(arrays[0])) == [slice(0, 3), slice(3, 6)]
    some, plain = ([Tensor(a, True) for a in arrays] for _ in range(2))
    op(*some)[0].backward(dy)
    with minidl.batch_norm.using("two_pass"):
        y = minidl.batch_norm(*plain[:3])[0]
    y = y + plain[3] if "residual" in then else y
    (y if then == "nothing" else minidl.relu(y)).backward(dy)
    for a, b in zip(some, plain, strict=True):
        np.testing.assert_allclose(a.grad, b.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("offset", [0, 3000])
def test_slices_of_any_mean_give_the_statistics_of_the_whole(offset: float) -> None:
    """In float32, every slice an image with a mean of its own, against the plain formulas in float64."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(6, 4, 8, 8)) + offset * rng.normal(1, 0.3, (6, 1, 1, 1))).astype(np.float32)
    w, b, dy = (rng.normal(size=shape).astype(np.float32) for shape in (4, 4, x.shape))
    plain = minidl.batch_norm.kernels["two_pass"]
    y, saved, aux = plain.forward(*(a.astype(np.float64) for a in (x, w, b)), eps=1e-5)
    exact = (y, *aux, *plain.backward(dy.astype(np.float64), saved, (True, True, True), eps=1e-5))
    with minidl.threads(2, images=1):
        inputs = [Tensor(a, True) for a in (x, w, b)]
        out, mean, var = minidl.batch_norm(*inputs)
        out.backward(dy)
    for name, ours, theirs in zip(("y", "mean", "var", "dx", "dw", "db"), (out, mean, var, *inputs), exact, strict=True):
        ours = ours.grad if name[0] == "d" else ours.numpy()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=3e-6 * np.abs(theirs).max(), err_msg=name)


@emulated
def test_a_large_mean_costs_no_accuracy_in_cuda_either() -> None:
    """In many parts of a few rows each, whose means are joined."""
    x = (10_000 + RNG.normal(size=(64, 3, 8, 8))).astype(np.float32)
    _, _, (mean, var) = minidl.batch_norm.kernels["cuda"].forward(x, None, None, eps=1e-5)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(axis=(0, 2, 3)), rtol=1e-7)
    np.testing.assert_allclose(var, exact.var(axis=(0, 2, 3)), rtol=1e-4)


def in_cuda(x: np.ndarray, dy: np.ndarray, name: str = "cuda") -> list[np.ndarray]:
    """y, the statistics and the gradients of a kernel."""
    kernel, (w, b) = minidl.batch_norm.kernels[name], np.linspace(1, 2, 2 * x.shape[1], dtype=x.dtype).reshape(2, -1)
    y, saved, aux = kernel.forward(x, w, b, eps=1e-3)
    return [y, *aux, *kernel.backward(dy, saved, (True, True, True), eps=1e-3)]


@emulated
@pytest.mark.parametrize("shape", [(3, 40, 5, 7), (2, 1, 67, 3), (50, 6)])
@pytest.mark.parametrize("parts", [1, 8, 1 << 11])
def test_parts_of_any_size_give_the_same(shape: tuple[int, ...], parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns beyond the last, parts with fewer rows than the others, channels that come several times in a row."""
    monkeypatch.setattr(columns, "PARTS", parts)
    x, dy = RNG.normal(3, 2, shape), RNG.normal(size=shape)
    for ours, plain in zip(in_cuda(x, dy), in_cuda(x, dy, "two_pass"), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-11, atol=1e-12)


@emulated
@pytest.mark.parametrize("most", [1, 3])
def test_a_grid_of_any_size_gives_the_same_bits(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, dy = (RNG.normal(size=(5, 3, 7, 9)).astype(np.float32) for _ in range(2))
    expected = in_cuda(x, dy)
    monkeypatch.setattr(cuda, "MOST_BLOCKS", most)
    for ours, whole in zip(in_cuda(x, dy), expected, strict=True):
        np.testing.assert_array_equal(ours, whole)


def test_float16_has_its_statistics_in_float32() -> None:
    x = np.full((300, 1, 16, 16), 3.0, np.float16)
    x[::2] = 5.0
    y, mean, var = minidl.batch_norm(Tensor(x))  # the sum is 307,200: infinite in float16
    assert (y.dtype, mean.dtype, var.dtype) == (np.float16, np.float32, np.float32)
    assert (mean.item(), var.item()) == (4.0, 1.0)
    np.testing.assert_allclose(np.abs(y.numpy().astype(np.float32)), 1.0, atol=1e-3)


def test_equal_values_give_the_bias() -> None:
    y, _, _ = minidl.batch_norm(Tensor(np.full((4, 2, 3, 3), 0.1)), np.array([2.0, 3.0]), np.array([-1.0, 7.0]))
    np.testing.assert_allclose(y.numpy(), np.broadcast_to(np.array([-1.0, 7.0])[:, None, None], y.shape), atol=1e-12)


def test_training_then_evaluation_agree_on_the_same_statistics() -> None:
    x, w, b = RNG.normal(size=(6, 3, 4)), RNG.normal(size=3), RNG.normal(size=3)
    y, mean, var = minidl.batch_norm(x, w, b)
    np.testing.assert_allclose(minidl.batch_norm_inference(x, mean, var, w, b).numpy(), y.numpy(), atol=1e-14)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)])
def test_one_value_per_channel_is_an_error(shape: tuple[int, ...]) -> None:
    expected = r"batch_norm: expected more than 1 value per channel in training; .* \(x \[1,3"
    with pytest.raises(ShapeError, match=expected):
        minidl.batch_norm(Tensor(np.ones(shape)))
    minidl.batch_norm_inference(np.ones(shape), np.zeros(3), np.ones(3))  # in evaluation one is enough


@pytest.mark.parametrize("shape", [(0, 3), (2, 3, 0, 5)])
def test_an_empty_batch_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"batch_norm: x.* is empty, .*; give at least one"):
        minidl.batch_norm(np.ones(shape))


def test_errors_name_the_shapes() -> None:
    with pytest.raises(ShapeError, match=r"batch_norm: weight has C=4 but x has C=3  \(x \[2,3,5,5\], weight \[4\]\)"):
        minidl.batch_norm(np.ones((2, 3, 5, 5)), np.ones(4))
    with pytest.raises(ShapeError, match="batch_norm: eps must not be negative, got -1"):
        minidl.batch_norm(np.ones((2, 3)), eps=-1)


@pytest.mark.parity
def test_statistics_are_what_pytorch_keeps() -> None:
    """PyTorch's running variance is the unbiased one: ours times M / (M - 1)."""
    torch = pytest.importorskip("torch")
    x = RNG.normal(size=(5, 3, 2, 2))
    running_mean, running_var = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    torch.nn.functional.batch_norm(torch.tensor(x), running_mean, running_var, training=True, momentum=1.0)
    _, mean, var = minidl.batch_norm(x)
    np.testing.assert_allclose(mean.numpy(), running_mean.numpy(), atol=1e-14)
    np.testing.assert_allclose(var.numpy() * 20 / 19, running_var.numpy(), atol=1e-14)


@pytest.mark.parity
def test_inference_is_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    x, mean, var = RNG.normal(size=(5, 3, 2, 2)), RNG.normal(size=3), RNG.random(3) + 0.1
    w, b, dy = RNG.normal(size=3), RNG.normal(size=3), RNG.normal(size=x.shape)
    theirs = [torch.tensor(a, requires_grad=i in (0, 3, 4)) for i, a in enumerate((x, mean, var, w, b))]
    ours = [Tensor(a, requires_grad=i in (0, 3, 4)) for i, a in enumerate((x, mean, var, w, b))]
    y, expected = minidl.batch_norm_inference(*ours), torch.nn.functional.batch_norm(*theirs)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), atol=1e-13)
    y.backward(dy)
    expected.backward(torch.tensor(dy))
    for i in (0, 3, 4):
        np.testing.assert_allclose(ours[i].grad, theirs[i].grad.numpy(), atol=1e-13)
