"""What the laws do not say of stochastic pooling: its frequencies, its expectation, empty windows, NaN, types, the layer."""

from __future__ import annotations

import numpy as np
import pytest
import strict_xp

import minidl
from minidl import Tensor, nn
from minidl.ops.stochastic_pool2d import within_float32
from minidl.random import Stream, manual_seed, stream
from minidl.recompute import recompute

WINDOW = np.array([[1.0, 0.0, 2.0], [5.0, 0.5, 3.0], [0.25, 8.0, 4.0]])
QUANTILE = {2: 13.82, 7: 24.32, 15: 37.70}  # of chi-square with so many degrees of freedom: 1 in 1000 is above


def pooled(x: np.ndarray, seed: int = 0, **attrs: object) -> np.ndarray:
    return minidl.stochastic_pool2d(x, key=Stream(seed).keys(len(x)), **attrs).numpy()


def gradient(x: np.ndarray, dy: np.ndarray, **attrs: object) -> tuple[np.ndarray, np.ndarray]:
    t = Tensor(x, requires_grad=True)
    y = minidl.stochastic_pool2d(t, key=Stream(0).keys(len(x)), **attrs)
    y.backward(dy)
    assert t.grad is not None
    return y.numpy(), t.grad


def chi_square(drawn: np.ndarray, values: np.ndarray, p: np.ndarray) -> float:
    """sum (seen - expected)^2 / expected; every draw must be one of the values."""
    counts = np.array([(drawn == value).sum() for value in values])
    assert counts.sum() == drawn.size
    expected = p * drawn.size
    return float(((counts - expected) ** 2 / expected).sum())


# ---- frequencies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_values_are_drawn_in_proportion_to_what_they_are(dtype: type, seed: int) -> None:
    x = np.broadcast_to(WINDOW.astype(dtype), (200, 50, 3, 3))
    drawn, values = pooled(x, seed, kernel_size=3), WINDOW[WINDOW > 0]
    assert chi_square(drawn, values, values / values.sum()) < QUANTILE[7]


def test_the_statistic_sees_a_small_fault() -> None:
    drawn, values = pooled(np.broadcast_to(WINDOW, (200, 50, 3, 3)), kernel_size=3), WINDOW[WINDOW > 0]
    for wrong in (np.sqrt(values), values + 0.2, np.ones(8)):
        assert chi_square(drawn, values, wrong / wrong.sum()) > QUANTILE[7]


def test_padding_is_never_drawn() -> None:
    drawn = pooled(np.broadcast_to(WINDOW, (500, 20, 3, 3)), kernel_size=3, stride=1, padding="same")[:, :, 0, 2]
    corner = np.array([2.0, 0.5, 3.0])  # and a 0
    assert chi_square(drawn, corner, corner / corner.sum()) < QUANTILE[2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((slice(None), 0, 1, 1), (slice(None), 0, 1, 2)),  # windows that overlap
        ((slice(None), 0, 1, 1), (slice(None), 1, 1, 1)),  # channels
        ((slice(None), 0, 0, 0), (slice(None), 0, 3, 3)),  # far apart
    ],
)
def test_windows_draw_for_themselves(one: tuple, other: tuple) -> None:
    values = np.array([1.0, 2.0, 4.0, 3.0])
    x = np.tile(values.reshape(2, 2), (20_000, 2, 3, 3))[:, :, :5, :5]  # whatever its place, a 2x2 window sees all four
    y = pooled(x, kernel_size=2, stride=1)
    pairs, p = y[one] + 10 * y[other], values / 10
    both = (values[:, None] + 10 * values).ravel()
    assert chi_square(pairs, both, np.outer(p, p).ravel()) < QUANTILE[15]


def test_images_draw_for_themselves_and_the_same_in_any_batch() -> None:
    x = np.random.default_rng(0).random((6, 3, 7, 6), dtype=np.float32)
    x[1:] = x[0]
    attrs = {"kernel_size": 3, "stride": 2, "padding": 1}
    key = Stream(4).keys(6)
    whole = minidl.stochastic_pool2d(x, key=key, **attrs).numpy()
    assert all((whole[0] != image).any() for image in whole[1:])
    for part in (slice(0, 1), slice(2, 5)):
        np.testing.assert_array_equal(minidl.stochastic_pool2d(x[part], key=key[part], **attrs).numpy(), whole[part])


def test_an_image_draws_the_same_in_every_type() -> None:
    x = np.random.default_rng(0).random((8, 16, 32, 32)).astype(np.float16)
    attrs = {"kernel_size": 5, "stride": 1, "padding": 2}
    half, single, double = (pooled(x.astype(t), **attrs) for t in (np.float16, np.float32, np.float64))
    assert (half.dtype, single.dtype, double.dtype) == (np.float16, np.float32, np.float64)
    np.testing.assert_array_equal(half, double)
    np.testing.assert_array_equal(single, double)


@pytest.mark.parametrize("training", [True, False])
def test_threads_change_no_bit(training: bool) -> None:
    x = np.random.default_rng(0).random((16, 8, 80, 80), dtype=np.float32)
    dy = np.random.default_rng(1).standard_normal(x.shape, dtype=np.float32)
    attrs = {"kernel_size": 3, "stride": 1, "padding": "same", "training": training}
    plain = gradient(x, dy, **attrs)
    with minidl.threads(2):
        sliced = gradient(x, dy, **attrs)
    for a, b in zip(plain, sliced, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- evaluation --------------------------------------------------------------------------------------------------------


def test_evaluation_is_the_expectation_of_training() -> None:
    x = np.random.default_rng(0).random((3, 2, 5, 6)) ** 2
    attrs = {"kernel_size": (2, 3), "stride": (1, 2), "padding": (1, 0, 0, 1)}
    expected = minidl.stochastic_pool2d(x, **attrs, training=False).numpy()
    draws = np.stack([pooled(x, seed, **attrs) for seed in range(2000)])
    assert (draws.std(axis=0) > 0).any()
    error = np.abs(draws.mean(axis=0) - expected)
    assert (error <= 4.5 * draws.std(axis=0) / np.sqrt(2000) + 1e-12).all()


def test_evaluation_by_hand() -> None:
    x = np.array([1.0, 0.0, 3.0]).reshape(1, 1, 1, 3)
    y, dx = gradient(x, np.full((1, 1, 1, 1), 8.0), kernel_size=(1, 3), training=False)
    assert y.item() == 2.5  # (1 + 9) / 4
    assert dx.ravel().tolist() == [8 * (2 - 2.5) / 4, 8 * (0 - 2.5) / 4, 8 * (6 - 2.5) / 4]


# ---- gradients, empty windows, NaN -------------------------------------------------------------------------------------


def test_dy_goes_to_what_was_drawn_and_nowhere_else() -> None:
    rng = np.random.default_rng(0)
    x, dy = rng.random((4, 3, 6, 9)), rng.standard_normal((4, 3, 3, 3))
    y, dx = gradient(x, dy, kernel_size=(2, 3))
    assert (dx != 0).sum() == dy.size
    windows, slopes = (a.reshape(4, 3, 3, 2, 3, 3).transpose(0, 1, 2, 4, 3, 5).reshape(4, 3, 3, 3, 6) for a in (x, dx))
    np.testing.assert_array_equal(slopes.sum(axis=-1), dy)
    np.testing.assert_array_equal((windows * (slopes != 0)).sum(axis=-1), y)


def test_windows_that_overlap_add_up() -> None:
    x = np.array([0.0, 9.0, 0.0]).reshape(1, 1, 1, 3)
    y, dx = gradient(x, np.array([1.0, 10.0]).reshape(1, 1, 1, 2), kernel_size=(1, 2), stride=1)
    assert (y.ravel().tolist(), dx.ravel().tolist()) == ([9, 9], [0, 11, 0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("training", [True, False])
def test_a_window_of_zeros_gives_zero_and_takes_no_gradient(training: bool, dtype: type) -> None:
    x = np.zeros((2, 1, 4, 4), dtype)
    x[1, 0, 3, 3] = 2
    attrs = {"kernel_size": 3, "stride": 1, "padding": "same", "training": training}
    y, dx = gradient(x, np.ones(x.shape, dtype), **attrs)
    expected = np.zeros((4, 4))
    expected[2:, 2:] = 2
    assert not y[0].any()
    assert not dx[0].any()
    np.testing.assert_array_equal(y[1, 0], expected)
    assert dx[1, 0, 3, 3] == 4  # of four windows
    if training:
        assert dx[1, 0].sum() == 4


def test_a_zero_beside_a_value_is_never_drawn() -> None:
    x = np.maximum(np.random.default_rng(0).standard_normal((8, 16, 30, 30), dtype=np.float32) - 1, 0)
    y = pooled(x, kernel_size=3, stride=1, padding="same")
    largest = minidl.max_pool2d(x, kernel_size=3, stride=1, padding="same").numpy()
    assert ((y > 0) == (largest > 0)).all()
    assert (y <= largest).all()


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e-12, 1e12])
@pytest.mark.parametrize("training", [True, False])
def test_small_and_large_values_are_ordinary(training: bool, size: float) -> None:
    x = np.full((1, 1, 2, 2), size, np.float32)
    y, dx = gradient(x, np.full((1, 1, 1, 1), 1000, np.float32), kernel_size=2, training=training)
    assert np.isfinite(dx).all()
    if training or size > 1e-15:  # below, float32 has no squares
        np.testing.assert_allclose(y.item(), size, rtol=1e-5)
        np.testing.assert_allclose(dx.sum(), 1000, rtol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        *((np.float32, size) for size in (2e38, 1e-38, 1e-44)),
        *((np.float64, size) for size in (1e60, 1e300, 1e-60, 1e-300, 1e-322)),
        *((np.float16, size) for size in (6e4, 6e-7)),
    ],
)
def test_values_as_large_and_small_as_there_are_draw_in_proportion(dtype: type, size: float) -> None:
    """Also beside maps of ordinary ones: what an image draws is its own affair."""
    x = np.broadcast_to(np.array([[0.0, 0.5], [1.0, 0.25]]), (2000, 2, 2, 2)).copy()
    x[:, 1] *= size
    x = x.astype(dtype)
    y = pooled(x, kernel_size=2)
    assert y.dtype == dtype
    for c in range(2):
        values = np.unique(x[0, c])[1:]
        p = (values / values.max()).astype(np.float64)
        assert chi_square(y[:, c], values, p / p.sum()) < QUANTILE[2]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", [(0, 0), (1, 2), (3, 3)])
def test_nan_and_infinity_are_not_hidden(place: tuple[int, int], value: float, training: bool) -> None:
    x = np.ones((1, 1, 4, 4))
    x[0, 0, place[0], place[1]] = value
    with np.errstate(invalid="ignore"):
        y = pooled(x, kernel_size=2, training=training)[0, 0]
    assert np.argwhere(np.isnan(y)).tolist() == [[place[0] // 2, place[1] // 2]]
    assert (y[~np.isnan(y)] == 1).all()


@pytest.mark.parametrize("side", [15, 16, 20])
def test_windows_of_255_positions_and_more(side: int) -> None:
    x = np.zeros((1, 1, side, side + 2))
    x[0, 0, side - 1, side - 2] = 1.0
    y, dx = gradient(x, np.ones((1, 1, 1, 3)), kernel_size=side, stride=1)
    assert (y.ravel().tolist(), (dx == 3 * x).all()) == ([1, 1, 1], True)
    _, nothing = gradient(0 * x, np.ones((1, 1, 1, 3)), kernel_size=side, stride=1)
    assert not nothing.any()


def test_one_byte_is_saved_per_output() -> None:
    y = minidl.stochastic_pool2d(Tensor(np.zeros((1, 2, 32, 32), np.float32), requires_grad=True), 15)
    code, _ = y.node.saved
    assert (code.dtype, code.size) == (np.uint8, y.size)


def test_the_size_of_maps_is_not_asked_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A condition on an array would wait for a GPU; the numbers are the same."""
    a = np.random.default_rng(0).random((3, 4, 5, 2), dtype=np.float32)
    a[1, :, :, 0] *= 1e35
    a[2] *= np.float32(1e-25)
    expected = within_float32(a, a.max(axis=(1, 2)))
    monkeypatch.setattr(strict_xp.StrictArray, "__bool__", lambda _: pytest.fail("a kernel asked a device array for its truth"))
    got = within_float32(strict_xp.StrictArray(a), strict_xp.StrictArray(a.max(axis=(1, 2))))
    np.testing.assert_array_equal(strict_xp.LIBRARY.to_numpy(got), expected)
    assert expected.max() == 1


# ---- the layer ---------------------------------------------------------------------------------------------------------


def test_the_layer_draws_in_training_alone() -> None:
    manual_seed(0)
    pool, x = nn.StochasticPool2d(2, stride=1, padding="same"), np.random.default_rng(0).random((3, 2, 5, 4), dtype=np.float32)
    first, second = pool(x).numpy(), pool(x).numpy()
    assert (first != second).any()
    assert stream().position == 6
    assert repr(pool) == "StochasticPool2d(kernel_size=2, stride=1, padding='same')"
    manual_seed(0)
    np.testing.assert_array_equal(pool(x).numpy(), first)
    position = stream().position
    y = pool.eval()(x).numpy()
    assert stream().position == position
    np.testing.assert_array_equal(y, minidl.stochastic_pool2d(x, 2, 1, "same", training=False).numpy())


def test_the_layer_hands_on_every_option() -> None:
    x = np.random.default_rng(0).random((3, 2, 6, 8), dtype=np.float32)
    given = ((2, 3), (3, 2), (1, 0, 0, 1), True)
    attrs = dict(zip(("kernel_size", "stride", "padding", "ceil_mode"), given, strict=True))
    for options in (attrs, {"kernel_size": 2}):
        pool = nn.StochasticPool2d(**options)
        manual_seed(5)
        np.testing.assert_array_equal(pool(x).numpy(), pooled(x, 5, **options))
        np.testing.assert_array_equal(pool.eval()(x).numpy(), pooled(x, training=False, **options))
    assert nn.StochasticPool2d(*given).attrs == attrs
    assert pooled(x, **attrs).shape != pooled(x, **{**attrs, "ceil_mode": False}).shape


def test_recompute_draws_the_same_again() -> None:
    pool, results = nn.StochasticPool2d(3, 2, (1, 0)), []
    for again in (False, True):
        manual_seed(3)
        x = Tensor(np.random.default_rng(0).random((3, 2, 6, 5)), requires_grad=True)
        y = recompute(pool, x) if again else pool(x)
        y.backward(np.random.default_rng(1).standard_normal(y.shape))
        results.append((y.numpy(), x.grad))
    for plain, recomputed in zip(*results, strict=True):
        np.testing.assert_array_equal(plain, recomputed)
