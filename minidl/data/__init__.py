"""Data sets, resized and normalised to a network, and the loader that makes batches of them.

>>> train, validation, test = data.digits(size=16)
>>> for images, labels in data.DataLoader(train, batch_size=500, shuffle=True, augment=data.shifts(3)):
...     print(images.shape, labels.shape)
(500, 1, 16, 16) (500,)
(500, 1, 16, 16) (500,)
(85, 1, 16, 16) (85,)

Images are float32 [n, C, H, W] with values 0..1 until a DataLoader has augmented and, last, normalised them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from minidl.data.augment import compose, flips, shifts
from minidl.data.dataset import Dataset, Normalise, Splits
from minidl.data.images import read_image, resize
from minidl.data.loader import DataLoader
from minidl.data.optdigits import digits

DATA_SETS: dict[str, Callable[..., Splits]] = {"digits": digits, "digits:writers": partial(digits, writers=True)}


def load(name: str, *, size: tuple[int, int], channels: int) -> Splits:
    """The data set of that name for a network with input_shape (channels, *size)."""
    if name not in DATA_SETS:
        raise ValueError(f"no data set {name!r}: choose from {', '.join(DATA_SETS)}")
    return DATA_SETS[name](size, channels=channels)


__all__ = [
    "DATA_SETS",
    "DataLoader",
    "Dataset",
    "Normalise",
    "Splits",
    "compose",
    "digits",
    "flips",
    "load",
    "read_image",
    "resize",
    "shifts",
]
