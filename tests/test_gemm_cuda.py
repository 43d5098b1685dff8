"""Products by gemm.cu: any size, any strides, every type and precision, both tiles, sums in parts."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import emulation
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
from minidl import choice, cuda
from minidl.modes import PRECISIONS
from minidl.op import OPS
from minidl.ops import columns, gemm_cuda
from minidl.ops.gemm import rounded
from minidl.ops.gemm_cuda import products

pytestmark = pytest.mark.skipif(emulation.problem() is not None, reason=f"emulation: {emulation.problem()}")

HOW = [("float32", "float32"), ("float16", "float32"), ("float64", "tf32"), ("float32", "tf32"), ("float32", "bf16")]
ERRORS = {"float16": 1e-3, "float32": 2e-6, "float64": 1e-14}  # of the largest


def normal(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    """Numbers none of which lies halfway between two of tf32: a GPU takes the larger then, and `rounded` the even."""
    x = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    if dtype == "float32":
        x.view(np.uint32)[...] |= 1
    return x


def laid_out(x: np.ndarray, how: str) -> np.ndarray:
    """The same numbers in another way in memory."""
    if how == "turned":
        return np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
    if how == "part":  # of larger matrices, beginning where four numbers at once do not
        room = np.full((*x.shape[:-2], x.shape[-2] + 3, x.shape[-1] + 4), np.nan, x.dtype)
        room[..., 1:-2, 3:-1] = x
        return room[..., 1:-2, 3:-1]
    if how == "spread":  # neither rows nor columns are side by side
        return np.repeat(np.repeat(x, 2, axis=-1), 2, axis=-2)[..., ::2, ::2]
    return x[..., ::-1].copy()[..., ::-1] if how == "backwards" else x


def judge(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None, precision: str) -> None:
    """The product is that of float64, of the factors as the precision has them."""
    bits = PRECISIONS[precision] if a.dtype == np.float32 else 23
    exact = [(rounded(x, bits) if bits < 23 else x).astype(np.float64) for x in (a, b)]
    expected = exact[0] @ exact[1] + (0 if bias is None else bias.astype(np.float64))
    y = products(a, b, bias, precision)
    assert (y.shape, y.dtype, y.flags.c_contiguous) == (expected.shape, a.dtype, True)
    np.testing.assert_allclose(y, expected, rtol=0, atol=ERRORS[a.dtype.name] * np.abs(expected).max(initial=1))


SIZES = st.one_of(st.integers(1, 5), st.sampled_from([31, 32, 33, 36, 40]))
LAYOUTS = st.sampled_from(["plain", "turned", "part", "spread", "backwards"])


@given(M=SIZES, N=SIZES, K=st.one_of(SIZES, st.just(300)), stack=st.sampled_from([None, 1, 3]), how=st.sampled_from(HOW),
       layouts=st.tuples(LAYOUTS, LAYOUTS), bias=st.booleans())  # fmt: skip
def test_any_size_and_any_strides(
    M: int, N: int, K: int, stack: int | None, how: tuple[str, str], layouts: tuple[str, str], bias: bool
) -> None:
    lead, (dtype, precision) = () if stack is None else (stack,), how
    a, b = normal(*lead, M, K, seed=1, dtype=dtype), normal(*lead, K, N, seed=2, dtype=dtype)
    judge(laid_out(a, layouts[0]), laid_out(b, layouts[1]), normal(N, seed=3, dtype=dtype) if bias else None, precision)


@pytest.mark.parametrize(
    ("how", "shape", "layouts"),
    [
        (HOW[0], (130, 44, 136), ("plain", "plain")),
        (HOW[0], (132, 20, 132), ("turned", "turned")),
        (HOW[1], (136, 12, 130), ("plain", "turned")),
        (HOW[3], (136, 36, 132), ("plain", "turned")),
        (HOW[3], (132, 20, 136), ("turned", "plain")),
        (HOW[4], (130, 17, 20), ("plain", "plain")),
        (HOW[4], (12, 40, 132), ("turned", "turned")),
    ],
    ids=str,
)
def test_large_tiles(how: tuple[str, str], shape: tuple[int, int, int], layouts: tuple[str, str]) -> None:
    (M, K, N), (dtype, precision) = shape, how
    a, b = (laid_out(normal(*s, seed=i, dtype=dtype), layouts[i]) for i, s in enumerate(((M, K), (K, N))))
    with gemm_cuda.large_tiles():
        judge(a, b, normal(N, seed=3, dtype=dtype), precision)


def launches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple, dict[str, Any]]]:
    """(kernel, arguments, how) of all that is launched from now on."""
    seen: list[tuple[str, tuple, dict[str, Any]]] = []
    launch = cuda.Source.launch

    def watched(source: cuda.Source, name: str, count: int, *args: Any, **how: Any) -> None:
        seen.append((name, args, how))
        launch(source, name, count, *args, **how)

    monkeypatch.setattr(cuda.Source, "launch", watched)
    return seen


def test_tiles_are_large_where_there_is_enough_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(cuda.Source, "launch", lambda *args, **how: seen.append(how["MT"]))
    for (M, K, N), dtype, precision, rows in [
        ((128, 4096, 1024), "float32", "float32", 8),
        ((128, 4096, 1024), "float32", "tf32", 4),  # of 16 each
        ((128, 4096, 1024), "float64", "tf32", 4),
        ((63, 4096, 4096), "float32", "float32", 4),  # they would be half empty
        ((128, 128, 1024), "float32", "tf32", 1),  # eight of them
        ((1024, 128, 1024), "float16", "float32", 4),
    ]:
        seen.clear()
        a, b = (np.ndarray(shape, dtype, np.zeros(1, dtype), strides=(0, 0)).copy() for shape in ((M, K), (K, N)))
        products(a, b, None, precision)
        assert seen[0] == rows, (M, K, N)


# ---- memory --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stacked", [False, True])
def test_what_lies_in_lines_is_not_copied(stacked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, columns, parts of either, one matrix or one row for all; the rest is copied once."""
    seen = launches(monkeypatch)
    whole, other = normal(9, 12, 12), normal(12, 3)
    square = np.broadcast_to(whole[0], (9, 12, 12)) if stacked else whole[0]
    for a, copied in [
        (square, False),
        (square.swapaxes(-1, -2), False),
        (square[..., 2:7, 3:], False),
        (square[..., 2:7, 3:].swapaxes(-1, -2), False),
        (square[..., 4:5, :].repeat(1, axis=-2) * 0 + 1, False),
        (np.broadcast_to(square[..., :1, :], square.shape), False),
        (square[..., 3][..., None], False),  # a column
        (square[..., ::2, :], False),
        (square[..., ::2], True),
        (square[..., ::-1, :], True),
    ]:
        b = np.broadcast_to(other[: a.shape[-1]], (*a.shape[:-2], a.shape[-1], 3))
        seen.clear()
        np.testing.assert_allclose(products(a, b), a @ b, rtol=0, atol=1e-5)
        ((_, (left, right, *_), how),) = seen
        assert np.shares_memory(left, a) != copied, (a.shape, a.strides)
        assert np.shares_memory(right, b)
        assert how["TOGETHER"] == 1 or not a.shape[-1] % 4


@pytest.mark.parametrize(("dtype", "most"), [("float16", 4), ("float32", 4), ("float64", 2)])
def test_as_many_are_copied_at_once_as_all_lines_allow(dtype: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = launches(monkeypatch)
    room = normal(40, 40, dtype=dtype)
    begins = -room.ctypes.data % 16 // room.itemsize
    for first, terms, wide, expected in [(0, 8, 8, most), (1, 8, 8, 1), (0, 7, 8, 1), (0, 8, 7, 1)]:
        a = room[:8, begins + first : begins + first + terms]
        products(a, normal(terms, wide, dtype=dtype))
        assert seen[-1][2]["TOGETHER"] == expected


# ---- sums in parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_long_sums_are_cut_and_their_parts_added_up(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole numbers, of which every sum is exact; the last part is shorter than the others."""
    seen, rng = launches(monkeypatch), np.random.default_rng(4)
    a, b = (rng.integers(-2, 3, shape).astype(dtype) for shape in ((3, 1000), (1000, 5)))
    bias = np.arange(5).astype(dtype) * 10
    np.testing.assert_array_equal(products(a, b, bias), a.astype(int) @ b.astype(int) + bias)
    assert [name for name, *_ in seen] == ["product", "joined"]
    splits = 1000 // gemm_cuda.LEAST
    assert (seen[1][1][1].shape, seen[1][1][1].dtype) == ((splits, 1, 3, 5), np.float32)
    monkeypatch.setattr(gemm_cuda, "WORKSPACE", 3 * 15)
    products(a, b)
    assert seen[3][1][1].shape == (3, 1, 3, 5)
    monkeypatch.setattr(gemm_cuda, "WORKSPACE", 15)
    np.testing.assert_array_equal(products(a, b, bias), a.astype(int) @ b.astype(int) + bias)
    assert [name for name, *_ in seen[4:]] == ["product"]


def test_sums_of_halves_are_rounded_once() -> None:
    """Ones, and a number beside which one more is nothing in float16."""
    a, bias = np.ones((2, 300), np.float16), np.full(3, -2048, np.float16)
    a[0, 7] = 2048
    np.testing.assert_array_equal(products(a, np.ones((300, 3), np.float16), bias), [[299] * 3, [300 - 2048] * 3])


@pytest.mark.parametrize("most", [1, 3])
def test_any_grid_is_right(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More tiles than blocks: each block takes several. (First: or what it leaves out might lie in memory that was let go.)"""
    a, b = normal(2, 70, 300, seed=most), normal(2, 300, 40, seed=1)
    with monkeypatch.context() as narrow:
        narrow.setattr(cuda, "MOST_BLOCKS", most)
        y = products(a, b)
    np.testing.assert_array_equal(y, products(a, b))


# ---- edges ----------------------------------------------------------------------------------------------------------------


def test_nothing_to_multiply() -> None:
    bias = normal(5)
    np.testing.assert_array_equal(products(normal(3, 0), normal(0, 5)), np.zeros((3, 5)))
    np.testing.assert_array_equal(products(normal(3, 0), normal(0, 5), bias), np.tile(bias, (3, 1)))
    assert products(normal(0, 4), normal(4, 5), bias).shape == (0, 5)
    assert products(normal(2, 3, 4), normal(2, 4, 0)).shape == (2, 3, 0)
    assert products(normal(0, 3, 4), normal(0, 4, 2)).shape == (0, 3, 2)


@pytest.mark.parametrize(
    ("a", "b"),
    [((4,), (4,)), ((4,), (4, 3)), ((2, 4), (4,)), ((5, 2, 4), (4, 3)), ((2, 4), (5, 4, 3)), ((5, 1, 2, 4), (3, 4, 1)),
     ((0, 2, 4), (4, 3)), ((5, 2, 0), (0, 3)), ((3, 0, 4), (3, 4, 2)), ((1, 2, 4), (1, 1, 4, 3))],
    ids=str,
)  # fmt: skip
def test_shapes_are_those_of_numpy(a: tuple, b: tuple) -> None:
    x, y = normal(*a), normal(*b, seed=1)
    got = gemm_cuda.matmul(x, y)
    assert got.shape == (x @ y).shape
    np.testing.assert_allclose(got, x @ y, rtol=0, atol=1e-5)


def test_two_types_meet_in_the_wider_and_whole_numbers_are_refused() -> None:
    a, b = normal(2, 3), normal(3, 4, dtype="float64")
    y = products(a, b)
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, a @ b)
    with pytest.raises(TypeError, match="expected floats of float16, float32, float64, got int64 and int64"):
        products(np.ones((2, 2), int), np.ones((2, 2), int))


def test_what_is_too_large_for_an_int_is_refused() -> None:
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (2, 2**31), (0, 4))
    with pytest.raises(ValueError, match=r"product of ops/gemm.cu: .* at most 2,113,929,216 numbers, got 2,147,483,648"):
        products(huge, huge.T)


# ---- linear, matmul ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("precision", ["float32", "tf32"])
@pytest.mark.parametrize("op", ["linear", "matmul"])
def test_an_op_is_its_plain_kernel(op: str, precision: str, large: bool) -> None:
    """y and all gradients, in every precision; no precision rounds db."""
    x, w = normal(2, 9, 12), normal(8, 12, seed=1)
    inputs = (x, w, normal(8, seed=2)) if op == "linear" else (x, w.T)
    dy, (ours, plain) = normal(2, 9, 8, seed=3), (OPS[op].kernels[name] for name in ("cuda", "gemm"))
    with minidl.precision(precision):
        with gemm_cuda.large_tiles() if large else nullcontext():
            y, saved = ours.forward(*inputs)
            got = (y, *ours.backward(dy, saved, (True,) * len(inputs)))
        y, saved = plain.forward(*inputs)
        expected = (y, *plain.backward(dy, saved, (True,) * len(inputs)))
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_where_nobody_asks_cublas_multiplies(precision: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is expected to be faster: most of all for halves, which it takes to the tensor cores."""
    monkeypatch.setitem(vars(gemm_cuda.SOURCE), "verified", True)
    for op, shapes in (("linear", ((3, 4), (5, 4), None)), ("matmul", ((3, 4), (4, 5)))):
        with minidl.precision(precision):
            assert choice.on_gpu(OPS[op], shapes, {}, np.dtype(dtype)).name == "gemm"


def test_who_launches_columns_says_so() -> None:
    """Or it would count as verified where they are not."""
    assert OPS["linear"].kernels["cuda"].source.also == (columns.SOURCE,)
