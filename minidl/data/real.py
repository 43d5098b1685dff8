"""The real images of a hybrid data set: so many of each class and part of the digits, or of a folder of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minidl.data.folder import PARTS, listing
from minidl.data.images import read_pixels, resize
from minidl.data.optdigits import CLASSES, digits

NONE = "none"  # no real images
DIGITS = {"digits": False, "digits:writers": True}  # name -> are the test images by other writers?


class Real(NamedTuple):
    """Real images, not yet read.

    classes  their names
    least    part -> how many images each class has in it, at least
    read     read(class, part, rows) -> uint8 [n, c, H, W]
    note, files  as Splits has them
    """

    classes: list[str]
    least: dict[str, int]
    read: Callable[[int, str, slice], np.ndarray]
    note: str = ""
    files: str = ""


def real_names(source: str) -> list[str]:
    """The classes of digits, digits:writers, none or a folder; ValueError or OSError, one line, where there is no such."""
    if source == NONE:
        return []
    return list(CLASSES) if source in DIGITS else listing(_folder(source)).classes


def real_images(source: str, kept: tuple[int, int, int]) -> Real:
    """The images of digits, digits:writers, none or a folder as bytes [c, H, W], c = 1 or 3."""
    if source == NONE:
        return Real([], {}, lambda label, part, rows: np.empty((0, *kept), np.uint8))
    return _of_digits(DIGITS[source], kept) if source in DIGITS else _of_folder(source, kept)


def _of_digits(writers: bool, kept: tuple[int, int, int]) -> Real:
    """They stay grey."""
    parts = dict(zip(PARTS, digits(writers=writers), strict=True))
    mine = {part: [np.flatnonzero(d.labels == label) for label in range(len(CLASSES))] for part, d in parts.items()}

    def read(label: int, part: str, rows: slice) -> np.ndarray:
        images = resize(parts[part].pixels[mine[part][label][rows]], kept[1:])
        return np.broadcast_to(np.rint(255 * images).astype(np.uint8), (len(images), *kept))

    return Real(list(CLASSES), {part: min(map(len, rows)) for part, rows in mine.items()}, read)


def _of_folder(source: str, kept: tuple[int, int, int]) -> Real:
    """The first files of each class and part, in the order of their names."""
    found = listing(_folder(source))
    mine = {
        part: [[name for name, number in files if number == label] for label in range(len(found.classes))]
        for part, files in found.parts.items()
    }

    def read(label: int, part: str, rows: slice) -> np.ndarray:
        files = [found.root / name for name in mine[part][label][rows]]
        return np.stack([read_pixels(file, size=kept[1:], channels=kept[0]) for file in files])

    least = {part: min(map(len, files)) for part, files in mine.items()}
    return Real(found.classes, least, read, found.note, found.digest())


def _folder(source: str) -> str:
    if not Path(source).is_dir():
        raise ValueError(f"hybrid: real must be {', '.join(DIGITS)}, {NONE} or a folder of images; there is no folder {source}")
    return source
