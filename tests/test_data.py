"""Data sets and their split rule, augmentation, and the loader."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from minidl import data
from minidl.backend import to_numpy
from minidl.data import optdigits
from minidl.random import Stream, manual_seed, stream, using_stream

# ---- digits -----------------------------------------------------------------------------------------------------------------


def test_digits_are_whole_and_in_range():
    parts = list(data.digits())
    assert [len(part) for part in parts] == [1085, 357, 355]
    for part in parts:
        assert part.images.shape[1:] == (1, 8, 8)
        assert part.images.dtype == np.float32
        assert part.labels.dtype == np.int64
        assert part.images.min() == 0
        assert part.images.max() == 1
        assert set(part.labels) == set(range(10))


def test_of_each_five_images_of_a_class_the_fourth_is_validation_and_the_fifth_test():
    pixels, labels = optdigits._read()
    train, validation, test = data.digits()
    for digit in range(10):
        mine = pixels[labels == digit]
        assert np.array_equal(validation.images[validation.labels == digit], mine[3::5])
        assert np.array_equal(test.images[test.labels == digit], mine[4::5])
        kept = [i for i in range(len(mine)) if i % 5 < 3]
        assert np.array_equal(train.images[train.labels == digit], mine[kept])


def test_digits_writers_tests_on_the_last_360_rows():
    pixels, labels = optdigits._read()
    train, validation, test = data.load("digits:writers", size=(8, 8), channels=1)
    assert np.array_equal(test.images, pixels[-360:])
    assert np.array_equal(test.labels, labels[-360:])
    seen, seen_labels = pixels[:-360], labels[:-360]
    for digit in range(10):
        assert np.array_equal(validation.images[validation.labels == digit], seen[seen_labels == digit][4::5])
    assert len(train) + len(validation) + 360 == 1797


def test_training_images_alone_fix_the_normalisation():
    splits = data.digits(size=32, channels=3)
    normal = splits.normalise(splits.train.images)
    assert normal.dtype == np.float32
    assert normal.mean() == pytest.approx(0, abs=1e-4)
    assert normal.std() == pytest.approx(1, abs=1e-4)
    assert all(part.normalise == splits.normalise for part in splits)
    assert splits.normalise(splits.test.images).mean() != pytest.approx(0, abs=1e-4)


def test_normalise_survives_json():
    normalise = data.digits(channels=2).normalise
    assert data.Normalise(**json.loads(json.dumps(asdict(normalise)))) == normalise


def test_a_constant_channel_keeps_its_scale():
    images = np.full((7, 1, 8, 8), 0.3, np.float32)
    for constant in (images, data.Dataset(images, np.zeros(7, np.int64), shape=(1, 11, 11))):  # resizing rounds
        assert data.Normalise.fit(constant).std == (1.0,)
        assert data.Normalise.fit(constant).mean == pytest.approx((0.3,), rel=1e-6)


def test_load_gives_what_a_network_takes():
    splits = data.load("digits", size=(20, 24), channels=3)
    assert splits.train.images.shape == (1085, 3, 20, 24)
    assert (splits.channels, splits.size, splits.classes) == (3, (20, 24), list("0123456789"))
    assert np.array_equal(splits.train.images[:, 0], splits.train.images[:, 2])


def test_digits_stay_small_in_memory_and_grow_in_the_loader():
    small, large = data.digits().test, data.digits(size=(24, 30), channels=3).test
    assert (large.pixels.shape, large.shape, large.pixels.dtype) == ((355, 1, 8, 8), (3, 24, 30), np.float32)
    rows = [3, 1, 200]
    grown = data.resize(small.images[rows], (24, 30))
    assert np.array_equal(large.take(rows), np.repeat(grown, 3, axis=1))
    assert np.array_equal(large.images[rows], large.take(rows))
    assert np.array_equal(large[rows].images, large.take(rows))
    images, _ = next(iter(data.DataLoader(large, 2)))
    assert np.array_equal(images.numpy(), large.normalise(large.take([0, 1])))


def test_limited_takes_the_classes_in_turn_and_mixes_the_images():
    splits = data.digits()
    for limit in (10, 57, 1085):
        few = splits.limited(limit)
        counts = np.bincount(few.train.labels, minlength=10)
        assert counts.sum() == limit
        assert counts.max() - counts.min() <= 1 or limit == 1085
        assert len(few.test) == len(splits.test)
    assert splits.limited(None) is splits
    assert not np.array_equal(splits.limited(1085).train.labels, splits.train.labels)
    with pytest.raises(ValueError, match="limit must lie between 1 and the 1085 training images, got 0"):
        splits.limited(0)


def test_a_damaged_file_is_refused(monkeypatch):
    monkeypatch.setattr(optdigits, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"digits.csv.gz is damaged .* reinstall minidl"):
        data.digits()


def test_bytes_are_a_quarter_of_the_memory_and_the_same_images():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 3, 5, 4), dtype=np.uint8)
    labels = np.arange(40) % 2
    small, large = data.Dataset(pixels, labels), data.Dataset(pixels.astype(np.float32) / 255, labels)
    assert small.pixels.dtype == np.uint8
    assert np.array_equal(small.images, large.images)
    assert small.images.dtype == small[3][0].dtype == np.float32
    assert data.Normalise.fit(small) == data.Normalise.fit(large) == data.Normalise.fit(large.images)
    assert data.Normalise.fit(small).mean == pytest.approx(large.images.mean(axis=(0, 2, 3)), rel=1e-6)
    assert data.Normalise.fit(small).std == pytest.approx(large.images.std(axis=(0, 2, 3)), rel=1e-5)


def test_a_dataset_is_sliced_like_a_list():
    train = data.digits().train
    image, label = train[3]
    assert image.shape == (1, 8, 8)
    assert label == train.labels[3]
    small = train[:100]
    assert isinstance(small, data.Dataset)
    assert (len(small), small.normalise) == (100, train.normalise)
    assert repr(small) == "Dataset(100 images [1, 8, 8])"


IMAGES, LABELS = np.zeros((2, 1, 4, 4), np.float32), np.array([0, 1])
BAD = np.array([IMAGES[0], np.full((1, 4, 4), np.nan)])

MESSAGES = {
    "unknown set": (
        lambda: data.load("mnist", size=(8, 8), channels=1),
        "no data set 'mnist': choose from digits, digits:writers, hybrid, or name a folder of images",
    ),
    "zero size": (lambda: data.digits(size=0), "digits: size and channels must be positive integers, got size=0, channels=1"),
    "huge": (
        lambda: data.digits(size=100_000),
        "digits: one image [1, 100000, 100000] would take 38,147 MiB; the limit is 256 MiB, so choose a smaller size",
    ),
    "rank": (
        lambda: data.Dataset(IMAGES[0], LABELS),
        "Dataset: images must be [n, C, H, W], floating point 0..1 or uint8 0..255, got float32 [1, 4, 4]",
    ),
    "integers": (
        lambda: data.Dataset(IMAGES.astype(np.int16), LABELS),
        "Dataset: images must be [n, C, H, W], floating point 0..1 or uint8 0..255, got int16 [2, 1, 4, 4]",
    ),
    "shape": (
        lambda: data.Dataset(np.repeat(IMAGES, 2, axis=1), LABELS, shape=(3, 4, 4)),
        "Dataset: pixels [2, 2, 4, 4] make no images [C, H, W] = [3, 4, 4]",
    ),
    "float labels": (
        lambda: data.Dataset(IMAGES, LABELS / 2),
        "Dataset: labels must be integers [n], one per image, got float64 [2] for 2 images",
    ),
    "too few labels": (
        lambda: data.Dataset(IMAGES, LABELS[:1]),
        "Dataset: labels must be integers [n], one per image, got int64 [1] for 2 images",
    ),
    "negative label": (lambda: data.Dataset(IMAGES, LABELS - 1), "Dataset: labels are numbered from 0, got -1"),
    "nan": (lambda: data.Dataset(BAD, LABELS), "Dataset: image 1 holds NaN or infinity"),
    "no deviation": (
        lambda: data.Normalise((0.5,), (0.0,)),
        "Normalise: expected a mean and a positive std per channel, got mean=(0.5,), std=(0.0,)",
    ),
    "other channels": (
        lambda: data.Normalise((0.5,) * 3, (1.0,) * 3)(IMAGES),
        "Normalise: fitted on 3 channel(s), got images [2, 1, 4, 4]",
    ),
    "batch size": (
        lambda: data.DataLoader(data.digits().train, 0),
        "DataLoader: batch_size must be a positive integer, got 0",
    ),
    "batch float": (
        lambda: data.DataLoader(data.digits().train, 2.5),
        "DataLoader: batch_size must be a positive integer, got 2.5",
    ),
    "no batch": (
        lambda: data.DataLoader(data.digits().train[:3], 4, drop_last=True),
        "DataLoader: 3 images make no batch of 4 (drop_last=True)",
    ),
    "not a set": (lambda: data.DataLoader([1, 2]), "DataLoader: expected a minidl.data.Dataset, got list"),
    "device": (
        lambda: data.DataLoader(data.digits().train, device="gpu"),
        "device 'gpu' is not known: use 'cpu', 'cuda' or 'cuda:0'",
    ),
    "shift": (lambda: data.shifts(-1), "shifts: pixels must be 0 or more, got -1"),
    "flip": (lambda: data.flips(2), "flips: probability must lie in 0..1, got 2"),
}


@pytest.mark.parametrize(("call", "message"), MESSAGES.values(), ids=MESSAGES)
def test_what_is_wrong_is_said_in_one_line(call, message):
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert str(caught.value) == message


# ---- augmentation -----------------------------------------------------------------------------------------------------------


def moved(image: np.ndarray, down: int, across: int, fill: float) -> np.ndarray:
    """One image [C, H, W] moved, pixel by pixel."""
    out = np.full_like(image, fill)
    for _, h, w in np.ndindex(image.shape):
        if 0 <= h - down < image.shape[1] and 0 <= w - across < image.shape[2]:
            out[:, h, w] = image[:, h - down, w - across]
    return out


def test_a_shift_moves_every_image_as_a_whole_and_its_own_way():
    rng = np.random.default_rng(0)
    images = 1 + rng.random((400, 2, 5, 6), dtype=np.float32)
    shifted = data.shifts(2, fill=0.5)(images, rng)
    assert (shifted.shape, shifted.dtype) == (images.shape, np.float32)
    ways = {}
    for before, after in zip(images, shifted, strict=True):
        found = [
            (down, across)
            for down in range(-2, 3)
            for across in range(-2, 3)
            if np.array_equal(moved(before, down, across, 0.5), after)
        ]
        assert len(found) == 1
        ways[found[0]] = ways.get(found[0], 0) + 1
    assert len(ways) == 25  # every one of them
    assert max(ways.values()) < 40


def test_no_pixels_is_no_shift():
    images = data.digits().test.images[:4]
    assert np.array_equal(data.shifts(0)(images, np.random.default_rng(0)), images)


def test_flips_mirror_some_images():
    images = np.random.default_rng(0).random((100, 1, 3, 4), np.float32)
    flipped = data.flips(0.3)(images, np.random.default_rng(1))
    same = (flipped == images).all(axis=(1, 2, 3))
    assert np.array_equal(flipped[~same], images[~same][..., ::-1])
    assert 15 <= (~same).sum() <= 45


def test_augmentations_compose_in_order_and_leave_their_input_alone():
    images = np.random.default_rng(0).random((8, 1, 5, 5), np.float32)
    before = images.copy()
    both = data.compose(data.shifts(1), data.flips(1))(images, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    assert np.array_equal(both, data.flips(1)(data.shifts(1)(images, rng), rng))
    assert np.array_equal(images, before)


# ---- loader -----------------------------------------------------------------------------------------------------------------


def test_an_epoch_shows_every_image_once():
    train = data.digits().train
    loader = data.DataLoader(train, 100, shuffle=True)
    batches = list(loader)
    assert len(batches) == len(loader) == 11
    assert [len(labels) for _, labels in batches] == [100] * 10 + [85]
    labels = np.concatenate([labels for _, labels in batches])
    images = np.concatenate([images.numpy() for images, _ in batches])
    assert not np.array_equal(labels, train.labels)
    assert sorted(images.sum(axis=(1, 2, 3)).tolist()) == pytest.approx(
        sorted(train.normalise(train.images).sum(axis=(1, 2, 3)).tolist()), abs=1e-3
    )
    assert len(data.DataLoader(train, 100, drop_last=True)) == 10
    assert all(len(labels) == 100 for _, labels in data.DataLoader(train, 100, drop_last=True))


@pytest.mark.parametrize(
    ("images", "size", "lengths"),
    [(10, 3, [3, 3, 4]), (10, 4, [4, 4, 2]), (9, 3, [3, 3, 3]), (4, 3, [4]), (1, 3, [1]), (3, 1, [1, 1, 1]), (2, 2, [2])],
)
def test_a_last_batch_of_one_may_join_the_one_before(images: int, size: int, lengths: list[int]):
    part = data.digits().train[:images]
    loader = data.DataLoader(part, size, join_last=True)
    assert len(loader) == len(lengths)
    assert [len(labels) for _, labels in loader] == lengths
    assert np.array_equal(np.concatenate([labels for _, labels in loader]), part.labels)
    whole = images // size * size
    if whole:
        cut = data.DataLoader(part, size, join_last=True, drop_last=True)
        assert sum(len(labels) for _, labels in cut) == whole


def test_a_loader_normalises_last():
    test = data.digits().test
    images, labels = next(iter(data.DataLoader(test, 50)))
    assert np.array_equal(images.numpy(), test.normalise(test.images[:50]))
    assert np.array_equal(labels, test.labels[:50])
    black = test.normalise(np.zeros((1, 1, 1, 1), np.float32)).item()
    images, _ = next(iter(data.DataLoader(test, 50, augment=data.shifts(3))))
    assert images.numpy().min() == np.float32(black)


def epoch(seed: int) -> list:
    manual_seed(seed)
    loader = data.DataLoader(data.digits().train, 64, shuffle=True, augment=data.shifts())
    return [(images.numpy(), labels) for images, labels in [*loader, *loader]]


def test_same_seed_same_bits():
    first, second, other = epoch(5), epoch(5), epoch(6)
    assert all(np.array_equal(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True))
    assert not np.array_equal(first[0][1], other[0][1])
    assert not np.array_equal(first[0][1], first[17][1])  # the second epoch has its own order


def test_a_plain_loader_draws_nothing():
    with using_stream(Stream(3)):
        list(data.DataLoader(data.digits().test, 64))
        assert stream().position == 0


def test_a_loader_serves_other_array_libraries():
    images, labels = next(iter(data.DataLoader(data.digits().test, 8, device="strict")))
    assert images.device == "strict"
    assert np.array_equal(to_numpy(labels), data.digits().test.labels[:8])
