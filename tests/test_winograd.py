"""Winograd's matrices are exact over fractions, its tiles cover the map, and its rounding error is as stated."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import minidl
from minidl import executor
from minidl.op import OPS, Kernel
from minidl.ops.conv2d import winograd
from minidl.ops.conv2d.cook_toom import LARGEST, exact
from minidl.ops.conv2d.tiles import Tiles

CONV2D = OPS["conv2d"]
SIZES = [(m, r) for r in range(2, LARGEST) for m in range(1, LARGEST + 2 - r)]


def times(M: list[list[Fraction]], v: list[Fraction]) -> list[Fraction]:
    return [sum((a * b for a, b in zip(row, v, strict=True)), Fraction(0)) for row in M]


@pytest.mark.parametrize(("m", "r"), SIZES, ids=str)
def test_a_tile_is_the_correlation_exactly(m: int, r: int) -> None:
    rng = np.random.default_rng(m + 10 * r)
    x, w = ([Fraction(int(n), 7) for n in rng.integers(-9, 10, size)] for size in (m + r - 1, r))
    A, G, B = exact(m, r)
    assert len(A) == len(G) == len(B) == m + r - 1  # as many products
    M = [u * v for u, v in zip(times(G, w), times(B, x), strict=True)]
    assert times([list(column) for column in zip(*A, strict=True)], M) == [
        sum((x[i + k] * w[k] for k in range(r)), Fraction(0)) for i in range(m)
    ]


def test_f_2_3_takes_four_products_where_the_textbook_takes_six() -> None:
    A, G, _ = exact(2, 3)
    assert [[int(v) for v in row] for row in A] == [[1, 0], [1, 1], [1, -1], [0, 1]]
    assert [row[0] for row in G] == [-1, Fraction(1, 2), Fraction(1, 2), 0]


def kernel(m: int) -> Kernel:
    return Kernel(CONV2D, f"winograd of {m}", **winograd.rung(m))


def results(kernel: Kernel, dtype: type, r: int) -> dict[str, np.ndarray]:
    """y and all gradients for 256 channels of normal numbers."""
    rng = np.random.default_rng(r)
    x, w, dy = (rng.standard_normal(shape) for shape in ((2, 256, 13, 14), (64, 256, r, r), (2, 64, 13, 14)))
    x, w, dy = (a.astype(np.float32).astype(dtype) for a in (x, w, dy))
    attrs = {"stride": (1, 1), "padding": (r // 2,) * 4, "dilation": (1, 1), "groups": 1}
    y, saved, _ = executor.forward(kernel, (x, w, None), attrs)
    dx, dw, _ = executor.backward(kernel, dy, saved, (True, True, False), attrs)
    return {"y": y, "dx": dx, "dw": dw}


# what minidl/ops/conv2d/winograd.py states, as multiples of the largest number of the result
STATED = {(2, 3): 2e-6, (4, 3): 1e-5, (5, 3): 2e-5, (4, 5): 2e-5, (6, 3): 3e-5}


@pytest.mark.parametrize(("m", "r"), STATED, ids=str)
def test_rounding_errors_are_as_stated(m: int, r: int) -> None:
    right = results(CONV2D.kernels["im2col"], np.float64, r)
    for dtype, most in ((np.float32, STATED[m, r]), (np.float64, 1e-12)):
        for name, got in results(kernel(m), dtype, r).items():
            error = float(np.abs(got - right[name]).max() / np.abs(right[name]).max())
            assert error <= most, f"F({m},{r}): {name} in {np.dtype(dtype)} is wrong by {error:.1e} of its largest number"


def test_the_error_grows_with_the_tile() -> None:
    right = results(CONV2D.kernels["im2col"], np.float64, 3)["y"]
    errors = [float(np.abs(results(kernel(m), np.float32, 3)["y"] - right).max()) for m in (2, 4, 6)]
    assert errors == sorted(errors)


@pytest.mark.parametrize("size", [(3, 3), (1, 3), (3, 1), (5, 2)])
@pytest.mark.parametrize("most", [1, 6, 1000])
def test_bands_cover_all_rows_once(size: tuple[int, int], most: int) -> None:
    tiles = Tiles.over((2, 3, 17, 11), size, (1, 0, 2, 1), m=4)
    bands = tiles.bands(most)
    assert [row for first, end in bands for row in range(first, end)] == list(range(tiles.grid[0]))
    assert all(end - first == 1 or (end - first) * tiles.grid[1] <= most for first, end in bands)


def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((2, 4, 19, 10)), rng.standard_normal((6, 2, 3, 3)), rng.standard_normal(6)
    dy, attrs = (
        rng.standard_normal((2, 6, 19, 10)),
        {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 2},
    )

    def computed() -> list[np.ndarray]:
        y, saved, _ = executor.forward(CONV2D.kernels["winograd"], inputs, attrs)
        return [y, *executor.backward(CONV2D.kernels["winograd"], dy, saved, (True, True, True), attrs)]

    whole = computed()
    monkeypatch.setattr(winograd, "BAND", 1)
    for a, b in zip(computed(), whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_slices_share_the_filters() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((8, 4, 9, 9), np.float32), rng.standard_normal((5, 4, 3, 3), np.float32)
    with CONV2D.using("winograd"), minidl.threads(2, images=3):
        y = minidl.conv2d(minidl.Tensor(x), minidl.Tensor(w, requires_grad=True))
    assert len(y.node.saved) == 3
    assert len({id(saved[1]) for saved in y.node.saved}) == 1


REFUSED = {
    "needs stride 1, got (2, 2). Use conv2d.using('im2col')": ((4, 3, 3, 3), {"stride": 2}),
    "needs dilation 1, got (2, 2)": ((4, 3, 3, 3), {"dilation": 2}),
    "a 1x1 filter has nothing to save": ((4, 3, 1, 1), {}),
    "tiles of more than 8, and 4x4 outputs of 7x7 filters need 10": ((4, 3, 7, 7), {}),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_winograd_cannot_do_it_refuses(why: str) -> None:
    size, attrs = REFUSED[why]
    with CONV2D.using("winograd"), pytest.raises(ValueError) as error:
        minidl.conv2d(np.zeros((2, 3, 9, 9), np.float32), np.zeros(size, np.float32), **attrs)
    assert str(error.value).startswith("conv2d[winograd] refuses this problem: ")
    assert why in str(error.value)
