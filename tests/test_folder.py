"""Folders of images: how they are parted, what stays in memory, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image
from tiny import said

from minidl import data
from minidl.cli import main
from minidl.data import folder, listing

SHADES = {"bright": 200, "dark": 60}  # of a class's images; noise of 20 around them


def draw(path: Path, shade: int = 128, size: tuple[int, int] = (6, 5), mode: str = "L") -> None:
    """A small image file with noise of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(str(path)) + shade + sum(path.name.encode())).integers(-20, 20, size)
    Image.fromarray((shade + noise).astype(np.uint8)).convert(mode).save(path)


def photos(root: Path, parts: tuple[str, ...] = ("",), count: int = 10, **more: object) -> Path:
    """root/[part/]bright/0.png, ..., root/[part/]dark/9.png."""
    for part in parts:
        for name, shade in SHADES.items():
            for i in range(count):
                draw(root / part / name / f"{i}.png", shade, **more)
    return root


# ---- parts ----------------------------------------------------------------------------------------------------------------


def names(found: folder.Listing, part: str) -> list[str]:
    return [name for name, _ in found.parts[part]]


def test_of_each_five_files_of_a_class_the_fourth_is_validation_and_the_fifth_test(tmp_path: Path) -> None:
    found = listing(photos(tmp_path, count=12))
    files = sorted(f"{i}.png" for i in range(12))  # 0, 1, 10, 11, 2, ...
    for name, label in (("bright", 0), ("dark", 1)):
        for part, places in {"train": (0, 1, 2), "validation": (3,), "test": (4,)}.items():
            mine = [file for file in names(found, part) if file.startswith(name)]
            assert mine == [f"{name}/{file}" for i, file in enumerate(files) if i % 5 in places]
        assert {number for file, number in found.parts["train"] if file.startswith(name)} == {label}
    assert found.classes == ["bright", "dark"]
    assert "the 4th is for validation, the 5th for the test" in found.note


@pytest.mark.parametrize("validation", ["validation", "val", "valid"])
def test_parts_that_are_there_are_taken_as_they_are(validation: str, tmp_path: Path) -> None:
    found = listing(photos(tmp_path, ("train", validation, "test"), count=3))
    assert {part: len(files) for part, files in found.parts.items()} == {"train": 6, "validation": 6, "test": 6}
    assert names(found, "validation")[0] == f"{validation}/bright/0.png"
    assert found.note == ""


@pytest.mark.parametrize(("there", "missing"), [("test", "validation"), ("validation", "test")])
def test_a_missing_part_is_each_fifth_image_of_train(there: str, missing: str, tmp_path: Path) -> None:
    found = listing(photos(tmp_path, ("train", there)))
    assert names(found, missing) == [f"train/{name}/{i}.png" for name in SHADES for i in (4, 9)]
    assert len(found.parts["train"]) == 16
    assert len(found.parts[there]) == 20
    assert found.note == f"the {missing} images are each 5th of train/, class by class"


def test_train_alone_is_parted_in_three(tmp_path: Path) -> None:
    found = listing(photos(tmp_path, ("train",)))
    assert [len(found.parts[part]) for part in data.PARTS] == [12, 4, 4]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    photos(tmp_path)
    shutil.copytree(tmp_path / "dark", tmp_path / "train")
    assert listing(tmp_path).classes == ["bright", "dark", "train"]


def test_hidden_files_are_passed_over_and_others_left_out(tmp_path: Path) -> None:
    photos(tmp_path)
    (tmp_path / "dark" / ".DS_Store").write_text("")
    (tmp_path / ".git").mkdir()
    (tmp_path / "dark" / "labels.txt").write_text("")
    (tmp_path / "bright" / "README").write_text("")
    (tmp_path / "licence.txt").write_text("beside the classes, and no matter")
    draw(tmp_path / "dark" / "LAST.PNG")
    found = listing(tmp_path)
    assert sum(map(len, found.parts.values())) == 21
    assert found.note.endswith("; 2 files left out, no images by their names (.txt, no ending)")
    (tmp_path / "bright" / "README").unlink()
    assert listing(tmp_path).note.endswith("; 1 file left out, no image by its name (.txt)")


def test_the_digest_tells_whether_the_parts_are_the_same(tmp_path: Path) -> None:
    before = listing(photos(tmp_path / "here")).digest()
    assert listing(shutil.copytree(tmp_path / "here", tmp_path / "there")).digest() == before
    draw(tmp_path / "here/dark/1b.png")
    assert listing(tmp_path / "here").digest() != before


def test_links_are_the_files_they_lead_to(tmp_path: Path) -> None:
    photos(tmp_path / "here")
    for name in SHADES:
        (tmp_path / "there").mkdir(exist_ok=True)
        (tmp_path / "there" / name).symlink_to(tmp_path / "here" / name)
    assert listing(tmp_path / "there").identities("test") == listing(tmp_path / "here").identities("test")


# ---- pixels ---------------------------------------------------------------------------------------------------------------


def test_images_smaller_than_the_network_keep_their_size_in_memory(tmp_path: Path) -> None:
    train, _, test = data.image_folder(photos(tmp_path), (12, 14), channels=3)
    assert (train.pixels.shape, train.pixels.dtype, train.shape) == ((12, 3, 6, 5), np.uint8, (3, 12, 14))
    expected = data.read_image(tmp_path / "bright/4.png", size=(12, 14), channels=3)
    assert np.allclose(test.take([0])[0], expected, atol=1e-6)
    assert train.normalise == data.Normalise.fit(train.images)


def test_larger_images_and_those_of_many_sizes_are_kept_at_the_networks(tmp_path: Path) -> None:
    draw(photos(tmp_path) / "dark/5.png", size=(40, 30))
    train, *_ = data.image_folder(tmp_path, 12, channels=1)
    assert train.pixels.shape == (12, 1, 12, 12)
    small, *_ = data.image_folder(tmp_path, 4, channels=2)
    assert (small.pixels.shape, small.shape) == ((12, 1, 4, 4), (2, 4, 4))
    expected = data.read_image(tmp_path / "dark/5.png", size=(4, 4), channels=2)
    row = [name for name, _ in listing(tmp_path).parts["train"]].index("dark/5.png")
    assert np.abs(small.take([row])[0] - expected).max() <= 0.5 / 255 + 1e-6


def test_a_photograph_on_its_side_is_kept_upright(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    for path in photos(tmp_path).glob("*/*.png"):
        Image.open(path).save(path, exif=tags)
    assert data.image_folder(tmp_path, (12, 12)).train.pixels.shape == (12, 3, 5, 6)


def test_a_limit_is_balanced_and_known_before_images_are_decoded(tmp_path: Path) -> None:
    photos(tmp_path)
    whole = data.image_folder(tmp_path, 8, channels=1)
    seen: list[tuple[int, int]] = []
    splits = data.image_folder(tmp_path, 8, channels=1, limit=4, on_read=lambda *pair: seen.append(pair))
    assert np.bincount(splits.train.labels).tolist() == [2, 2]
    assert seen == [(i, 12) for i in range(1, 13)]  # 4 + 4 + 4
    assert np.array_equal(splits.train.images, whole.limited(4).train.images)
    only = data.image_folder(tmp_path, 8, channels=1, parts=("test",))
    assert (len(only.train), len(only.validation), len(only.test)) == (0, 0, 4)
    assert np.array_equal(only.test.pixels, whole.test.pixels)


# ---- what is refused --------------------------------------------------------------------------------------------------------


def loop(root: Path) -> None:
    (root / "loop").symlink_to(root)


def broken_link(root: Path) -> None:
    (root / "dark/x.png").symlink_to("x.png")


def pipe(root: Path) -> None:
    os.mkfifo(root / "dark/x.png")


def folders(*names: str) -> Callable[[Path], None]:
    return lambda root: [(root / name).mkdir(parents=True) for name in names] and None


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: shutil.rmtree(root / name)


ALONE = "expected train/, validation/ and test/ alone, each with one folder per class"
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty class": (folders("cat"), "*/cat: a class without images; expected files that end in .png, .jpg, .jpeg, ..."),
    "nested": (folders("dark/more"), "*/dark/more is a folder inside a class; put its images into */dark"),
    "loop": (loop, "*/loop/bright is a folder inside a class; put its images into */loop"),
    "broken link": (broken_link, "*/dark/x.png is no file that can be read; remove it, or mend the link"),
    "pipe": (pipe, "*/dark/x.png is no file that can be read; remove it, or mend the link"),
    "one class": (remove("dark"), "* holds one class, 'bright'; a network needs at least two to tell apart"),
    "no class": (
        lambda root: [shutil.rmtree(root / name) for name in SHADES],
        "* holds no folders; expected one folder of images per class, such as */cat",
    ),
    "no text": (
        lambda root: (root / "dark/0.png").write_text("no image"),
        "image '*/dark/0.png' cannot be read: it is not a sound PNG, JPEG, BMP, GIF, TIFF, WEBP or PPM file",
    ),
    "too few": (
        lambda root: [path.unlink() for path in root.glob("*/*.png") if path.stem > "3"],
        "*: too few images to take the test part from; some class needs 5 of them",
    ),
    "capital": (lambda root: photos(root, ("Train",)), "*: Train/ must be called train/, in lower case"),
    "test alone": (lambda root: photos(root, ("test",)), "*: test/ is there and train/ is missing; " + ALONE),
    "unknown part": (
        lambda root: photos(root, ("train", "dev")),
        "*: beside train/ there is bright/; " + ALONE,
    ),
}
BAD_PARTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "class in test alone": (
        folders("test/fox"),
        "*/test has a class 'fox' that */train has not; train and test the same classes",
    ),
    "validation twice": (folders("val"), "*: beside train/ there is validation/; " + ALONE),
    "empty part": (
        lambda root: [shutil.rmtree(root / "test" / name) for name in SHADES],
        "*/test holds no folders; expected one folder of images per class, such as */test/cat",
    ),
    "empty class in test": (
        lambda root: [path.unlink() for path in root.glob("test/dark/*")],
        "*/test/dark: a class without images; expected files that end in .png, .jpg, .jpeg, ...",
    ),
}


def refused(root: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(root)
    with pytest.raises((ValueError, OSError)) as caught:
        data.image_folder(root, 8)
    assert str(caught.value).replace(str(root), "*") == message


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are POSIX")
@pytest.mark.parametrize("name", BAD)
def test_a_folder_laid_out_otherwise_is_one_clear_line(name: str, tmp_path: Path) -> None:
    refused(photos(tmp_path, count=6), *BAD[name])


@pytest.mark.parametrize("name", BAD_PARTS)
def test_parts_that_do_not_fit_are_one_clear_line(name: str, tmp_path: Path) -> None:
    refused(photos(tmp_path, ("train", "validation", "test"), count=2), *BAD_PARTS[name])


def test_more_than_memory_should_hold_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "LARGEST", 20 * 3 * 6 * 5 - 1)
    monkeypatch.setattr(folder, "read_pixels", None)
    with pytest.raises(ValueError, match=r"20 images \[3, 6, 5\] would take 0.0 GiB as bytes, the limit is 0 GiB; use fewer"):
        data.image_folder(photos(tmp_path), 8)


# ---- the commands -----------------------------------------------------------------------------------------------------------

TRAIN = ["train", "net.py", "--epochs", "3", "--lr", "0.01", "--no-shifts", "--quiet"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.py, photos/ with train/ and test/, and runs/net-1 trained on them."""
    place = tmp_path_factory.mktemp("photos")
    tiny.write(place)
    photos(place / "photos", ("train", "test"), count=15)
    before = Path.cwd()
    os.chdir(place)
    try:
        assert main([*TRAIN, "--data", "photos"]) == 0
    finally:
        os.chdir(before)
    return place


@pytest.fixture
def place(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of home that knows its new place, and the working folder."""
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "runs/net-1/config.json"
    config.write_text(config.read_text().replace(str(home), str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_network_learns_a_folder(place: Path, capsys: pytest.CaptureFixture) -> None:
    config, result = (json.loads((place / "runs/net-1" / name).read_text()) for name in ("config.json", "result.json"))
    assert config["model"]["classes"] == ["bright", "dark"]
    assert config["data"]["name"] == str(place / "photos")
    assert config["data"]["images"] == {"train": 24, "validation": 6, "test": 30}
    assert result["test_accuracy"] == 1
    assert main(["evaluate", "runs/net-1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["accuracy"], found["images"]) == (1, 30)
    assert found["loss"] == pytest.approx(result["test_loss"], rel=1e-5)
    assert main(["predict", "runs/net-1", "photos/test/dark/0.png"]) == 0
    assert capsys.readouterr().out.split()[1] == "dark"


def test_a_folder_that_moved_is_asked_for_and_known_again(place: Path, capsys: pytest.CaptureFixture) -> None:
    (place / "photos").rename(place / "moved")
    message = said("evaluate runs/net-1", capsys)
    assert message.endswith(
        "/photos: the images that runs/net-1 was trained on are no longer there; --data gives another place"
    )
    assert main(["evaluate", "runs/net-1", "--data", "moved", "--split", "train"]) == 0
    assert "24 train images" in capsys.readouterr().out


def test_training_images_are_no_test(place: Path, capsys: pytest.CaptureFixture) -> None:
    message = said("evaluate runs/net-1 --data photos/train", capsys)
    start = "6 of the 6 test images of photos/train were training or validation images of runs/net-1, from "
    assert message.startswith(start)
    assert main(["evaluate", "runs/net-1", "--data", "photos/test"]) == 0  # a folder of its own, and never trained on
    draw(place / "photos/train/dark/0b.png")
    (place / "link").symlink_to(place / "photos")
    for words in ("evaluate runs/net-1", "evaluate runs/net-1 --data link"):
        message = said(words, capsys)
        assert "/photos has changed since runs/net-1 was trained on it (files came, went or were renamed)" in message
    shutil.rmtree(place / "photos/train")
    (place / "photos").rename(place / "moved")
    capsys.readouterr()
    assert main(["evaluate", "runs/net-1", "--data", "moved/test"]) == 0
    assert "nobody can tell whether moved/test holds its training images" in capsys.readouterr().err


def test_names_of_classes_cannot_rewrite_the_terminal(place: Path, capsys: pytest.CaptureFixture) -> None:
    hostile, path = "da\x1b[2Jrk\n", Path("runs/net-1/config.json")
    for part in ("train", "test"):
        Path("photos", part, "dark").rename(Path("photos", part, hostile))
    config = json.loads(path.read_text())
    config["model"]["classes"], config["data"]["files"] = ["bright", hostile], listing("photos").digest()
    path.write_text(json.dumps(config))
    for words in (["predict", "runs/net-1", f"photos/test/{hostile}/0.png"], ["evaluate", "runs/net-1"]):
        assert main(words) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert "\x1b" not in out
        assert r"da\x1b[2Jrk\n" in out


def test_classes_are_matched_by_name(place: Path, capsys: pytest.CaptureFixture) -> None:
    config = json.loads((place / "runs/net-1/config.json").read_text())
    config["model"]["classes"].reverse()  # what the network calls bright is dark now
    (place / "runs/net-1/config.json").write_text(json.dumps(config))
    assert main(["evaluate", "runs/net-1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["confusion"] == [[0, 15], [15, 0]]


def test_a_class_that_was_not_learnt_is_refused(place: Path, capsys: pytest.CaptureFixture) -> None:
    photos(place / "other", count=5)
    (place / "other/bright").rename(place / "other/zero")
    message = "other has a class 'zero' that runs/net-1 did not learn; it knows bright, dark"
    assert said("evaluate runs/net-1 --data other", capsys) == message


def test_what_is_no_folder(place: Path, capsys: pytest.CaptureFixture) -> None:
    (place / "photos.zip").write_text("")
    assert said("train net.py --data photos.zip", capsys) == (
        "photos.zip is a file; expected a folder with one folder of images per class; unpack it first"
    )
    assert said("train net.py --data photo", capsys).startswith(
        "no data set 'photo': choose from digits, digits:writers, hybrid, or name"
    )
    assert {path.name for path in (place / "runs").iterdir()} == {"net-1"}
