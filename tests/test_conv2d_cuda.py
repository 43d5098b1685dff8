"""What the laws do not say of conv2d's CUDA kernels, whose problems are small: large maps, any grid, a batch in parts."""

from __future__ import annotations

from typing import Any

import emulation
import numpy as np
import pytest

import minidl
from minidl import cuda
from minidl.op import OPS
from minidl.ops import columns
from minidl.ops.conv2d import cuda_im2col, cuda_implicit_gemm, cuda_winograd, parts
from minidl.ops.conv2d.cook_toom import exact
from minidl.ops.conv2d.tiles import Tiles
from minidl.window import Windows

pytestmark = pytest.mark.skipif(emulation.problem() is not None, reason=f"emulation: {emulation.problem()}")
CONV2D = OPS["conv2d"]


def results(name: str, x: tuple, w: tuple, dtype: str = "float64", bias: bool = True, **attrs: Any) -> dict[str, np.ndarray]:
    """y and every gradient of a kernel for normal numbers."""
    rng = np.random.default_rng(1)
    kernel, inputs = CONV2D.kernels[name], [rng.standard_normal(shape).astype(dtype) for shape in (x, w, w[:1])]
    inputs[2] = inputs[2] if bias else None
    attrs, _ = CONV2D.settle((x, w, w[:1]), {**CONV2D.attrs, **attrs})
    given = [
        kernel.prepare[o.name][0](a, **attrs) if o.name in kernel.prepare else a
        for o, a in zip(CONV2D.signature.inputs, inputs, strict=True)
    ]
    y, saved = kernel.forward(*given, **attrs)
    dx, dw, db = kernel.backward(rng.standard_normal(y.shape).astype(dtype), saved, (True, True, bias), **attrs)
    if "w" in kernel.prepare:
        dw = kernel.prepare["w"][1](dw, w, **attrs)
    return {"y": y, "dx": dx, "dw": dw} | ({"db": db} if bias else {})


def agree(got: dict[str, np.ndarray], expected: dict[str, np.ndarray], rtol: float = 1e-11) -> None:
    assert got.keys() == expected.keys()
    for name, a in expected.items():
        np.testing.assert_allclose(got[name], a, rtol=0, atol=rtol * np.abs(a).max(), err_msg=name)


LARGE = [  # more columns of the image, and more rows of windows, than a thread walks down; more channels than are drawn
    ("cuda_im2col", (2, 5, 9, 37), (7, 5, 3, 3), {"padding": 1}),
    ("cuda_im2col", (2, 6, 23, 35), (4, 3, 5, 4), {"stride": (3, 2), "padding": (2, 0, 1, 3), "dilation": (1, 2), "groups": 2}),
    ("cuda_im2col", (3, 3, 40, 33), (5, 3, 11, 11), {"stride": 4}),
    ("cuda_im2col", (2, 4, 19, 18), (6, 4, 1, 1), {"stride": 2}),
    ("cuda_im2col", (2, 4, 19, 18), (6, 2, 1, 1), {"groups": 2}),
    ("cuda_winograd", (2, 5, 9, 18), (7, 5, 3, 3), {"padding": 1}),
    ("cuda_winograd", (3, 6, 11, 7), (4, 3, 5, 5), {"padding": (2, 3, 1, 4), "groups": 2}),
    ("cuda_winograd", (2, 3, 9, 10), (2, 3, 1, 4), {"padding": (7, 0, 5, 2)}),  # blocks of dx that hold zeros alone
    ("cuda_winograd", (2, 3, 9, 10), (2, 3, 5, 2), {}),
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("name", "x", "w", "attrs"), LARGE, ids=str)
def test_large_maps_are_right(name: str, x: tuple, w: tuple, attrs: dict, bias: bool) -> None:
    agree(results(name, x, w, bias=bias, **attrs), results("im2col", x, w, bias=bias, **attrs))


@pytest.mark.parametrize("case", [LARGE[1], LARGE[6]], ids=lambda case: case[0])
@pytest.mark.parametrize(("most", "block"), [(1, 1), (1, 4), (3, 2), (1 << 16, 32)])
def test_any_grid_is_right(case: tuple, most: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More places than threads: each thread takes several."""
    name, x, w, attrs = case
    expected = results(name, x, w, **attrs)
    monkeypatch.setattr(cuda, "MOST_BLOCKS", most)
    monkeypatch.setattr(cuda.Source.launch, "__kwdefaults__", {"block": block, "shared": 0})
    got = results(name, x, w, **attrs)
    assert all((got[key] == expected[key]).all() for key in expected)


# ---- a batch in parts ------------------------------------------------------------------------------------------------


def test_parts_are_of_an_image_at_least_and_cover_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    for most, expected in ((1, [1] * 5), (71, [1] * 5), (72, [1] * 5), (2 * 72, [1, 2, 2]), (5 * 72, [5])):
        monkeypatch.setattr(parts, "PART", most)
        found = parts.parts_of(5, 72)
        assert [part.stop - part.start for part in found] == expected
        assert [n for part in found for n in range(5)[part]] == list(range(5))


@pytest.mark.parametrize("name", ["cuda_im2col", "cuda_winograd"])
def test_what_is_made_is_made_for_a_part_at_a_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, attrs = (7, 4, 6, 5), (6, 2, 3, 2), {"padding": 1, "groups": 2}
    sizes, launch = [], cuda.Source.launch

    def watched(source: cuda.Source, kernel: str, *args: Any, **how: Any) -> None:
        sizes.append(max(a.size for a in args if isinstance(a, np.ndarray)))
        launch(source, kernel, *args, **how)

    monkeypatch.setattr(cuda.Source, "launch", watched)
    expected = results(name, x, w, **attrs)
    assert max(sizes) > 2000
    sizes.clear()
    monkeypatch.setattr(parts, "PART", 2000)
    agree(results(name, x, w, **attrs), expected, 1e-12)
    assert max(sizes) <= 2000


@pytest.mark.parametrize(
    ("name", "of", "expected"),
    [
        ("cuda_im2col", ((9, 2, 4, 4), (3, 2, 3, 3), 1), 4 * 18),  # columns
        ("cuda_im2col", ((9, 2, 4, 4), (50, 2, 3, 3), 1), 4 * 50),  # y
        ("cuda_im2col", ((9, 2, 4, 4), (3, 2, 1, 1), 3), 32),  # x
        ("cuda_winograd", ((9, 2, 7, 3), (3, 2, 3, 3), 1), 2 * 36 * 3),  # M
        ("cuda_winograd", ((9, 5, 7, 3), (3, 5, 3, 3), 1), 2 * 36 * 5),  # V
        ("cuda_winograd", ((9, 15, 7, 3), (3, 5, 3, 3), 1), 2 * 36 * 5),  # V of one group
        ("cuda_winograd", ((9, 40, 20, 4), (40, 1, 5, 1), 1), 40 * 20 * 4),  # x
        ("cuda_winograd", ((9, 10, 4, 4), (40, 1, 2, 1), 1), 40 * 3 * 4),  # y
    ],
)
def test_what_is_largest_bounds_a_part(name: str, of: tuple, expected: int) -> None:
    x, w, stride = of
    if name == "cuda_im2col":
        assert cuda_im2col.largest(x, w, Windows.over(x, w, (stride, stride), (0, 0, 0, 0))) == expected
    else:
        assert cuda_winograd.largest(x, w[0], x[1] // w[1], Tiles.over(x, w[2:], (0, 0, 0, 0), 4)) == expected


@pytest.mark.parametrize(("name", "C"), [("cuda_im2col", 64), ("cuda_winograd", 256)])  # 9 of x, and 36/16
def test_images_too_large_for_an_int_are_refused(name: str, C: int) -> None:
    kernel, attrs = CONV2D.kernels[name], {"stride": (1, 1), "padding": (1,) * 4, "dilation": (1, 1), "groups": 1}
    assert kernel.why_not(((1, C, 1900, 1900), (8, C, 3, 3), None), attrs) is None
    why = kernel.why_not(((1, C, 2000, 2000), (8, C, 3, 3), None), attrs)
    assert why == "a launch counts to 2,113,929,216, but what is made of one image has 2,304,000,000 numbers"


# ---- db --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 8, columns.PARTS])
@pytest.mark.parametrize(("R", "K"), [(1, 1), (3, 40), (7, 64), (1000, 33), (5000, 3)])
def test_columns_are_summed_however_they_are_cut(R: int, K: int, cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns beyond the last, parts with fewer rows than the others."""
    monkeypatch.setattr(columns, "PARTS", cut)
    X = np.random.default_rng(2).integers(-1000, 1000, (R, K))
    for dtype in (np.float32, np.float64):  # which hold these sums exactly
        got = columns.column_sums(X.astype(dtype))
        np.testing.assert_array_equal(got, X.sum(axis=0))
        assert (got.dtype, got.shape) == (dtype, (K,))


@pytest.mark.parametrize("name", ["cuda_im2col", "cuda_winograd", "cuda_implicit_gemm"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_no_precision_rounds_db(name: str, precision: str) -> None:
    """Numbers of 24 bits, of which bf16 would keep eight."""
    x, w, dy = (np.zeros(shape, np.float32) for shape in ((2, 3, 9, 8), (5, 3, 3, 3), (2, 5, 7, 6)))
    dy[...] = np.random.default_rng(3).integers(1 << 16, 1 << 17, dy.shape)
    attrs, _ = CONV2D.settle((x.shape, w.shape, None), CONV2D.attrs)
    kernel = CONV2D.kernels[name]
    with minidl.precision(precision):
        _, saved = kernel.forward(x, kernel.prepare["w"][0](w, **attrs) if kernel.prepare else w, None, **attrs)
        _, _, db = kernel.backward(dy, saved, (False, False, True), **attrs)
    np.testing.assert_array_equal(db, dy.sum(axis=(0, 2, 3), dtype=np.float64))


@pytest.mark.parametrize("kernel", ["cuda_im2col", "cuda_winograd", "cuda_implicit_gemm"])
def test_who_launches_columns_says_so(kernel: str) -> None:
    """Or it would count as verified where they are not."""
    assert CONV2D.kernels[kernel].source.also == (columns.SOURCE,)


# ---- implicit GEMM ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("full", "room", "splits"), [(64, 1 << 26, 5), (64, 4 * 135 - 1, 3), (64, 3 * 135, 3), (64, 1, 1), (2, 1 << 26, 4)]
)
def test_dw_is_cut_into_parts_that_are_worth_it(full: int, room: int, splits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 168 rows, at least 32 each; of 135 numbers, as many as fit; in 2 tiles, no more than keep a GPU busy."""
    monkeypatch.setattr(cuda_implicit_gemm, "FULL", full)
    monkeypatch.setattr(cuda_implicit_gemm, "WORKSPACE", room)
    launch, seen = cuda_implicit_gemm.launch, []
    monkeypatch.setattr(cuda_implicit_gemm, "launch", lambda *args: (seen.append(args), launch(*args)))
    shapes = (4, 3, 9, 8), (5, 3, 3, 3)
    agree(results("cuda_implicit_gemm", *shapes), results("im2col", *shapes))
    ((_, blocks, _, _, _, _, made, *_),) = (args for args in seen if args[0] == "weights")
    assert (blocks, made.shape) == (2 * splits, (splits, 5, 27))


# ---- im2col ----------------------------------------------------------------------------------------------------------


def test_gradients_in_half_are_added_up_in_float(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ones, and a number beside which one more is nothing in float16: 2048 + 1 = 2048."""
    backward = CONV2D.kernels["cuda_im2col"].backward
    attrs = {"stride": (1, 1), "padding": (0, 1, 0, 0), "dilation": (1, 1), "groups": 1}
    monkeypatch.setattr(parts, "PART", 1)  # a part for each image
    x, w, dy = (np.ones(shape, np.float16) for shape in ((4096, 1, 1, 1), (1, 1, 1, 1), (4096, 1, 2, 1)))
    dy[0, 0, 0] = 2048
    _, dw, db = backward(dy, (x, w), (False, True, True), **attrs)
    assert (dw.item(), db.item(), dw.dtype, db.dtype) == (6144, 10240, np.float16, np.float16)  # to 4, and to 8
    x, w, dy = (np.ones(shape, np.float16) for shape in ((1, 1, 1, 9), (1, 1, 2, 5), (1, 1, 1, 5)))
    for loud in range(5):
        dy[:] = 1
        dy[..., loud] = 2048
        assert backward(dy, (x, w), (True, False, False), **attrs)[0][0, 0, 0, 4] == 2052


def test_filters_of_1x1_that_see_every_pixel_need_no_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_im2col, "unfold", None)
    monkeypatch.setattr(cuda_im2col, "fold", None)
    for x, w, attrs in (((2, 4, 5, 3), (6, 4, 1, 1), {}), ((2, 4, 5, 3), (6, 2, 1, 1), {"groups": 2})):
        agree(results("cuda_im2col", x, w, **attrs), results("im2col", x, w, **attrs))


# ---- winograd --------------------------------------------------------------------------------------------------------


def test_its_matrices_are_those_of_cook_and_toom() -> None:
    known = cuda_winograd.known(3, 1)
    assert [known[name] for name in ("R", "S", "MR", "MS", "TR", "TS")] == [3, 1, 4, 1, 6, 1]
    A, G, B = exact(4, 3)
    assert [known[f"{name}_DOWN"] for name in "AGB"] == [cuda.matrix(A), cuda.matrix(G), cuda.matrix(B)]
    assert known["A_ACROSS"] == known["G_ACROSS"] == known["B_ACROSS"] == "[1][1] = {{1.0}}"


def test_it_rounds_as_winograd_does() -> None:
    """Within twice of what winograd.py states for F(4, 3)."""
    x, w = (2, 64, 13, 14), (8, 64, 3, 3)
    got = results("cuda_winograd", x, w, "float32", padding=1)
    assert all(a.dtype == np.float32 for a in got.values())
    agree(got, results("im2col", x, w, padding=1), 2e-5)


@pytest.mark.nvrtc
@pytest.mark.parametrize("size", [(2, 2), (3, 3), (5, 5), (1, 3), (5, 1), (4, 2)], ids=str)
def test_every_matrix_is_in_the_code(size: tuple[int, int]) -> None:
    """Unrolled loops read no matrix from memory: no stack, and each matrix is named once, where it is declared."""
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc")
    text = cuda_winograd.SOURCE.complete("float32", **cuda_winograd.known(*size))
    program = nvrtc.nvrtcCreateProgram(text.encode(), b"winograd.cu", 0, [], [])[1]
    assert nvrtc.nvrtcCompileProgram(program, 2, [b"--gpu-architecture=compute_90", b"-std=c++17"])[0] == 0
    ptx = b" " * nvrtc.nvrtcGetPTXSize(program)[1]
    nvrtc.nvrtcGetPTX(program, ptx)
    assert [ptx.decode().count(f"{name}_{way}") for name in "ABG" for way in ("DOWN", "ACROSS")] == [1] * 6
