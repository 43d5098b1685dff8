"""The losses: exact values, scores so large that a careless formula overflows, and what wrong labels are told."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import emulation
import numpy as np
import pytest

import minidl
from minidl import cuda
from minidl.op import Op
from minidl.signature import ShapeError
from minidl.tensor import Tensor

RNG = np.random.default_rng(0)
emulated = pytest.mark.skipif(emulation.problem() is not None, reason=f"emulation: {emulation.problem()}")


# ---- softmax and cross-entropy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_probabilities_sum_to_one_along_the_axis(axis: int) -> None:
    y = minidl.softmax(RNG.normal(size=(3, 4, 5)), axis=axis).numpy()
    np.testing.assert_allclose(y.sum(axis=axis), 1)
    np.testing.assert_allclose(np.log(y), minidl.log_softmax(np.log(y), axis=axis).numpy())


def test_large_scores_do_not_overflow() -> None:
    x = np.array([[1e4, 0.0, -1e4]], np.float32)
    np.testing.assert_array_equal(minidl.softmax(x).numpy(), [[1, 0, 0]])
    np.testing.assert_array_equal(minidl.log_softmax(x).numpy(), [[0, -1e4, -2e4]])
    assert minidl.softmax_cross_entropy(x, np.array([2])).item() == 2e4
    assert minidl.binary_cross_entropy_with_logits(x, np.array([[0, 1, 1]], np.float32), reduction="sum").item() == (
        pytest.approx(2e4 + math.log(2))
    )


def test_a_masked_class_has_no_probability() -> None:
    scores = Tensor(np.array([[0.0, -np.inf, 0.0]]), requires_grad=True)
    loss = minidl.softmax_cross_entropy(scores, np.array([0]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    np.testing.assert_allclose(scores.grad, [[-0.5, 0, 0.5]])


def test_equal_scores_surprise_by_the_log_of_the_classes() -> None:
    for e in (0.0, 0.1):
        loss = minidl.softmax_cross_entropy(np.zeros((4, 10)), np.arange(4), label_smoothing=e)
        assert loss.item() == pytest.approx(math.log(10))


def test_ignored_labels_do_not_count() -> None:
    scores, labels = RNG.normal(size=(4, 3)), np.array([0, -100, 2, -100])
    some = minidl.softmax_cross_entropy(scores, labels, label_smoothing=0.1)
    alone = minidl.softmax_cross_entropy(scores[::2], labels[::2], label_smoothing=0.1)
    assert some.item() == pytest.approx(alone.item())
    each = minidl.softmax_cross_entropy(scores, labels, reduction="none").numpy()
    assert (each[1], each[3]) == (0, 0)


def test_a_mean_of_nothing_is_nan_and_moves_nothing() -> None:
    scores = Tensor(RNG.normal(size=(2, 3)), requires_grad=True)
    loss = minidl.softmax_cross_entropy(scores, np.array([7, 7]), ignore_index=7)
    loss.backward()
    assert math.isnan(loss.item())
    np.testing.assert_array_equal(scores.grad, np.zeros((2, 3)))
    assert minidl.softmax_cross_entropy(scores, np.array([7, 7]), ignore_index=7, reduction="sum").item() == 0


def test_many_float16_losses_are_added_in_float32() -> None:
    """4,096 losses of ln 10: float16 would stop counting their number at 2,048, and their sum at 65,504 / ln 10."""
    scores = Tensor(np.zeros((4096, 10), np.float16), requires_grad=True)
    loss = minidl.softmax_cross_entropy(scores, np.zeros(4096, int))
    loss.backward()
    assert loss.dtype == np.float16
    assert loss.item() == pytest.approx(math.log(10), rel=1e-3)
    np.testing.assert_allclose(scores.grad[0, :2].astype(float), np.array([-0.9, 0.1]) / 4096, rtol=1e-2)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.int64])
def test_labels_may_be_any_integers(kind: type) -> None:
    scores, labels = RNG.normal(size=(3, 4)), np.array([1, 0, 3])
    expected = minidl.softmax_cross_entropy(scores, labels).item()
    assert minidl.softmax_cross_entropy(scores, labels.astype(kind)).item() == expected


# ---- AM-Softmax ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "s", "m", "rounded"),
    [(10, 30.0, 0.35, 12.70), (10, 10.0, 0.35, 5.70), (1000, 30.0, 0.35, 17.41), (10, 64.0, 0.0, 2.30), (1, 30.0, 0.35, 0.0)],
)
def test_equal_cosines_have_a_known_loss(classes: int, s: float, m: float, rounded: float) -> None:
    """f is orthogonal to every w, so all cosines are 0 and the loss is ln(1 + (C - 1) e^(s m))."""
    w = RNG.normal(size=(classes, 6))
    x = RNG.normal(size=(5, 6))
    w[:, 3:], x[:, :3] = 0, 0
    loss = minidl.am_softmax(x, w, RNG.integers(classes, size=5), s=s, m=m).item()
    assert loss == pytest.approx(math.log(1 + (classes - 1) * math.exp(s * m)), abs=1e-12)
    assert round(loss, 2) == rounded


def test_lengths_do_not_matter() -> None:
    x, w, labels = RNG.normal(size=(4, 5)), RNG.normal(size=(3, 5)), np.array([0, 1, 2, 1])
    scaled = minidl.am_softmax(x * [[1e-3], [1], [7], [1e4]], w * [[2], [0.5], [9]], labels)
    assert scaled.item() == pytest.approx(minidl.am_softmax(x, w, labels).item())


def test_without_margin_it_is_cross_entropy_of_cosines() -> None:
    x, w, labels = RNG.normal(size=(4, 5)), RNG.normal(size=(3, 5)), np.array([0, 1, 2, 1])
    plain = minidl.softmax_cross_entropy(10.0 * minidl.cosine_logits(x, w).numpy(), labels)
    assert minidl.am_softmax(x, w, labels, s=10.0, m=0.0).item() == pytest.approx(plain.item())


def test_the_gradient_turns_vectors_and_never_stretches_them() -> None:
    x, w = Tensor(RNG.normal(size=(4, 5)), True), Tensor(RNG.normal(size=(3, 5)), True)
    minidl.am_softmax(x, w, np.array([0, 1, 2, 1])).backward()
    for t in (x, w):
        assert np.abs(t.grad).max() > 1e-3
        np.testing.assert_allclose((t.grad * t.numpy()).sum(axis=1), 0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_parallel_opposite_and_zero_vectors_are_ordinary(dtype: type) -> None:
    x = Tensor(np.array([[1, 0], [-2, 0], [0, 0], [0, 1e-13]], dtype), requires_grad=True)
    w = Tensor(np.array([[3, 0], [0, 0], [0, 5]], dtype), requires_grad=True)
    cos = minidl.cosine_logits(x, w).numpy()
    np.testing.assert_array_equal(cos, [[1, 0, 0], [-1, 0, 0], [0, 0, 0], [0, 0, 0]])
    loss = minidl.am_softmax(x, w, np.array([0, 0, 1, 2]))
    loss.backward()
    assert np.isfinite(loss.item())
    for t in (x, w):
        assert np.isfinite(t.grad).all()
    np.testing.assert_array_equal(x.grad[2:], 0)
    np.testing.assert_array_equal(w.grad[1], 0)


def test_float16_norms_are_taken_in_float32() -> None:
    """300^2 is infinite in float16, and 1e-4^2 is zero."""
    x, w = np.full((2, 8), 300, np.float16), np.full((3, 8), 1e-4, np.float16)
    np.testing.assert_allclose(minidl.cosine_logits(x, w).numpy().astype(float), 1, rtol=1e-3)


# ---- the CUDA kernels, on the CPU --------------------------------------------------------------------------------------


def by_kernel(op: Op, name: str, inputs: tuple, dy: np.ndarray, **attrs: Any) -> list[np.ndarray]:
    """The loss, and the gradients of the inputs that have one."""
    kernel, needs = op.kernels[name], tuple(x.dtype.kind == "f" for x in inputs)
    y, saved = kernel.forward(*inputs, **attrs)
    return [y, *(g for g in kernel.backward(dy, saved, needs, **attrs) if g is not None)]


def same_as_formulas(op: Op, formulas: str, inputs: tuple, dy: np.ndarray, tolerance: float = 1e-12, **attrs: Any) -> None:
    expected = by_kernel(op, formulas, inputs, dy, **attrs)
    for got, want in zip(by_kernel(op, "cuda", inputs, dy, **attrs), expected, strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        np.testing.assert_allclose(got.astype(float), want.astype(float), rtol=tolerance, atol=tolerance)


TOLERANCES = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-12}
ENTROPY = {"label_smoothing": 0.1, "ignore_index": -100, "reduction": "mean"}


@emulated
@pytest.mark.parametrize("most", [1, pytest.param(1 << 16, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_rows_longer_than_a_block(reduction: str, dtype: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """700 classes for 256 threads, seven rows for one block; more labels than a block has threads are added up by one."""
    monkeypatch.setattr(cuda, "MOST_BLOCKS", most)
    for N, C in ((7, 700), (300, 3)):
        scores, labels = RNG.normal(size=(N, C)).astype(dtype), RNG.integers(C, size=N)
        labels[[1, N - 1]] = -100
        dy = np.asarray(RNG.normal(size=(N,) if reduction == "none" else ())).astype(dtype)
        attrs = {**ENTROPY, "reduction": reduction}
        tolerance = TOLERANCES[dtype] * (N if reduction == "sum" else 1)
        same_as_formulas(minidl.softmax_cross_entropy, "log_sum_exp", (scores, labels), dy, tolerance, **attrs)


@emulated
@pytest.mark.parametrize("most", [1, pytest.param(1 << 16, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_am_softmax_with_rows_longer_than_a_block(dtype: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "MOST_BLOCKS", most)
    for N, C, D in ((5, 300, 520), (300, 3, 4)):
        x, w = RNG.normal(size=(N, D)).astype(dtype), RNG.normal(size=(C, D)).astype(dtype)
        inputs, dy = (x, w, RNG.integers(C, size=N)), np.asarray(RNG.normal()).astype(dtype)
        same_as_formulas(minidl.am_softmax, "unit_rows", inputs, dy, 10 * TOLERANCES[dtype], s=10.0, m=0.35)


@emulated
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("op", [minidl.softmax, minidl.log_softmax], ids=["softmax", "log_softmax"])
def test_softmax_of_rows_longer_than_a_block(op: Op, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "MOST_BLOCKS", 2)
    x, dy = RNG.normal(size=(5, 300)).astype(dtype), RNG.normal(size=(5, 300)).astype(dtype)
    same_as_formulas(op, "stable", (x,), dy, 10 * TOLERANCES[dtype], axis=1)


@emulated
def test_on_a_gpu_too_a_mean_of_nothing_moves_nothing() -> None:
    scores, labels = RNG.normal(size=(2, 3)), np.array([7, 7])
    loss, dscores = by_kernel(
        minidl.softmax_cross_entropy, "cuda", (scores, labels), np.ones(()), **{**ENTROPY, "ignore_index": 7}
    )
    assert math.isnan(loss)
    np.testing.assert_array_equal(dscores, 0)


@emulated
@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64])
def test_on_a_gpu_too_labels_may_be_any_integers(kind: type) -> None:
    inputs = (RNG.normal(size=(3, 4)), np.array([1, 0, 3], kind))
    same_as_formulas(minidl.softmax_cross_entropy, "log_sum_exp", inputs, np.ones(()), **ENTROPY)


@emulated
def test_on_a_gpu_too_a_masked_class_has_no_probability() -> None:
    attrs = {**ENTROPY, "label_smoothing": 0.0}
    scores = np.array([[0.0, -np.inf, 0.0], [3.0, 1.0, -np.inf]])
    same_as_formulas(minidl.softmax_cross_entropy, "log_sum_exp", (scores, np.array([0, 1])), np.ones(()), **attrs)


@emulated
@pytest.mark.parametrize("label", [-1, 4, 2**40])
def test_on_a_gpu_a_label_out_of_range_makes_a_nan_and_reads_nothing(label: int) -> None:
    """To look at the labels would be to wait for the device; so the loss tells it."""
    scores, labels = RNG.normal(size=(3, 4)), np.array([0, label, 1])
    loss, _ = by_kernel(minidl.softmax_cross_entropy, "cuda", (scores, labels), np.ones(3), **{**ENTROPY, "reduction": "none"})
    assert np.isnan(loss).tolist() == [False, True, False]
    loss, *_ = by_kernel(minidl.am_softmax, "cuda", (scores, RNG.normal(size=(4, 4)), labels), np.ones(()), s=4.0, m=0.1)
    assert np.isnan(loss)


@emulated
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_on_a_gpu_too_zero_vectors_are_ordinary(dtype: str) -> None:
    x, w = np.array([[1, 0], [0, 0], [0, 1e-13]], dtype), np.array([[3, 0], [0, 0], [0, 5]], dtype)
    inputs, dy = (x, w, np.array([0, 1, 2])), np.ones((), dtype)
    same_as_formulas(minidl.am_softmax, "unit_rows", inputs, dy, TOLERANCES[dtype], s=4.0, m=0.35)
    _, dx, dw = by_kernel(minidl.am_softmax, "cuda", inputs, dy, s=4.0, m=0.35)
    assert not dx[1:].any()
    assert not dw[1].any()


def test_what_the_cuda_kernel_refuses() -> None:
    why_not = minidl.softmax_cross_entropy.kernels["cuda"].why_not
    assert why_not(((3, 4), (3,)), ENTROPY) is None
    assert why_not(((3, 0), (3,)), ENTROPY) == "there is no class"
    assert why_not(((3, 4), (3,)), {**ENTROPY, "ignore_index": -(2**31)}) == "ignore_index=-2147483648 is beyond 32 bits"
    assert minidl.am_softmax.kernels["cuda"].why_not(((3, 4), (0, 4), (3,)), {}) == "there is no class"


# ---- what is told ----------------------------------------------------------------------------------------------------

ONES = np.ones((4, 10))
LABELS = np.array([0, 9, 3, 12])
ERRORS: list[tuple[Callable, type, str]] = [
    (
        lambda: minidl.softmax_cross_entropy(ONES, LABELS),
        ValueError,
        "softmax_cross_entropy: labels must be in [0, 10) or ignore_index=-100, got 12 at position 3",
    ),
    (
        lambda: minidl.softmax_cross_entropy(ONES, np.array([0, -1, -100, 0])),
        ValueError,
        "softmax_cross_entropy: labels must be in [0, 10) or ignore_index=-100, got -1 at position 1",
    ),
    (
        lambda: minidl.am_softmax(ONES, ONES, np.array([0, 1, 2, 4])),
        ValueError,
        "am_softmax: labels must be in [0, 4), got 4 at position 3",
    ),
    (
        lambda: minidl.softmax_cross_entropy(ONES, LABELS / 10),
        TypeError,
        "softmax_cross_entropy: labels[N] expects integers, got float64; use .astype('int64')",
    ),
    (
        lambda: minidl.softmax_cross_entropy(ONES, LABELS[:3]),
        ShapeError,
        "softmax_cross_entropy: labels has N=3 but scores has N=4  (scores [4,10], labels [3])",
    ),
    (
        lambda: minidl.softmax_cross_entropy(ONES, LABELS, reduction="average"),
        ShapeError,
        "softmax_cross_entropy: reduction must be 'mean', 'sum' or 'none', got 'average'  (scores [4,10], labels [4])",
    ),
    (
        lambda: minidl.softmax_cross_entropy(ONES, LABELS, label_smoothing=1.5),
        ShapeError,
        "softmax_cross_entropy: label_smoothing is a part of 1, in [0, 1], got 1.5  (scores [4,10], labels [4])",
    ),
    (
        lambda: minidl.am_softmax(ONES, ONES, LABELS, m=-0.1),
        ShapeError,
        (
            "am_softmax: m is taken off a cosine, 0 or more and at most 2, as far as two cosines are apart; got m=-0.1  "
            "(x [4,10], w [4,10], labels [4])"
        ),
    ),
    (
        lambda: minidl.mse_loss(np.ones((4, 1)), np.ones(4)),
        ShapeError,
        "mse_loss: prediction and target must have one shape: reshape one, nothing broadcasts  (prediction [4,1], target [4])",
    ),
    (
        lambda: minidl.binary_cross_entropy_with_logits(ONES, 2 * ONES),
        ValueError,
        "binary_cross_entropy_with_logits: target must be in [0, 1], got 2; a target is a probability, scores are not",
    ),
    (
        lambda: minidl.binary_cross_entropy_with_logits(ONES, np.nan * ONES),
        ValueError,
        "binary_cross_entropy_with_logits: target must be in [0, 1], got nan; a target is a probability, scores are not",
    ),
    (
        lambda: minidl.binary_cross_entropy_with_logits(ONES, ONES, pos_weight=0),
        ShapeError,
        "binary_cross_entropy_with_logits: pos_weight is one positive number, got 0  (scores [4,10], target [4,10])",
    ),
    (
        lambda: minidl.softmax(ONES[:, :0]),
        ShapeError,
        "softmax: x is empty, [4,0] has no elements; give at least one  (x [4,0])",
    ),
    (
        lambda: minidl.log_softmax(ONES[:0], axis=0),
        ShapeError,
        "log_softmax: x is empty, [0,10] has no elements; give at least one  (x [0,10])",
    ),
    (
        lambda: minidl.mse_loss(ONES[:0], ONES[:0]),
        ShapeError,
        "mse_loss: prediction is empty, [0,10] has no elements; give at least one  (prediction [0,10], target [0,10])",
    ),
    (
        lambda: minidl.binary_cross_entropy_with_logits(ONES[0, :0], ONES[0, :0]),
        ShapeError,
        "binary_cross_entropy_with_logits: scores is empty, [0] has no elements; give at least one  (scores [0], target [0])",
    ),
    (
        lambda: minidl.softmax(ONES, axis=2),
        ShapeError,
        "softmax: axis=2 is out of range for 2 dimensions; axis lies in [-2, 1]  (x [4,10])",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS, ids=[message[:60] for _, _, message in ERRORS])
def test_errors_say_what_to_do(call: Callable, kind: type, message: str) -> None:
    with pytest.raises(kind) as error:
        call()
    assert str(error.value) == message
