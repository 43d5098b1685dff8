"""Random bits: the published Philox, equal to NumPy's, the same on every device; and what dropout makes of them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import strict_xp
from hypothesis import given
from hypothesis import strategies as st

import minidl
from minidl.random import (
    MULTIPLIERS,
    WEYL,
    Stream,
    _multiply,
    manual_seed,
    philox,
    random_bits,
    random_uniforms,
    stream,
    using_stream,
)
from minidl.tensor import Tensor

MAX = 2**64 - 1
KEYS = np.array([[0, 0], [MAX, MAX], [0x452821E638D01377, 0xBE5466CF34E90C6C], [1, 0], [0, 1]], np.uint64)

# Random123 (Salmon et al. 2011), tests/kat_vectors: philox4x64 10, counter -> words, under a key
KNOWN = [
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B),
    ),
    (
        (MAX, MAX, MAX, MAX),
        (MAX, MAX),
        (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0),
    ),
    (
        (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0x452821E638D01377, 0xBE5466CF34E90C6C),
        (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
    ),
]


def plain_philox(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    """Philox4x64-10 in whole numbers, as the paper writes it."""
    (x0, x1, x2, x3), (k0, k1) = counter, key
    for _ in range(10):
        (hi0, lo0), (hi1, lo1) = divmod(MULTIPLIERS[0] * x0, 2**64), divmod(MULTIPLIERS[1] * x2, 2**64)
        x0, x1, x2, x3 = hi1 ^ x1 ^ k0, lo1, hi0 ^ x3 ^ k1, lo0
        k0, k1 = (k0 + WEYL[0]) & MAX, (k1 + WEYL[1]) & MAX
    return x0, x1, x2, x3


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_answers(counter: tuple[int, ...], key: tuple[int, int], words: tuple[int, ...]) -> None:
    assert plain_philox(counter, key) == words


@pytest.mark.parametrize("xp", [np, strict_xp.XP], ids=["numpy", "strict"])
def test_array_philox_is_the_published_one(xp: object) -> None:
    blocks = 3
    expected = [w for key in KEYS.tolist() for b in range(blocks) for w in plain_philox((b + 1, 0, 0, 0), key)]
    got = philox(xp, xp.asarray(KEYS) if xp is np else strict_xp.LIBRARY.from_numpy(KEYS), blocks)
    got = got if xp is np else strict_xp.LIBRARY.to_numpy(got)
    assert got.dtype == np.uint64
    assert got.ravel().tolist() == expected


@given(st.lists(st.tuples(st.integers(0, MAX), st.integers(0, MAX)), min_size=1, max_size=4), st.integers(1, 5))
def test_array_philox_has_the_bits_of_numpy(keys: list[tuple[int, int]], blocks: int) -> None:
    array = np.array(keys, np.uint64)
    expected = [np.random.Philox(key=key).random_raw(4 * blocks) for key in array]
    np.testing.assert_array_equal(philox(np, array, blocks), expected)


@given(st.integers(0, MAX), st.sampled_from(MULTIPLIERS))
def test_a_product_of_two_words_is_exact(a: int, m: int) -> None:
    hi, lo = _multiply(np, np.array([a], np.uint64), m)
    assert (int(hi[0]), int(lo[0])) == divmod(a * m, 2**64)


def test_the_bits_are_these_for_all_time() -> None:
    """Checkpoints resume only if the bits never change: not with NumPy's version, not with ours."""
    bits = random_bits(Stream(2012).keys(4), 1000)
    assert bits.dtype == np.uint32
    digest = hashlib.sha256(bits.astype("<u4").tobytes()).hexdigest()
    assert digest == "41162e444a95506520aa8d689212d084291e6e3b40dd2bb19da154cf4abcaaba"


@given(count=st.integers(1, 40))
def test_bits_do_not_depend_on_library_count_or_batch(count: int) -> None:
    whole = random_bits(KEYS, 40)
    np.testing.assert_array_equal(random_bits(KEYS, count), whole[:, :count])
    np.testing.assert_array_equal(
        np.concatenate([random_bits(KEYS[i : i + 1], count) for i in range(len(KEYS))]), whole[:, :count]
    )
    strict = random_bits(strict_xp.LIBRARY.from_numpy(KEYS), count)
    np.testing.assert_array_equal(strict_xp.LIBRARY.to_numpy(strict), whole[:, :count])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniforms_are_never_0_or_1(dtype: type) -> None:
    u = random_uniforms(Stream(0).keys(100), 1000, dtype)
    assert u.dtype == dtype
    assert u.min() > 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 5 * (1 / 12) ** 0.5 / u.size**0.5
    np.testing.assert_array_equal(u, random_uniforms(Stream(0).keys(100), 1000, np.float64))  # the same numbers
    ends = (np.array([0, 2**32 - 1], np.uint32) >> 9).astype(dtype)
    assert (((ends + dtype(0.5)) * dtype(2.0**-23)) % 1 > 0).all()  # also for the smallest and the largest bits


def test_the_position_is_all_there_is_to_save() -> None:
    manual_seed(5)
    stream().keys(3)
    saved = Stream(stream().seed, stream().position)
    assert (saved.seed, saved.position) == (5, 3)
    np.testing.assert_array_equal(stream().keys(2), [[5, 3], [5, 4]])
    np.testing.assert_array_equal(saved.keys(2), [[5, 3], [5, 4]])


def test_manual_seed_starts_again() -> None:
    x = Tensor(np.ones((2, 50)))
    manual_seed(1)
    first, second = minidl.dropout(x).numpy(), minidl.dropout(x).numpy()
    assert not np.array_equal(first, second)
    assert manual_seed(1) is stream()
    np.testing.assert_array_equal(minidl.dropout(x).numpy(), first)
    assert stream().position == 2


def test_another_stream_leaves_this_one_alone() -> None:
    manual_seed(1)
    with using_stream(Stream(9)) as other:
        assert stream() is other
        stream().keys(4)
    assert (stream().seed, stream().position) == (1, 0)


def test_seeds_of_any_sign_and_size() -> None:
    assert Stream(-1).seed == MAX
    assert Stream(2**64 + 3).seed == 3


def test_a_generator_takes_one_key() -> None:
    one, two = Stream(3), Stream(3)
    assert one.generator().normal() == two.generator().normal()
    assert one.generator().normal() != Stream(3).generator().normal()
    assert one.position == 2


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("style", ["inverted", "paper"])
def test_dropout_keeps_the_right_part(p: float, style: str) -> None:
    manual_seed(0)
    x = Tensor(np.ones((64, 2048)))
    y = minidl.dropout(x, p=p, style=style).numpy()
    deviation = (p * (1 - p) / y.size) ** 0.5
    assert abs((y != 0).mean() - (1 - p)) < 5 * deviation
    tested = minidl.dropout(x, p=p, style=style, training=False).numpy()
    assert abs(y.mean() - tested.mean()) < 5 * deviation / (1 - p)  # the expectation in training is the value in evaluation
    per_image = (y != 0).mean(axis=1)
    assert np.abs(per_image - (1 - p)).max() < 6 * (p * (1 - p) / 2048) ** 0.5
    neighbours = np.corrcoef((y != 0)[:, 1:].ravel(), (y != 0)[:, :-1].ravel())[0, 1]
    assert abs(neighbours) < 5 / y.size**0.5


def test_dropout_lets_gradient_through_where_it_kept() -> None:
    x = Tensor(np.full((4, 100), 3.0), requires_grad=True)
    y = minidl.dropout(x, p=0.25)
    y.backward(np.ones(y.shape))
    np.testing.assert_allclose(x.grad, y.numpy() / 3.0)


def test_dropout_saves_its_key_alone() -> None:
    key = Stream(0).keys(8)
    _, saved = minidl.op.OPS["dropout"].chosen().forward(np.ones((8, 4096)), key, p=0.5, style="inverted", training=True)
    assert sum(array.nbytes for array in saved) == 8 * 16


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"p": 1.0}, r"dropout: p is the probability to drop, in \[0, 1\), got p=1.0"),
        ({"p": -0.1}, r"dropout: p is the probability to drop, in \[0, 1\), got p=-0.1"),
        ({"style": "caffe"}, "dropout: style must be 'inverted' or 'paper', got 'caffe'"),
    ],
)
def test_dropout_says_what_is_wrong(attrs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        minidl.dropout(Tensor(np.ones((2, 3))), **attrs)
