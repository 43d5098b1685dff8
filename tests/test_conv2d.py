"""What the laws do not say of convolutions: their kernels agree, known identities hold, errors teach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Tensor
from minidl.op import OPS
from minidl.ops.conv2d import fft, im2col

RNG = np.random.default_rng(0)


def drawn(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def test_a_1x1_convolution_is_a_matrix_product_over_channels() -> None:
    x, w = drawn(2, 3, 4, 5), drawn(6, 3, 1, 1)
    np.testing.assert_allclose(minidl.conv2d(x, w).numpy(), np.einsum("nchw,kc->nkhw", x, w[:, :, 0, 0]))


def test_groups_are_convolutions_side_by_side() -> None:
    x, w = drawn(2, 4, 5, 5), drawn(6, 2, 3, 3)
    apart = [minidl.conv2d(x[:, 2 * g : 2 * g + 2], w[3 * g : 3 * g + 3]).numpy() for g in range(2)]
    np.testing.assert_allclose(minidl.conv2d(x, w, groups=2).numpy(), np.concatenate(apart, axis=1))


@pytest.mark.parametrize("image", [(10, 10), (17, 12), (4, 7)])
def test_a_10x10_filter_is_padded_by_4_and_5(image: tuple[int, int]) -> None:
    x, w = drawn(2, 3, *image), drawn(4, 3, 10, 10)
    y = minidl.conv2d(x, w, padding="same")
    assert y.shape == (2, 4, *image)
    np.testing.assert_array_equal(y.numpy(), minidl.conv2d(x, w, padding=(4, 5, 4, 5)).numpy())


@pytest.mark.parametrize(("small", "large"), [(3, 5), (5, 10)])
def test_the_average_of_two_convolutions_is_one_with_the_padded_average_filter(small: int, large: int) -> None:
    """Alpha-Net's pairs. The centre of a filter of even size is the position before its middle: one more zero comes after."""
    x, dy = drawn(2, 3, 12, 9), drawn(2, 4, 12, 9)
    first, second = drawn(4, 3, small, small), drawn(4, 3, large, large)
    before = (large - 1) // 2 - (small - 1) // 2
    around = (before, large - small - before)
    inner = (slice(None), slice(None), slice(before, before + small), slice(before, before + small))
    ours = [Tensor(a, requires_grad=True) for a in (x, first, second)]
    both = (minidl.conv2d(ours[0], ours[1], padding="same") + minidl.conv2d(ours[0], ours[2], padding="same")) * 0.5
    joined = [Tensor(a, requires_grad=True) for a in (x, (np.pad(first, ((0, 0), (0, 0), around, around)) + second) / 2)]
    one = minidl.conv2d(*joined, padding="same")
    both.backward(dy)
    one.backward(dy)
    np.testing.assert_allclose(one.numpy(), both.numpy())
    np.testing.assert_allclose(joined[0].grad, ours[0].grad, atol=1e-12)
    np.testing.assert_allclose(joined[1].grad / 2, ours[2].grad, atol=1e-12)
    np.testing.assert_allclose(joined[1].grad[inner] / 2, ours[1].grad, atol=1e-12)


def test_conv_transpose2d_is_the_adjoint_of_conv2d() -> None:
    x, w = drawn(2, 3, 8, 7), drawn(4, 3, 3, 2)
    y = minidl.conv2d(x, w, stride=2, padding=1).numpy()
    dy = drawn(*y.shape)
    back = minidl.conv_transpose2d(dy, w, stride=2, padding=1, output_padding=(1, 1)).numpy()
    assert back.shape == x.shape
    assert np.isclose((y * dy).sum(), (x * back).sum())


def test_columns_are_not_kept() -> None:
    kernel = OPS["conv2d"].chosen()
    x, w = zeros(2, 3, 8, 8), zeros(4, 3, 3, 3)
    attrs = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1}
    _, saved = kernel.forward(x, w, None, **attrs)
    assert saved[0] is x
    assert saved[1] is w


def test_a_slice_of_chunked_is_measured_by_its_columns() -> None:
    attrs = {"stride": (4, 4), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1}
    assert im2col.columns((128, 3, 227, 227), (96, 3, 11, 11), None, **attrs) == 55 * 55 * 363
    assert OPS["conv2d"].kernels["chunked"].workspace is im2col.columns
    assert not OPS["conv2d"].kernels["im2col"].sliced


def test_grids_of_the_fft_have_small_factors() -> None:
    assert [fft.smooth(n) for n in (1, 7, 13, 64, 121, 227, 1025)] == [1, 8, 15, 64, 125, 240, 1080]


THREE_BY_THREE = [name for name in OPS["conv2d"].kernels if name != "gemm_1x1"]


@pytest.mark.parametrize("kernel", THREE_BY_THREE)
def test_a_filter_on_the_tape(kernel: str) -> None:
    x, w, b = Tensor(drawn(1, 2, 4, 4)), Tensor(drawn(3, 2, 3, 3), requires_grad=True), Tensor(drawn(3), requires_grad=True)
    with minidl.conv2d.using(kernel):
        y = minidl.conv2d(x, w, b, padding=1)
    y.backward(np.ones(y.shape))
    assert y.node is not None
    assert y.node.name == f"conv2d[{kernel}]"
    np.testing.assert_allclose(b.grad, [16, 16, 16])
    np.testing.assert_allclose(w.grad[:, :, 1, 1], np.broadcast_to(x.data.sum((0, 2, 3)), (3, 2)))
    assert x.grad is None


@pytest.mark.parametrize("kernel", [name for name in THREE_BY_THREE if OPS["conv2d"].kernels[name].half])
def test_half_types_are_added_up_in_float32(kernel: str) -> None:
    """2048 + 1 is 2048 in float16: one window position after the other would lose every 1."""
    x, w = np.ones((1, 1, 3, 3), np.float16), np.ones((1, 1, 3, 3), np.float16)
    x[0, 0, 0, 0] = 2048
    with minidl.conv2d.using(kernel):
        y = minidl.conv2d(x, w)
    assert y.dtype == np.float16
    assert y.item() == 2056


X, W = zeros(2, 4, 8, 8), zeros(8, 4, 3, 3)
ERRORS = {
    "w expects C=4 input channels but x has C=3  (x [2,3,8,8], w [8,4,3,3])": ((zeros(2, 3, 8, 8), W), {}),
    "w expects C=8 input channels (4 in each of 2 groups) but x has C=4": ((X, W), {"groups": 2}),
    "groups=3 does not divide C=4; use groups=1, or C a multiple of 3": ((X, W), {"groups": 3}),
    "groups=2 does not divide K=9": ((X, zeros(9, 2, 3, 3)), {"groups": 2}),
    "groups must be a positive int, got 0": ((X, W), {"groups": 0}),
    "b has K=7 but w has K=8": ((X, W, zeros(7)), {}),
    "stride must be an int or a pair of ints, 1 or more; got 0": ((X, W), {"stride": 0}),
    "dilation must be an int or a pair of ints, 1 or more; got -1": ((X, W), {"dilation": -1}),
    "no number negative; got (0, -1)": ((X, W), {"padding": (0, -1)}),
    "'same' or 'valid', no number negative; got 'full'": ((X, W), {"padding": "full"}),
    "a window of 3 rows (R=3) does not fit into 2 (H=2, padding 0 + 0); pad by 1 more": ((zeros(2, 4, 2, 8), W), {}),
    "for one example add the batch dimension, x[None]": ((zeros(4, 8, 8), W), {}),
}


@pytest.mark.parametrize("message", ERRORS)
def test_conv2d_errors_teach(message: str) -> None:
    inputs, attrs = ERRORS[message]
    with pytest.raises(ValueError) as error:
        minidl.conv2d(*inputs, **attrs)
    assert str(error.value).startswith("conv2d: ")
    assert message in str(error.value)


TRANSPOSE_ERRORS: dict[str, tuple[Any, Any]] = {
    "w has C=8 but x has C=4": ((X, W), {}),
    "b expects K=3 numbers, one per output channel, got 4": ((X, zeros(4, 3, 2, 2), zeros(4)), {}),
    "output_padding=2 must be less than the stride 2 or the dilation 1": (
        (X, zeros(4, 3, 2, 2)),
        {"stride": 2, "output_padding": 2},
    ),
    "padding must be numbers, got 'same'": ((X, zeros(4, 3, 2, 2)), {"padding": "same"}),
    "leaves 0 x -1 of the output": ((zeros(1, 4, 1, 1), zeros(4, 3, 2, 1)), {"padding": 1}),
}


@pytest.mark.parametrize("message", TRANSPOSE_ERRORS)
def test_conv_transpose2d_errors_teach(message: str) -> None:
    inputs, attrs = TRANSPOSE_ERRORS[message]
    with pytest.raises(ValueError) as error:
        minidl.conv_transpose2d(*inputs, **attrs)
    assert str(error.value).startswith("conv_transpose2d: ")
    assert message in str(error.value)


def test_a_stride_that_equals_a_right_one_is_no_right_one() -> None:
    """1 == 1.0: a call that went well must not open the door to the other."""
    x, w = np.ones((1, 1, 4, 4), np.float32), np.ones((1, 1, 3, 3), np.float32)
    minidl.conv2d(x, w, stride=1)
    with pytest.raises(ValueError, match="stride must be an int or a pair"):
        minidl.conv2d(x, w, stride=1.0)
