"""`minidl.precision`: what is rounded, by how much, and what is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strict_xp import StrictArray

import minidl
from minidl import choice
from minidl.modes import PRECISIONS, listening
from minidl.op import OPS
from minidl.ops.gemm import add_rows, gemm, rounded
from minidl.tensor import Tensor

FLOATS = st.floats(width=32, min_value=-(2.0**126), max_value=2.0**126)
LESS = [(name, bits) for name, bits in PRECISIONS.items() if name != "float32"]


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# ---- rounding ------------------------------------------------------------------------------------------------------------


@example(value=1 + 2.0**-8, bits=7)  # halfway: down to the even one
@example(value=1 + 3 * 2.0**-8, bits=7)  # and up
@example(value=1 + 2.0**-8 + 2.0**-20, bits=7)
@given(value=FLOATS, bits=st.sampled_from([bits for _, bits in LESS]))
def test_the_nearest_number_of_so_many_bits(value: float, bits: int) -> None:
    (kept,) = rounded(np.array([value], np.float32), bits)
    exponent = int(np.frexp(np.float64(value))[1])
    step = np.ldexp(1.0, max(exponent, -125) - 1 - bits)  # between neighbours; the smallest numbers are further apart
    assert kept == np.round(np.float64(value) / step) * step  # NumPy rounds to even, too
    assert rounded(kept[None], bits)[0] == kept


def test_infinity_and_nan_stay() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], np.float32)
    for _, bits in LESS:
        np.testing.assert_array_equal(rounded(x, bits), x)
        np.testing.assert_array_equal(np.signbit(rounded(x, bits)), np.signbit(x))


@pytest.mark.parity
def test_bf16_is_pytorchs() -> None:
    import torch

    x = numbers(1000) * np.float32(10) ** np.arange(-30, 30, 0.06, dtype=np.float32)
    np.testing.assert_array_equal(rounded(x, 7), torch.from_numpy(x).bfloat16().float().numpy())


# ---- products ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "bits"), LESS)
def test_the_factors_of_a_product_are_rounded_and_its_sums_are_not(name: str, bits: int) -> None:
    a, b = numbers(5, 300), numbers(300, 4, seed=1)
    with minidl.precision(name):
        y = gemm(a, b)
        strict = gemm(StrictArray(a), StrictArray(b))._a
        total = add_rows(a.T)
    exact = rounded(a, bits).astype(np.float64) @ rounded(b, bits).astype(np.float64)
    np.testing.assert_allclose(y, exact, rtol=0, atol=2e-5)
    np.testing.assert_allclose(strict, exact, rtol=0, atol=2e-5)
    np.testing.assert_allclose(total, a.sum(axis=1, dtype=np.float64), rtol=0, atol=2e-5)
    assert 0.2 < np.abs(y - a @ b).max() * 2**bits / np.sqrt(300) < 2
    assert y.dtype == np.float32


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_types_are_left_alone(dtype: str) -> None:
    a, b = numbers(3, 7).astype(dtype), numbers(7, 2, seed=1).astype(dtype)
    expected = gemm(a, b)
    with minidl.precision("bf16"):
        np.testing.assert_array_equal(gemm(a, b), expected)


def test_a_layer_rounds_forward_and_backward() -> None:
    x, w, dy = numbers(2, 3, 5, 5), numbers(4, 3, 3, 3, seed=1), numbers(2, 4, 3, 3, seed=2)

    def passed(name: str) -> list[np.ndarray]:
        image, filters = Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)
        with minidl.precision(name), minidl.conv2d.using("im2col"):
            y = minidl.conv2d(image, filters)
            y.backward(dy)
        return [y.data, image.grad, filters.grad]

    with minidl.conv2d.using("im2col"):
        image, filters = Tensor(rounded(x, 7), requires_grad=True), Tensor(rounded(w, 7), requires_grad=True)
        y = minidl.conv2d(image, filters)
        y.backward(rounded(dy, 7))
    for low, expected, full in zip(passed("bf16"), [y.data, image.grad, filters.grad], passed("float32"), strict=True):
        np.testing.assert_allclose(low, expected, rtol=0, atol=1e-5)
        assert np.abs(low - full).max() > 1e-3


def test_what_is_no_product_is_not_rounded() -> None:
    x, labels = numbers(6, 4), np.arange(6) % 4
    calls = [
        lambda: minidl.softmax_cross_entropy(x, labels),
        lambda: minidl.batch_norm(x)[0],
        lambda: minidl.lrn(x[:, :, None, None]),
        lambda: minidl.tanh(x) * 3 + x,
        lambda: minidl.upsample(x[None, None], scale=2, mode="bilinear"),
    ]
    for call in calls:
        expected = call().data
        with minidl.precision("bf16"):
            np.testing.assert_array_equal(call().data, expected)


# ---- choice ----------------------------------------------------------------------------------------------------------------


def test_reduced_precision_takes_the_default_kernel() -> None:
    """Not Winograd, whose transforms would make the rounding many times larger."""
    heard = []
    x, w = numbers(2, 64, 28, 28), numbers(64, 64, 3, 3)
    with listening(lambda kernel, *_: heard.append(kernel.name)):
        minidl.conv2d(x, w, padding=1)
        with minidl.precision("tf32"):
            minidl.conv2d(x, w, padding=1)
        minidl.conv2d(x, w, padding=1)
    assert heard[0] == heard[2] != heard[1] == "im2col"


def test_on_a_gpu_a_kernel_is_chosen_in_its_own_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    lrn = OPS["lrn"]
    kernel = lrn.kernels["cuda"]
    monkeypatch.setitem(vars(kernel.source), "verified", True)
    asked = lrn, ((2, 7, 3, 5),), {"n": 5, "alpha": 0.5, "beta": 0.75, "k": 2.0, "convention": "paper"}, np.dtype("float32")
    assert choice.on_gpu(*asked) is kernel
    object.__setattr__(kernel, "precisions", ("tf32",))
    try:
        assert choice.on_gpu(*asked).name == lrn.default
        with minidl.precision("tf32"):
            assert choice.on_gpu(*asked) is kernel
    finally:
        object.__setattr__(kernel, "precisions", tuple(PRECISIONS))


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"precision: expected float32, tf32, bf16, got 'fp16'; float16 is a type: model.to"):
        minidl.precision("fp16")
    with pytest.raises(ValueError, match=r"precision: expected float32, tf32, bf16, got 'double'$"):
        minidl.precision("double")


@pytest.mark.parametrize("recomputed", [False, True])
def test_backward_is_in_the_precision_of_its_forward(recomputed: bool) -> None:
    rng = np.random.default_rng(0)
    x, w, dy = (rng.standard_normal(shape).astype(np.float32) for shape in ((5, 7), (3, 7), (5, 3)))

    def gradients(forward: str, backward: str) -> list[np.ndarray]:
        leaves = Tensor(x, True), Tensor(w, True)
        with minidl.precision(forward):
            y = minidl.recompute(minidl.linear, *leaves) if recomputed else minidl.linear(*leaves)
        with minidl.precision(backward):
            y.backward(dy)
        return [leaf.grad for leaf in leaves]

    for forward, backward in (("bf16", "float32"), ("float32", "bf16"), ("tf32", "bf16")):
        for got, same, other in zip(
            gradients(forward, backward), gradients(forward, forward), gradients(backward, backward), strict=True
        ):
            np.testing.assert_array_equal(got, same)
            assert (got != other).any()
