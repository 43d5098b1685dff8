"""A folder of images as a data set: one sub-folder per class, named as the class is.

    photos/cat/1.jpg, photos/dog/1.jpg, ...     of each five images of a class, in the order of their names, the 4th is
                                                validation and the 5th test
    photos/train/cat/1.jpg, ...                 in parts already; where validation/ or test/ is missing, it is each 5th image of
    photos/validation/cat/1.jpg, ...            train/, class by class; where both are, train/ is parted as above
    photos/test/cat/1.jpg, ...

validation/ may be called val/ or valid/. Hidden files are passed over; files that are no images by their names are left out
and counted. Whatever else does not fit is refused in one line, before the first image is decoded.

In memory the images are bytes: at their own size where all share one that is smaller than the network's, else at the network's.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minidl.data.dataset import Dataset, Splits, balanced
from minidl.data.encoding import Encoding
from minidl.data.images import read_pixels, size_of

PARTS = ("train", "validation", "test")
NAMES = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
ALONE = "expected train/, validation/ and test/ alone, each with one folder per class"
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
LARGEST = 4 * 2**30  # bytes of images, all parts together

File = tuple[str, int]  # its path inside the root, and the number of its class
OnRead = Callable[[int, int], None]  # (images read, of so many)


def image_folder(
    path: str | Path,
    size: int | tuple[int, int],
    *,
    channels: int = 3,
    limit: int | None = None,
    parts: Sequence[str] = PARTS,
    on_read: OnRead = lambda done, total: None,
    encode: str | Encoding = "zscore",
) -> Splits:
    """`train, validation, test = image_folder("photos", 64)`: the images under a folder, encoded as the training part wants.

    size      side, or (H, W), that the images are resized to, bilinearly
    channels  3 for colour; with any other number they are grey, repeated so often
    limit     use so many training images alone, as many of each class as may be
    parts     the parts to read; the others stay empty
    on_read   hears how far the reading is
    encode    how a DataLoader encodes them, such as "alpha=0.5" (minidl/data/encoding.py)

    ValueError or OSError, one line, for a folder laid out otherwise, a broken image, more images than memory should hold.
    """
    check_parts("image_folder", parts)
    code, found = Encoding.named(encode), listing(path)
    files = {part: found.parts[part] if part in parts else [] for part in PARTS}
    if limit is not None and files["train"]:
        chosen = balanced(np.array([label for _, label in files["train"]]), limit)
        files["train"] = [files["train"][row] for row in chosen]
    shape = (channels, *((size, size) if isinstance(size, int) else size))
    train, validation, test = _read(found.root, files, shape, on_read)
    return Splits(train, validation, test, found.classes, found.note, found.digest()).encoded(code)


def check_parts(who: str, parts: Sequence[str]) -> None:
    """ValueError, one line, for what is no part of a data set; a word alone is not taken for its letters."""
    if isinstance(parts, str) or not all(part in PARTS for part in parts):
        raise ValueError(f"{who}: parts must be some of {', '.join(PARTS)}, such as ('train', 'test'), got {parts!r}")


# ---- which files ---------------------------------------------------------------------------------------------------------


class Listing(NamedTuple):
    """The files of each part, not yet read, and what a reader should know of how the parts were made."""

    root: Path
    classes: list[str]
    parts: dict[str, list[File]]
    note: str

    def digest(self) -> str:
        """Of the names of the training files: while it is the same, so are the parts."""
        names = "\n".join(name for name, _ in self.parts["train"])
        return hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()

    def identities(self, *parts: str) -> set[tuple[int, int]]:
        """The files themselves, whatever path or link leads to them."""
        found = (os.stat(self.root / name) for part in parts for name, _ in self.parts[part])
        return {(status.st_dev, status.st_ino) for status in found}


def listing(path: str | Path) -> Listing:
    """The files of a data set, by their names alone; ValueError or OSError, one line, where the folder is none."""
    root, left_out = _existing(Path(path)), Counter[str]()
    inside = _part_folders(root)
    classes = _folders(root / inside["train"])
    _check_classes(root, inside, classes)
    found = {part: [_images(root, f"{folder}{name}", left_out) for name in classes] for part, folder in inside.items()}
    note = _take_missing_parts(root, found)
    parts = {part: [(name, label) for label, names in enumerate(found[part]) for name in names] for part in PARTS}
    if left_out:
        n = left_out.total()
        words = "file left out, no image by its name" if n == 1 else "files left out, no images by their names"
        note += f"; {n:,} {words} ({', '.join(sorted(left_out))})"
    return Listing(root, classes, parts, note.removeprefix("; "))


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such folder of images")
    if not path.is_dir():
        remedy = "; unpack it first" if path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".7z") else ""
        raise NotADirectoryError(f"{path} is a file; expected a folder with one folder of images per class{remedy}")
    return path.absolute()


def _folders(path: Path) -> list[str]:
    """The names of the folders in a folder, hidden ones passed over."""
    return sorted(name for name in os.listdir(path) if not name.startswith(".") and (path / name).is_dir())


def _part_folders(root: Path) -> dict[str, str]:
    """Part -> the start of its classes' paths; all is 'train' where the classes lie in the root itself."""
    parts = [name for name in _folders(root) if name.lower() in NAMES and _folders(root / name)]  # a class may be called train
    for name in parts:
        if name not in NAMES:
            raise ValueError(f"{root}: {name}/ must be called {name.lower()}/, in lower case")
    if "train" not in parts:
        if parts:
            raise ValueError(f"{root}: {parts[0]}/ is there and train/ is missing; {ALONE}")
        return {"train": ""}
    inside: dict[str, str] = {}
    for name in _folders(root):
        part = NAMES.get(name)
        if part is None or part in inside:
            raise ValueError(f"{root}: beside train/ there is {name}/; {ALONE}")
        inside[part] = f"{name}/"
    return inside


def _check_classes(root: Path, inside: Mapping[str, str], classes: list[str]) -> None:
    train = root / inside["train"]
    for where in (root / folder for folder in inside.values()):
        there = _folders(where)
        if not there:
            raise ValueError(f"{where} holds no folders; expected one folder of images per class, such as {where / 'cat'}")
        if unknown := set(there) - set(classes):
            raise ValueError(f"{where} has a class {min(unknown)!r} that {train} has not; train and test the same classes")
    if len(classes) == 1:
        raise ValueError(f"{train} holds one class, {classes[0]!r}; a network needs at least two to tell apart")


def _images(root: Path, inside: str, left_out: Counter[str]) -> list[str]:
    """The images of one class, sorted by name; none where a part other than train lacks the class."""
    folder, names = root / inside, []
    if not folder.is_dir():
        return []
    for name in sorted(os.listdir(folder)):
        path, ending = folder / name, os.path.splitext(name)[1].lower()
        if name.startswith("."):
            continue
        if path.is_dir():
            raise ValueError(f"{path} is a folder inside a class; put its images into {folder}")
        if ending not in ENDINGS:
            left_out[ending or "no ending"] += 1
        elif not path.is_file():
            raise ValueError(f"{path} is no file that can be read; remove it, or mend the link")
        else:
            names.append(f"{inside}/{name}")
    if not names:
        raise ValueError(f"{folder}: a class without images; expected files that end in {', '.join(ENDINGS[:3])}, ...")
    return names


def _take_missing_parts(root: Path, found: dict[str, list[list[str]]]) -> str:
    """Take validation and test from the training images of each class where they are missing; how, in words."""
    missing = [part for part in PARTS if part not in found]
    taken = {part: 5 - len(missing) + i for i, part in enumerate(missing)}  # its place among each five
    for part, place in taken.items():
        found[part] = [names[place::5] for names in found["train"]]
        if not any(found[part]):
            raise ValueError(f"{root}: too few images to take the {part} part from; some class needs {place + 1} of them")
    kept = [[name for i, name in enumerate(names) if i % 5 not in taken.values()] for names in found["train"]]
    found["train"] = kept
    if len(missing) == 2:
        return "of each five images of a class the 4th is for validation, the 5th for the test"
    return f"the {missing[0]} images are each 5th of train/, class by class" if missing else ""


# ---- their pixels --------------------------------------------------------------------------------------------------------


def _read(root: Path, files: Mapping[str, list[File]], shape: tuple[int, int, int], on_read: OnRead) -> Iterator[Dataset]:
    """One Dataset per part."""
    total = sum(map(len, files.values()))
    kept = _kept_shape(root, [name for part in files.values() for name, _ in part], shape)
    if (needed := total * int(np.prod(kept))) > LARGEST:
        raise ValueError(
            f"{root}: {total:,} images {list(kept)} would take {needed / 2**30:,.1f} GiB as bytes, the limit is "
            f"{LARGEST / 2**30:.0f} GiB; use fewer images, or a network with a smaller input"
        )
    done = 0
    for part in files.values():
        pixels = np.empty((len(part), *kept), np.uint8)
        for i, (name, _) in enumerate(part):
            pixels[i] = read_pixels(root / name, size=kept[1:], channels=shape[0])
            on_read(done := done + 1, total)
        yield Dataset(pixels, np.array([label for _, label in part], np.int64), shape=shape)


def _kept_shape(root: Path, names: list[str], shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """[c, h, w] of the images in memory."""
    C, H, W = shape
    c = 3 if C == 3 else 1
    h, w = size_of(root / names[0])
    if h * w < H * W and all(size_of(root / name) == (h, w) for name in names):
        return c, h, w
    return c, H, W
