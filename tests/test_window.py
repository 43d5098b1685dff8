"""The geometry that convolution and pooling share: forms of attributes, sizes, and unfold against fold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.signature import ShapeError
from minidl.window import Windows, channels_first, fold, least_image, pad, pair, sides, span, unfold

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("value", "expected"), [(2, (2, 2)), ((1, 3), (1, 3)), ([4, 1], (4, 1)), (np.int64(3), (3, 3))])
def test_pair(value: Any, expected: tuple) -> None:
    assert pair("stride", value) == expected
    assert all(type(n) is int for n in pair("stride", value))


@pytest.mark.parametrize("value", [0, -1, 1.5, (1, 2, 3), (), (1, 0), "2", None])
def test_what_is_no_pair(value: Any) -> None:
    with pytest.raises(ShapeError, match="stride must be an int or a pair of ints, 1 or more; got "):
        pair("stride", value)


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        (0, (0, 0, 0, 0)),
        (2, (2, 2, 2, 2)),
        ((1, 2), (1, 1, 2, 2)),
        ((1, 2, 3, 4), (1, 2, 3, 4)),
        ([0, 1], (0, 0, 1, 1)),
        ("valid", (0, 0, 0, 0)),
        ("same", (1, 1, 1, 2)),  # R = 3, S = 4: the odd zero is on the right
    ],
)
def test_padding_in_every_form(padding: Any, expected: tuple) -> None:
    once = sides(padding, (7, 9), (3, 4), (1, 1), (1, 1))
    assert once == expected
    assert sides(once, (7, 9), (3, 4), (1, 1), (1, 1)) == expected


@pytest.mark.parametrize("padding", [-1, (1, -1), (1, 2, 3), "full", 0.5, None, ()])
def test_what_is_no_padding(padding: Any) -> None:
    with pytest.raises(ShapeError, match="padding must be an int"):
        sides(padding, (7, 9), (3, 4), (1, 1), (1, 1))


@given(length=st.integers(1, 40), size=st.integers(1, 9), step=st.integers(1, 5), gap=st.integers(1, 4))
def test_same_gives_ceil_of_length_over_stride_with_the_fewest_zeros(length: int, size: int, step: int, gap: int) -> None:
    top, bottom, *_ = padding = sides("same", (length, length), (size, size), (step, step), (gap, gap))
    windows = Windows.over((length, length), (size, size), (step, step), padding, (gap, gap))
    assert windows.grid == (-(-length // step),) * 2
    assert bottom - top in (0, 1)
    if top + bottom:  # one zero less, and one window less
        assert (length + top + bottom - 1 - gap * (size - 1) - 1) // step + 1 < windows.grid[0]


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@given(size=st.integers(1, 5), gap=st.integers(1, 3), length=st.integers(1, 9))
def test_same_is_that_of_pytorch_at_stride_1(size: int, gap: int, length: int) -> None:
    torch = pytest.importorskip("torch")
    top, bottom, left, right = sides("same", (length, length), (size, size), (1, 1), (gap, gap))
    x, w = torch.randn(1, 1, length, length), torch.randn(1, 1, size, size)
    theirs = torch.nn.functional.conv2d(x, w, padding="same", dilation=gap)
    padded = torch.nn.functional.pad(x, (left, right, top, bottom))
    torch.testing.assert_close(torch.nn.functional.conv2d(padded, w, dilation=gap), theirs)


def test_sizes_of_known_layers() -> None:
    assert Windows.over((3, 227, 227), (11, 11), (4, 4), (0, 0, 0, 0)).grid == (55, 55)  # AlexNet's conv1, as 227 'valid'
    assert Windows.over((3, 224, 224), (11, 11), (4, 4), (0, 3, 0, 3)).grid == (55, 55)  # the same, as 224 and 3 zeros
    assert Windows.over((112, 112), (3, 3), (2, 2), (0, 0, 0, 0), ceil_mode=True).grid == (56, 56)  # GoogLeNet's pool 1
    assert Windows.over((112, 112), (3, 3), (2, 2), (0, 0, 0, 0)).grid == (55, 55)


def test_ceil_mode_makes_a_first_window_that_lacks_less_than_a_step() -> None:
    assert Windows.over((2, 4), (3, 3), (2, 2), (0, 0, 0, 0), ceil_mode=True).grid == (1, 2)  # as PyTorch
    with pytest.raises(ShapeError, match="a window of 3 rows"):
        Windows.over((1, 4), (3, 3), (2, 2), (0, 0, 0, 0), ceil_mode=True)


def test_ceil_mode_makes_no_window_that_starts_after_the_image() -> None:
    assert Windows.over((3, 3), (2, 2), (2, 2), (1, 1, 1, 1), ceil_mode=True).grid == (2, 2)  # rows -1, 1; 3 is padding
    assert Windows.over((4, 4), (2, 2), (2, 2), (1, 1, 1, 1), ceil_mode=True).grid == (3, 3)


def test_what_does_not_fit() -> None:
    message = r"a window of 7 rows \(R=3 at dilation 3\) does not fit into 6 \(H=4, padding 2 \+ 0\); pad by 1 more"
    with pytest.raises(ShapeError, match=message):
        Windows.over((4, 9), (3, 3), (1, 1), (2, 0, 0, 0), (3, 3))
    with pytest.raises(ShapeError, match=r"a window of 3 columns \(S=3\) does not fit into 2 \(W=2, padding 0 \+ 0\)"):
        Windows.over((9, 2), (3, 3), (1, 1), (0, 0, 0, 0))


@given(st.data())
def test_fold_is_the_adjoint_of_unfold(data: st.DataObject) -> None:
    def numbers(count: int, least: int, most: int) -> tuple:
        return tuple(data.draw(st.integers(least, most)) for _ in range(count))

    size, stride, dilation, padding = numbers(2, 1, 3), numbers(2, 1, 3), numbers(2, 1, 2), numbers(4, 0, 3)
    least = least_image(padding, size, stride, dilation)
    (N, C), H, W = numbers(2, 1, 3), data.draw(st.integers(least[0], 7)), data.draw(st.integers(least[1], 7))
    windows = Windows.over((H, W), size, stride, padding, dilation)
    x = RNG.standard_normal((N, C, H, W))
    columns = unfold(x, windows)
    (P, Q), (R, S) = windows.grid, size
    assert columns.shape == (N * P * Q, R * S * C)
    c = RNG.standard_normal(columns.shape)
    planes = (c.reshape(-1, R * S, C)[:, i] for i in range(R * S))
    assert np.isclose((columns * c).sum(), (x * fold(planes, x.shape, windows, like=x)).sum())


@pytest.mark.parametrize("C", [1, 3])
def test_unfold_sees_what_the_docstring_says(C: int) -> None:
    windows = Windows.over((5, 6), (2, 3), (2, 1), (1, 0, 0, 2), (1, 2))
    (P, Q), (R, S) = windows.grid, windows.size
    x = RNG.standard_normal((2, C, 5, 6))
    columns = unfold(x, windows).reshape(2, P, Q, R, S, C)
    for n, p, q, r, s, c in np.ndindex(columns.shape):
        row, column = p * 2 + r - 1, q + s * 2
        inside = 0 <= row < 5 and 0 <= column < 6
        assert columns[n, p, q, r, s, c] == (x[n, c, row, column] if inside else 0)


def test_nothing_is_copied_that_need_not_be() -> None:
    x = channels_first(np.ones((2, 4, 5, 3), np.float32))
    one = Windows.over(x.shape, (1, 1), (1, 1), (0, 0, 0, 0))
    assert np.shares_memory(pad(x, one), x)
    assert np.shares_memory(unfold(x, one), x)  # a 1x1 convolution is its matrix product and nothing else


def test_fold_adds_half_types_up_in_float32() -> None:
    x = np.zeros((1, 1, 1, 1), np.float16)
    windows = Windows((50, 50), (50, 50), (1, 1), (49, 49, 49, 49))
    ones = np.ones((1, 50, 50, 1), np.float16)
    y = fold((ones for _ in range(2500)), x.shape, windows, like=x)
    assert (y.dtype, y.item()) == (np.float16, 2500)  # in float16, 2048 + 1 is 2048


def test_the_image_of_windows_is_what_they_lie_on() -> None:
    for size, stride, dilation in [((3, 2), (1, 2), (1, 1)), ((1, 3), (3, 1), (2, 2))]:
        windows = Windows((4, 5), size, stride, (1, 0, 0, 1), dilation)
        assert Windows.over(windows.image(), size, stride, windows.padding, dilation) == windows
        assert windows.padded(windows.image()) == tuple(
            step * (count - 1) + covered for step, count, covered in zip(stride, (4, 5), span(size, dilation), strict=True)
        )
