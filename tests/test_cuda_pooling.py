"""What the laws do not say of the CUDA kernels of pooling and dropout: the plain kernels' bits, packs, any block, NaN, ties."""

from __future__ import annotations

from typing import Any

import emulation
import numpy as np
import pytest

from minidl import cuda
from minidl.cuda.packs import pack_size
from minidl.op import OPS
from minidl.ops.pooling_cuda import block_of
from minidl.random import Stream

pytestmark = pytest.mark.skipif(emulation.problem() is not None, reason=f"emulation: {emulation.problem()}")
DTYPES = ("float16", "float32", "float64")

# of packs of 8 (or 4, or 2: as many as are read at once), of 1, and of 2
PACKED: list[tuple[dict[str, Any], int]] = [
    ({"kernel_size": 3, "stride": 2}, 8),
    ({"kernel_size": 3, "stride": 1, "padding": 1}, 5),
    ({"kernel_size": (2, 3), "stride": (3, 1), "padding": (1, 0, 0, 1), "ceil_mode": True}, 6),
]
GAPS: dict[str, Any] = {"kernel_size": (3, 2), "stride": (1, 2), "padding": (2, 1), "dilation": (2, 3)}


def images(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def passes(name: str, kernel: str, inputs: tuple, dy: np.ndarray | None = None, **attrs: Any) -> tuple:
    """y, what is saved and dx of a kernel, called by hand; dy is random if not given."""
    op = OPS[name]
    attrs = {**op.attrs, **attrs}
    if op.canonical:
        attrs = op.canonical(tuple(a.shape for a in inputs), attrs)
    y, saved = op.kernels[kernel].forward(*inputs, **attrs)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype) if dy is None else dy
    return y, saved, op.kernels[kernel].backward(dy, saved, (True, False), **attrs)[0]


def same_bits(name: str, plain: str, inputs: tuple, **attrs: Any) -> None:
    for a, b in zip(passes(name, "cuda", inputs, **attrs), passes(name, plain, inputs, **attrs), strict=True):
        for one, other in zip(a if isinstance(a, tuple) else (a,), b if isinstance(b, tuple) else (b,), strict=True):
            np.testing.assert_array_equal(one, other)
            assert not hasattr(one, "dtype") or one.dtype == other.dtype


# ---- the bits of the plain kernels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("attrs", "C"), [*PACKED, (GAPS, 24)], ids=str)
def test_max_pooling_has_the_bits_of_the_plain_kernel(attrs: dict, C: int, dtype: str) -> None:
    x = np.round(images(2, C, 9, 8, dtype=dtype))  # many ties
    same_bits("max_pool2d", "shifts", (x,), **attrs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("attrs", "C"), PACKED, ids=str)
def test_stochastic_pooling_draws_the_positions_of_the_plain_kernel(attrs: dict, C: int, dtype: str) -> None:
    x = np.maximum(images(2, C, 9, 8, dtype=dtype), 0) ** 3  # some windows hold nothing but 0
    same_bits("stochastic_pool2d", "philox", (x, Stream(5).keys(2)), **attrs)


SIZES = (1e-44, 1e-38, 1e-30, 1e-18, 1e-12, 1, 1e30, 2e38)


@pytest.mark.parametrize("C", [8, 1])
@pytest.mark.parametrize(
    ("dtype", "sizes"), [("float32", SIZES), ("float64", (*SIZES, 1e-322, 1e-300, 1e300)), ("float16", (6e-8, 1e-4, 1, 6e4))]
)
def test_very_large_and_very_small_maps_draw_the_positions_of_the_plain_kernel(dtype: str, sizes: tuple, C: int) -> None:
    """Beside maps of ordinary values, in one pack; values at the edges of what is divided, too."""
    x = np.maximum(images(len(sizes), 8, 9, 8, dtype="float64"), 0)
    x *= np.stack([np.roll(sizes, i)[np.arange(8) % len(sizes)] for i in range(len(sizes))])[:, :, None, None] / x.max()
    for edge in (1e-18, 1e30):
        x[0, 0, 0, 0], x[1, 1, 0, 0] = edge, np.float32(edge)
    x = np.minimum(x[:, :C], np.finfo(dtype).max).astype(dtype)
    same_bits("stochastic_pool2d", "philox", (x, Stream(5).keys(len(x))), kernel_size=3, stride=1, padding=1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_windows_that_see_nan_or_infinity_are_nan(value: float, training: bool) -> None:
    x = np.ones((1, 8, 4, 4))
    x[0, 3, 1, 2] = value
    inputs, attrs = (x, Stream(0).keys(1)), {"kernel_size": 2, "training": training}
    with np.errstate(invalid="ignore"):
        y = passes("stochastic_pool2d", "cuda", inputs, **attrs)[0]
        assert np.argwhere(np.isnan(y)).tolist() == [[0, 3, 0, 1]]
        if training:
            same_bits("stochastic_pool2d", "philox", inputs, **attrs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("C", [3, 8])
def test_evaluation_is_that_of_the_plain_kernel(C: int, dtype: str) -> None:
    x = np.maximum(images(2, C, 9, 8, dtype=dtype), 0) ** 2
    x[0, 0], x[1, 0, :3] = 0, 1e-31  # windows that are empty, or count as empty
    attrs = {"kernel_size": (2, 3), "stride": (1, 2), "padding": (1, 0, 0, 1), "training": False}
    rtol = {"float16": 1e-3, "float32": 1e-5, "float64": 1e-12}[dtype]
    for one, other in zip(
        *(passes("stochastic_pool2d", k, (x, Stream(0).keys(2)), **attrs)[::2] for k in ("cuda", "philox")), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=4 * rtol)
        assert (one.dtype, one.shape) == (other.dtype, other.shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 37), (2, 8, 3, 4), (5, 6), (4, 1)], ids=str)
@pytest.mark.parametrize("style", ["inverted", "paper"])
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 0.999])
def test_dropout_has_the_bits_of_the_plain_kernel(shape: tuple, p: float, style: str, dtype: str) -> None:
    same_bits("dropout", "philox", (images(*shape, dtype=dtype), Stream(3).keys(shape[0])), p=p, style=style)


def test_dropout_keeps_the_same_numbers_in_forward_in_backward_and_on_the_host() -> None:
    x, key = np.ones((7, 3, 11, 5), np.float32), Stream(2**64 - 1, position=9).keys(7)
    y, saved, dx = passes("dropout", "cuda", (x, key), dy=x, p=0.4)
    kept = passes("dropout", "philox", (x, key), p=0.4)[0] > 0
    assert 0.5 < kept.mean() < 0.7
    np.testing.assert_array_equal(y > 0, kept)
    np.testing.assert_array_equal(dx > 0, kept)
    assert [a.nbytes for a in saved] == [7 * 16]


def test_dropout_in_evaluation_launches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_RUNNERS", {})
    x, key = images(2, 5), Stream(0).keys(2)
    assert passes("dropout", "cuda", (x, key), training=False)[0] is x
    np.testing.assert_array_equal(passes("dropout", "cuda", (x, key), p=0.25, training=False, style="paper")[0], x * 0.75)


# ---- ties, NaN, infinity, large windows ------------------------------------------------------------------------------------


def test_the_first_of_equals_wins_in_cuda_too() -> None:
    x = np.array([[1.0, 5.0, 2.0], [5.0, 5.0, 0.0]]).reshape(1, 1, 2, 3)
    dx = passes("max_pool2d", "cuda", (x,), dy=np.full((1, 1, 1, 1), 6.0), kernel_size=(2, 3))[2]
    assert dx[0, 0].tolist() == [[0, 6, 0], [0, 0, 0]]


def test_equal_parts_are_refused() -> None:
    refuses = OPS["max_pool2d"].kernels["cuda"].why_not
    attrs = {**OPS["max_pool2d"].attrs, "kernel_size": 2}
    assert refuses(((1, 1, 4, 4),), {**attrs, "ties": "even"}) == "needs ties='first', got 'even'"
    assert refuses(((1, 1, 4, 4),), attrs) is None


@pytest.mark.parametrize("place", [(0, 0), (1, 2), (3, 3)])
def test_nan_is_not_hidden(place: tuple[int, int]) -> None:
    x = np.zeros((1, 1, 4, 4))
    x[0, 0, place[0], place[1]] = np.nan
    y = passes("max_pool2d", "cuda", (x,), kernel_size=2)[0][0, 0]
    assert np.argwhere(np.isnan(y)).tolist() == [[place[0] // 2, place[1] // 2]]


def test_minus_infinity_and_windows_of_padding_alone() -> None:
    x = np.full((1, 2, 5, 6), -np.inf)
    x[0, 1] = 1
    for attrs in (GAPS, {"kernel_size": 2, "stride": 1, "padding": 1, "dilation": 2}):
        y, _, dx = passes("max_pool2d", "cuda", (x,), **attrs)
        y2, _, dx2 = passes("max_pool2d", "shifts", (x,), **attrs)
        np.testing.assert_array_equal(y, y2)
        np.testing.assert_array_equal(dx, dx2)


@pytest.mark.parametrize(("side", "size"), [(16, 1), (20, 2)])
def test_a_window_of_more_than_256_positions_takes_two_bytes(side: int, size: int) -> None:
    x = np.zeros((1, 1, side, side))
    x[0, 0, side - 1, side - 2] = 1.0
    _, (code, _), dx = passes("max_pool2d", "cuda", (x,), dy=np.ones((1, 1, 1, 1)), kernel_size=side)
    assert code.itemsize == size
    np.testing.assert_array_equal(dx, x)
    key = Stream(0).keys(1)
    _, (code, _), dx = passes("stochastic_pool2d", "cuda", (x, key), dy=np.ones((1, 1, 1, 1)), kernel_size=side)
    assert code.itemsize == 2  # 256 positions and none at all
    np.testing.assert_array_equal(dx, x)


# ---- packs and blocks ------------------------------------------------------------------------------------------------------


def test_a_pack_divides_the_channels_and_begins_where_a_load_may() -> None:
    a = np.zeros(1 + 64, np.float32)[(np.zeros(1, np.float32).ctypes.data % 16) // 4 :]
    start = -(a.ctypes.data // 4) % 4  # the first number at a multiple of 16 bytes
    whole = a[start : start + 32].reshape(2, 16)
    assert [pack_size(most, whole) for most in (1, 2, 4, 8)] == [1, 2, 4, 8]
    assert [pack_size(8, whole[:, :C]) for C in (15, 10, 12, 8)] == [1, 2, 4, 8]
    assert [pack_size(8, a[start + off : start + off + 16].reshape(1, 16)) for off in (0, 1, 2, 3, 4)] == [8, 1, 2, 1, 8]
    assert pack_size(8, whole, whole[:, :2]) == 2
    assert [pack_size(8, whole, counts=(0, 16, n)) for n in (8, 12, 6, 3)] == [8, 4, 2, 1]


@pytest.mark.parametrize("lanes", [1, 3, 24, 255, 256, 257, 512, 700])
@pytest.mark.parametrize("columns", [1, 7, 300])
def test_a_block_is_whole_pixels_or_part_of_one(lanes: int, columns: int) -> None:
    block = block_of(lanes, columns)
    assert 1 <= block <= 256
    assert block % lanes == 0 or (block < lanes and -(-lanes // block) == -(-lanes // 256))
    assert block <= lanes * columns


@pytest.mark.parametrize(("most", "block"), [(1, 1), (1, 5), (3, 7), (1 << 16, 32)])
@pytest.mark.parametrize("name", ["max_pool2d", "stochastic_pool2d", "dropout"])
def test_any_grid_is_right(name: str, most: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, attrs = np.abs(images(2, 12, 5, 4)), {"kernel_size": 3, "stride": 2, "padding": 1} if name != "dropout" else {}
    inputs = (x, Stream(0).keys(2)) if name != "max_pool2d" else (x,)
    y, _, dx = passes(name, "cuda", inputs, **attrs)
    monkeypatch.setattr(cuda, "MOST_BLOCKS", most)
    launch = cuda.Source.launch
    monkeypatch.setattr(cuda.Source, "launch", lambda *args, **how: launch(*args, **{**how, "block": block}))
    y2, _, dx2 = passes(name, "cuda", inputs, **attrs)
    np.testing.assert_array_equal(y2, y)
    np.testing.assert_array_equal(dx2, dx)
