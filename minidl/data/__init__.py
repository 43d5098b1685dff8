"""Data sets, resized and encoded for a network, and the loader that makes batches of them.

>>> train, validation, test = data.digits(size=16)
>>> for images, labels in data.DataLoader(train, batch_size=500, shuffle=True, augment=data.shifts(3)):
...     print(images.shape, labels.shape)
(500, 1, 16, 16) (500,)
(500, 1, 16, 16) (500,)
(85, 1, 16, 16) (85,)

`data.image_folder("photos", size=64)` does the same for images of your own, one folder a class; `data.hybrid(size=32)` mixes
real images with drawn and random ones.

In memory images lie as they came, as floats or bytes; a DataLoader makes float32 [n, C, H, W] of those of a batch, values 0..1,
augments them and, last, encodes them: the z-score, or what `encode="alpha=0.5"` names.
"""

from __future__ import annotations

from collections.abc import Sequence

from minidl.data.augment import compose, flips, shifts
from minidl.data.dataset import Dataset, Splits
from minidl.data.encoding import Encoding, Normalise, brightness
from minidl.data.folder import PARTS, OnRead, check_parts, image_folder, listing
from minidl.data.hybrid import hybrid
from minidl.data.images import read_image, resize
from minidl.data.loader import DataLoader
from minidl.data.names import DATA_SETS, classes_of, full_name, is_built_in, known_folder, mixture_of, source_of
from minidl.data.optdigits import digits


def load(
    name: str,
    *,
    size: tuple[int, int],
    channels: int,
    limit: int | None = None,
    parts: Sequence[str] = PARTS,
    on_read: OnRead = lambda done, total: None,
    encode: str | Encoding = "zscore",
) -> Splits:
    """The data set of that name, or in that folder, for a network with input_shape (channels, *size).

    name     digits, digits:writers, hybrid, hybrid:classes=20,per_class=140,seed=0,real=digits, or a folder of images
    limit    use so many training images alone, as many of each class as may be
    parts    read these alone of train, validation, test, where that saves time
    on_read  hears (images read, of so many)
    encode   such as "alpha=0.5" (encoding.py); with reduce=2 images are made of twice `size` each way for it to read `size`
    """
    check_parts("load", parts)
    code = Encoding.named(encode)
    size = code.size_read(size)
    if mixture := mixture_of(name):
        return mixture.splits((channels, *size), parts, on_read).limited(limit).encoded(code)
    if name in DATA_SETS:
        return DATA_SETS[name](size, channels=channels, encode=code).limited(limit)
    return image_folder(known_folder(name), size, channels=channels, limit=limit, parts=parts, on_read=on_read, encode=code)


__all__ = [
    "DATA_SETS",
    "PARTS",
    "DataLoader",
    "Dataset",
    "Encoding",
    "Normalise",
    "Splits",
    "brightness",
    "classes_of",
    "compose",
    "digits",
    "flips",
    "full_name",
    "hybrid",
    "image_folder",
    "is_built_in",
    "listing",
    "load",
    "read_image",
    "resize",
    "shifts",
    "source_of",
]
