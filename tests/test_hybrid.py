"""The hybrid data set: what is drawn, from which keys, in which parts, and under which names."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny
from test_folder import draw as draw_file
from test_folder import photos
from tiny import said

from minidl import data
from minidl.cli import main
from minidl.data.figures import KINDS, SHAPES, TEXTURES, Kind, covered, normals
from minidl.data.pictures import draw, noise

hybrid = importlib.import_module("minidl.data.hybrid")
DRAWN = {"real": "none", "classes": 26, "per_class": 5}  # all shapes, all textures, three filled shapes, random


def keys(n: int, first: int = 0) -> np.ndarray:
    return np.array([[7, first + i] for i in range(n)], np.uint64)


# ---- what is drawn ---------------------------------------------------------------------------------------------------------


def grid(n: int = 201, reach: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    side = np.linspace(-reach, reach, n, dtype=np.float32)
    return np.meshgrid(side, side)


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_lies_inside_the_unit_circle_and_has_an_inside(name: str) -> None:
    u, v = grid()
    d = SHAPES[name](u, v)
    assert d.dtype == np.float32
    assert d.shape == u.shape
    assert d[u * u + v * v > 1].min() > 0
    assert 0.05 < (d < 0).mean() < 0.36  # of the square from -1.5 to 1.5; the unit circle has 0.35
    steps = np.abs(np.diff(d, axis=1)).max() / (u[0, 1] - u[0, 0])
    assert steps < 1.01  # no steeper than a distance: edges are one pixel soft


def test_no_two_kinds_are_alike() -> None:
    u, v = grid(101, 1.0)
    masks = [SHAPES[name](u, v) < 0 for name in SHAPES]
    pixel = np.full_like(u, 0.02)
    textures = [TEXTURES[name](3 * u + 0.1, 3 * v + 0.3, pixel) for name in TEXTURES]
    for several in (masks, textures):
        for i, one in enumerate(several):
            for other in several[:i]:
                assert np.abs(one.astype(float) - other).mean() > 0.02


@pytest.mark.parametrize("name", TEXTURES)
def test_a_texture_is_a_mask_of_light_and_dark(name: str) -> None:
    u, v = grid(301, 3)
    mask = TEXTURES[name](u, v, np.full_like(u, 0.02))
    assert (mask.dtype, mask.min(), mask.max()) == (np.float32, 0, 1)
    assert 0.2 < mask.mean() < 0.75
    if name not in ("target", "rays", "gradient"):
        again = TEXTURES[name](u + 2, v - 4, np.full_like(u, 0.02))
        np.testing.assert_allclose(again, mask, atol=1e-3 / 0.02)
        assert np.abs(again - mask).mean() < 1e-3


def test_a_star_has_five_points() -> None:
    around = 2 * np.pi * np.arange(3600, dtype=np.float32) / 3600
    inside = SHAPES["star"](0.7 * np.sin(around), 0.7 * np.cos(around)) < 0
    assert np.count_nonzero(inside != np.roll(inside, 1)) == 10
    assert inside[0]
    assert all(SHAPES["star"](*np.float32([[0.95 * a], [0.95 * b]])) < 0 for a, b in normals(5))


def test_an_edge_is_a_pixel_soft() -> None:
    d = np.array([-2, -0.5, -0.25, 0, 0.25, 0.5, 2], np.float32)
    assert covered(d, np.float32(1)).tolist() == [1, 1, 0.75, 0.5, 0.25, 0, 0]
    assert covered(d, np.float32(4)).tolist() == [1, 0.625, 0.5625, 0.5, 0.4375, 0.375, 0]


def test_the_kinds_are_many_and_their_order_is_kept() -> None:
    names = [str(kind) for kind in KINDS]
    assert len(set(names)) == len(names) == 12 + 10 + 120 + 1080
    assert names[:5] == ["disc", "stripes", "ring", "checks", "square"]
    assert names[20:24] == ["bow", "half", "disc of stripes", "ring of checks"]
    assert names[142:144] == ["disc of stripes on checks", "ring of checks on dots"]
    assert hashlib.sha256("\n".join(names).encode()).hexdigest()[:16] == "7ff89d87aa6033d5"


@pytest.mark.parametrize("kind", [Kind("ring"), Kind(fill="bricks"), Kind("bow", "dots"), Kind("bar", "rays", "mesh")], ids=str)
def test_the_colours_of_a_picture_are_apart_in_grey_too(kind: Kind) -> None:
    many = 1 + bool(kind.fill) + bool(kind.shape) * (1 + bool(kind.ground))
    for channels in (1, 3):
        images = draw(kind, keys(60), (64, 64), channels).astype(np.float32)
        grey = images[:, 0] if channels == 1 else np.tensordot(images, np.float32([0.299, 0.587, 0.114]), ([1], [0]))
        assert grey.std(axis=(1, 2)).min() > 6  # of 255
        assert grey.mean(axis=(1, 2)).std() > 20  # dark on light, and light on dark
        spread = np.percentile(grey, 98, axis=(1, 2)) - np.percentile(grey, 2, axis=(1, 2))
        assert np.median(spread) > (80 if many > 2 else 100)
    assert np.ptp(images.mean(axis=(0, 2, 3))) < 40  # no colour is preferred


def test_figures_lie_whole_inside_and_all_over_the_image() -> None:
    images = draw(Kind("disc"), keys(300), (32, 48), 1)[:, 0].astype(np.float32)
    ground = np.median(np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1), axis=1)
    figure = np.abs(images - ground[:, None, None]) > 45
    assert figure[:, 1:-1, 1:-1].any(axis=(1, 2)).all()
    assert figure[:, [0, -1]].mean() < 0.01
    assert figure[:, :, [0, -1]].mean() < 0.01
    assert (figure.mean(axis=0)[8:-8, 12:-12] > 0.1).all()
    across = np.argmax(figure.any(axis=1), axis=1)
    assert (across < 4).any()
    assert (across > 24).any()


def test_random_images_are_of_every_sort() -> None:
    images = noise(keys(400), (32, 32), 3).astype(np.float32)
    coloured = np.abs(images[:, 0] - images[:, 1]).max(axis=(1, 2)) > 0
    assert 0.4 < coloured.mean() < 0.6
    steps = np.abs(np.diff(images[:, 0], axis=2))
    changes = (steps > 0).mean(axis=(1, 2))
    assert (changes > 0.9).any()  # sharp and fine, or smooth
    assert (changes < 0.1).any()  # sharp and coarse
    smooth = (steps.max(axis=(1, 2)) < 40) & (changes > 0.5)
    assert 0.1 < smooth.mean() < 0.5
    assert images.mean() == pytest.approx(127.5, abs=5)


# ---- keys ------------------------------------------------------------------------------------------------------------------

DIGESTS = {(1, (24, 17)): "a69a970baba17d82", (3, (16, 16)): "1223799ce1dcae88"}


@pytest.mark.parametrize(("channels", "size"), DIGESTS)
def test_the_pictures_of_a_seed_are_the_same_everywhere(channels: int, size: tuple[int, int]) -> None:
    train, _, test = data.hybrid(size, channels=channels, seed=3, **{**DRAWN, "classes": 60})
    found = hashlib.sha256(train.pixels.tobytes() + test.pixels.tobytes()).hexdigest()[:16]
    assert found == DIGESTS[channels, size]


def by_class(part: data.Dataset, classes: list[str]) -> dict[str, np.ndarray]:
    return {name: part.pixels[part.labels == label] for label, name in enumerate(classes)}


def test_an_image_depends_on_its_key_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = (data.hybrid(20, **{**DRAWN, "classes": n, "per_class": p}) for n, p in ((9, 5), (26, 20)))
    alone, with_digits = data.hybrid(20, **DRAWN, parts=("test",)), data.hybrid(20, classes=30, per_class=5)
    assert (len(alone.train), len(alone.validation), len(alone.test)) == (0, 0, 26)
    monkeypatch.setattr(hybrid, "AT_ONCE", 1)
    one_by_one = data.hybrid(20, **DRAWN)
    for part in data.PARTS:
        whole = by_class(getattr(many, part), many.classes)
        for other in (few, alone, one_by_one, with_digits):
            for name, images in by_class(getattr(other, part), other.classes).items():
                assert name in whole or name.isdigit()
                assert name.isdigit() or np.array_equal(images, whole[name][: len(images)]), (part, name)


def test_a_class_shows_the_kind_it_is_named_after() -> None:
    splits, mixture = data.hybrid((18, 23), classes=40, per_class=5, seed=9), hybrid.Mixture(seed=9)
    for name, images in by_class(splits.validation, splits.classes).items():
        for number, kind in enumerate(KINDS[:29]):
            if str(kind) == name:
                assert np.array_equal(images, draw(kind, mixture._keys(number, "validation", slice(0, 1)), (18, 23), 3))
    assert splits.classes[-2] == str(KINDS[28])
    expected = noise(mixture._keys(2**20, "test", slice(0, 1)), (18, 23), 3)
    assert np.array_equal(splits.test.pixels[-1:], expected)


def test_no_two_images_are_equal_whatever_their_part_or_seed() -> None:
    seen = set()
    for seed in (0, 1, 2**64 - 1):
        for part in data.hybrid(12, **{**DRAWN, "per_class": 10}, seed=seed):
            seen |= {image.tobytes() for image in part.pixels}
    assert len(seen) == 3 * 26 * 10


def test_no_key_is_used_twice() -> None:
    mixture = hybrid.Mixture(classes=1000, real="none")
    used = [mixture._keys(kind, part, slice(0, 7)) for kind in (*range(999), 2**20) for part in data.PARTS]
    assert len(np.unique(np.concatenate(used), axis=0)) == 1000 * 3 * 7
    assert min(key[:, 1].min() for key in used) >= 2**63  # none is a stream's


# ---- parts -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("per_class", "counts"), [(5, (3, 1, 1)), (9, (7, 1, 1)), (140, (84, 28, 28)), (174, (106, 34, 34))])
def test_every_class_has_as_many_images_in_every_part(per_class: int, counts: tuple[int, ...]) -> None:
    mixture = hybrid.Mixture(per_class=per_class, real="digits:writers")  # by default they have enough, too
    assert tuple(map(mixture.count, data.PARTS)) == counts
    if per_class < 170:
        for part, n in zip(data.hybrid(8, per_class=per_class, real="digits:writers"), counts, strict=True):
            assert np.bincount(part.labels).tolist() == [n] * 20


@pytest.mark.parametrize("real", ["digits", "digits:writers"])
def test_real_digits_keep_their_parts(real: str) -> None:
    splits = data.hybrid(16, channels=2, per_class=20, real=real)
    assert splits.classes[:10] == list("0123456789")
    for mine, theirs in zip(splits, data.digits(16, channels=2, writers=real != "digits"), strict=True):
        for digit in range(10):
            images = mine.images[mine.labels == digit]
            expected = theirs.images[theirs.labels == digit][: len(images)]
            np.testing.assert_allclose(images, expected, atol=0.5 / 255 + 1e-6)


def test_real_images_of_a_folder_keep_their_parts(tmp_path: Path) -> None:
    photos(tmp_path, count=12, mode="RGB")
    splits = data.hybrid((9, 7), real=tmp_path, classes=5, per_class=7)
    assert splits.classes == ["bright", "dark", "disc", "stripes", "random"]
    found = data.listing(tmp_path)
    assert splits.files == found.digest()
    for part, n in (("train", 5), ("validation", 1), ("test", 1)):
        dataset = getattr(splits, part)
        assert np.bincount(dataset.labels).tolist() == [n] * 5
        for label in (0, 1):
            names = [name for name, number in found.parts[part] if number == label][:n]
            expected = np.stack([data.read_image(tmp_path / name, size=(9, 7), channels=3) for name in names])
            np.testing.assert_allclose(dataset.images[dataset.labels == label], expected, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(
    ("size", "channels", "kept"),
    [(1, 1, (1, 1, 1)), ((3, 50), 3, (3, 3, 50)), ((41, 2), 2, (1, 41, 2)), (7, 5, (1, 7, 7)), ((65, 64), 3, (3, 65, 64))],
)
def test_any_size_and_any_number_of_channels(size: int | tuple[int, int], channels: int, kept: tuple[int, ...]) -> None:
    splits = data.hybrid(size, channels=channels, **{**DRAWN, "classes": 40})
    for part in splits:
        assert part.pixels.shape[1:] == kept
        assert part.images.shape == (len(part), channels, *kept[1:])
        assert part.normalise == splits.normalise
    assert splits.train.pixels.std() > (15 if size == 1 else 40)


def test_the_making_says_how_far_it_is() -> None:
    heard: list[tuple[int, int]] = []
    data.hybrid(16, **DRAWN, parts=("train", "test"), on_read=lambda *pair: heard.append(pair))
    done = [pair[0] for pair in heard]
    assert {pair[1] for pair in heard} == {26 * 4}
    assert done == sorted(done)
    assert done[-1] == 26 * 4


def test_a_limit_takes_the_classes_in_turn() -> None:
    splits = data.load("hybrid:per_class=10", size=(8, 8), channels=1, limit=45)
    counts = np.bincount(splits.train.labels, minlength=20)
    assert (counts.sum(), counts.min(), counts.max()) == (45, 2, 3)
    assert len(splits.test) == 40


# ---- names -----------------------------------------------------------------------------------------------------------------


def test_a_name_says_what_the_call_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos(Path("own"), count=5)
    called = data.hybrid((8, 9), channels=1, classes=5, per_class=5, seed=4, real="own")
    name = "hybrid:seed=4,real=own,per_class=5,classes=5"
    read = data.load(name, size=(8, 9), channels=1)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(called, read, strict=True))
    assert data.classes_of(name) == called.classes == ["bright", "dark", "disc", "stripes", "random"]
    assert data.full_name(name) == f"hybrid:classes=5,per_class=5,seed=4,real={tmp_path / 'own'}"
    assert data.full_name(data.full_name(name)) == data.full_name(name)
    assert data.full_name("hybrid") == "hybrid:classes=20,per_class=140,seed=0,real=digits"
    assert (data.source_of(name), data.source_of("hybrid"), data.source_of("digits")) == (
        str(tmp_path / "own"),
        "digits",
        "digits",
    )


def test_what_does_not_fit_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos(Path("own"), count=6)
    photos(Path("few"), data.PARTS, count=2)
    shutil.copytree("own", "named")
    Path("named/dark").rename("named/disc")
    path = str(tmp_path)
    short = "images of each class, and some class of"
    for options, message in {
        "real=own,classes=3,per_class=5": "classes must be at least 4 with real=*/own (2 real ones, 1 to 1222 drawn ones and "
        "random), got 3",
        "real=none,classes=1500": "classes must be at most 1223 with real=none (1 to 1222 drawn ones and random), got 1500",
        "real=own,classes=5,per_class=40": f"per_class=40 takes 24 train {short} */own has 4; choose per_class=6 or less",
        "real=few,classes=5,per_class=5": f"per_class=5 takes 3 train {short} */few has 2; give it more images",
        "real=named,classes=5,per_class=5": "*/named has a class 'disc', and so has hybrid; rename that folder",
    }.items():
        with pytest.raises(ValueError) as caught:
            data.load(f"hybrid:{options}", size=(8, 8), channels=1)
        assert str(caught.value).replace(path, "*") == f"hybrid: {message}"
    with pytest.raises(ValueError, match="real must be digits, digits:writers, none or a folder without a comma, got 'a,b'"):
        data.hybrid(8, real="a,b")


# ---- the commands ----------------------------------------------------------------------------------------------------------

TRAIN = ["train", "net.py", "--epochs", "1", "--lr", "0.01", "--no-shifts", "--quiet"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """net.py, and the working folder."""
    tiny.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_network_learns_it_by_name(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([*TRAIN, "--data", "hybrid:per_class=10,classes=14", "--out", "run"]) == 0
    config = json.loads(Path("run/config.json").read_text())
    full = "hybrid:classes=14,per_class=10,seed=0,real=digits"
    assert config["data"]["name"] == full
    assert config["model"]["classes"] == [*"0123456789", "disc", "stripes", "ring", "random"]
    assert config["data"]["images"] == {"train": 84, "validation": 28, "test": 28}
    result = json.loads(Path("run/result.json").read_text())
    for name in ([], ["--data", "hybrid:classes=14,per_class=10"]):
        capsys.readouterr()
        assert main(["evaluate", "run", "--json", *name]) == 0
        assert json.loads(capsys.readouterr().out)["accuracy"] == result["test_accuracy"]
    for other in ("digits", "hybrid:classes=13,seed=5", "hybrid:real=none,classes=4,seed=1"):  # other images, none of training
        assert main(["evaluate", "run", "--data", other]) == 0
    assert main(["train", "--resume", "run", "--epochs", "2", "--data", "hybrid:per_class=10,classes=14", "--quiet"]) == 0
    assert json.loads(Path("run/config.json").read_text())["data"]["name"] == full
    message = said("train --resume run --epochs 3 --data hybrid:per_class=10,classes=14,seed=1", capsys)
    assert message == f"--data {full.replace('seed=0', 'seed=1')}: run was started with {full}; leave it out"
    assert said("train --resume run --epochs 3 --data digits", capsys).startswith("--data digits: run was started with hybrid:")


def test_what_a_run_has_learnt_is_no_test_under_another_name(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([*TRAIN, "--data", "hybrid:per_class=10,classes=12", "--out", "run"]) == 0
    message = said("evaluate run --data digits:writers", capsys)
    assert message.startswith("digits:writers parts the digits otherwise than hybrid:classes=12,")
    name = "hybrid:classes=12,per_class=10,real=digits:writers"
    assert said(f"evaluate run --data {name}", capsys).startswith(f"{name} parts the digits otherwise than hybrid:classes=12,")
    assert said("evaluate run --data hybrid:classes=13", capsys).startswith("hybrid:classes=13 has a class 'stripes' that run")


def test_a_run_on_a_folder_mixed_in_remembers_its_files(place: Path, capsys: pytest.CaptureFixture) -> None:
    photos(Path("own"), count=15)
    name = "hybrid:classes=4,per_class=10,real=own"
    assert main([*TRAIN, "--data", name, "--out", "run"]) == 0
    for other in ([], ["--data", name], ["--data", "own"]):
        assert main(["evaluate", "run", *other]) == 0
    draw_file(Path("own/dark/1b.png"))
    assert "own has changed since run was trained on it" in said("evaluate run", capsys)
    assert "does not hold the images of run as they were" in said("train --resume run --epochs 2", capsys)
    Path("own/dark/1b.png").unlink()
    Path("own").rename("moved")
    gone = f"{place / 'own'}: the images that run was trained on are no longer there; restore them"
    assert said("evaluate run", capsys) == gone
    assert said("train --resume run --epochs 2", capsys) == gone
