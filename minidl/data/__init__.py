"""Data sets, resized and normalised to a network, and the loader that makes batches of them.

>>> train, validation, test = data.digits(size=16)
>>> for images, labels in data.DataLoader(train, batch_size=500, shuffle=True, augment=data.shifts(3)):
...     print(images.shape, labels.shape)
(500, 1, 16, 16) (500,)
(500, 1, 16, 16) (500,)
(85, 1, 16, 16) (85,)

`data.image_folder("photos", size=64)` does the same for images of your own, one folder a class.

In memory images lie as they came, as floats or bytes; a DataLoader makes float32 [n, C, H, W] of those of a batch, values 0..1,
augments them and, last, normalises them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from minidl.data.augment import compose, flips, shifts
from minidl.data.dataset import Dataset, Normalise, Splits
from minidl.data.folder import PARTS, OnRead, image_folder, listing
from minidl.data.images import read_image, resize
from minidl.data.loader import DataLoader
from minidl.data.optdigits import CLASSES, digits

DATA_SETS: dict[str, Callable[..., Splits]] = {"digits": digits, "digits:writers": partial(digits, writers=True)}


def load(
    name: str,
    *,
    size: tuple[int, int],
    channels: int,
    limit: int | None = None,
    parts: Sequence[str] = PARTS,
    on_read: OnRead = lambda done, total: None,
) -> Splits:
    """The data set of that name, or in that folder, for a network with input_shape (channels, *size).

    limit    use so many training images alone, as many of each class as may be
    parts    read these alone of train, validation, test, where that saves time
    on_read  hears (images read, of so many)
    """
    if name in DATA_SETS:
        return DATA_SETS[name](size, channels=channels).limited(limit)
    return image_folder(_known(name), size, channels=channels, limit=limit, parts=parts, on_read=on_read)


def classes_of(name: str) -> list[str]:
    """The names of the classes of a data set, known before its images are read."""
    return list(CLASSES) if name in DATA_SETS else listing(_known(name)).classes


def _known(name: str) -> str:
    if not name or not Path(name).exists():
        raise ValueError(f"no data set {name!r}: choose from {', '.join(DATA_SETS)}, or name a folder of images")
    return name


__all__ = [
    "DATA_SETS",
    "PARTS",
    "DataLoader",
    "Dataset",
    "Normalise",
    "Splits",
    "classes_of",
    "compose",
    "digits",
    "flips",
    "image_folder",
    "listing",
    "load",
    "read_image",
    "resize",
    "shifts",
]
