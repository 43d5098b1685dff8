"""Labelled images in memory, and the three parts every experiment keeps apart.

training     what the parameters are fitted to (and the encoding of the images)
validation   what anything else is chosen on: epochs, learning rate, kind of network
test         read once, at the end
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minidl.data.encoding import Encoding, Normalise
from minidl.data.images import resize


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and their labels. `len(data)`; `data[3]` is (image, label); `data[:100]` is a smaller Dataset.

    pixels     [n, c, h, w] as they lie in memory: float32, 0 black to 1 white; or uint8, 0 to 255, a quarter of the bytes
    labels     int64 [n], numbered from 0
    normalise  how a DataLoader encodes the images last, fitted on the training images alone; or None
    shape      (C, H, W) of the images that `take` makes of the pixels, resized and grey repeated; as they lie, if not given

    >>> digits = data.digits(size=227, channels=3).test  # a megabyte as floats, each
    >>> digits.pixels.shape, digits.take([0, 7]).shape
    ((355, 1, 8, 8), (2, 3, 227, 227))
    """

    pixels: np.ndarray
    labels: np.ndarray
    normalise: Normalise | None = None
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        pixels, labels = _checked_pixels(np.asarray(self.pixels)), np.asarray(self.labels)
        if labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1]:
            raise ValueError(
                f"Dataset: labels must be integers [n], one per image, got {labels.dtype} {list(labels.shape)} "
                f"for {len(pixels)} images"
            )
        if labels.size and labels.min() < 0:
            raise ValueError(f"Dataset: labels are numbered from 0, got {labels.min()}")
        shape = tuple(self.shape) or pixels.shape[1:]
        if len(shape) != 3 or min(shape) < 1 or pixels.shape[1] not in (1, shape[0]):
            raise ValueError(f"Dataset: pixels {list(pixels.shape)} make no images [C, H, W] = {list(shape)}")
        object.__setattr__(self, "pixels", pixels)
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))
        object.__setattr__(self, "shape", shape)

    @property
    def images(self) -> np.ndarray:
        """All of them at once, float32 [n, C, H, W]: for a few, or small ones; a DataLoader never asks."""
        return np.ascontiguousarray(self.take(slice(None)))

    def take(self, rows: Any) -> np.ndarray:
        """The images of these rows, float32 [len(rows), C, H, W], 0 black to 1 white; not to be written to."""
        C, H, W = self.shape
        images = self.pixels[rows]
        if images.dtype == np.uint8:
            images = images.astype(np.float32) / 255
        images = resize(images, (H, W))
        return images if images.shape[1] == C else np.broadcast_to(images, (len(images), C, H, W))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer):
            return self.take([index])[0], int(self.labels[index])
        return replace(self, pixels=self.pixels[index], labels=self.labels[index])

    def __repr__(self) -> str:
        return f"Dataset({len(self):,} images {list(self.shape)})"


def _checked_pixels(pixels: np.ndarray) -> np.ndarray:
    """float32 or uint8 [n, c, h, w]."""
    if pixels.ndim != 4 or not (pixels.dtype.kind == "f" or pixels.dtype == np.uint8):
        raise ValueError(
            "Dataset: images must be [n, C, H, W], floating point 0..1 or uint8 0..255, "
            f"got {pixels.dtype} {list(pixels.shape)}"
        )
    if pixels.dtype == np.uint8:
        return pixels
    if not np.isfinite(pixels).all():
        where = int(np.argmax(~np.isfinite(pixels).all(axis=(1, 2, 3))))
        raise ValueError(f"Dataset: image {where} holds NaN or infinity")
    return pixels.astype(np.float32, copy=False)


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set in its three parts. `train, validation, test = splits`.

    note   what a reader should know of how it was parted
    files  a digest of the names of the training files: where it differs, the parts do; '' for a set without files
    """

    train: Dataset
    validation: Dataset
    test: Dataset
    classes: list[str]
    note: str = ""
    files: str = ""

    def __iter__(self) -> Iterator[Dataset]:
        return iter((self.train, self.validation, self.test))

    @property
    def normalise(self) -> Normalise:
        """Fitted on the training images; predictions for new images must use the same."""
        return self.train.normalise or Normalise((0.0,) * self.channels, (1.0,) * self.channels)

    def encoded(self, encoding: str | Encoding) -> Splits:
        """The same images, encoded so for the network: fitted on the training images, used on all.

        >>> data.digits(size=32).encoded("alpha=0.5,reduce=2").normalise.encoding.alpha
        0.5
        """
        fitted = Normalise.fit(self.train, encoding) if len(self.train) else None
        parts = {part: replace(getattr(self, part), normalise=fitted) for part in ("train", "validation", "test")}
        return replace(self, **parts)

    @property
    def channels(self) -> int:
        """C of the images [C, H, W]."""
        return self.train.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the images; a network reads fewer where the encoding reduces them."""
        _, H, W = self.train.shape
        return H, W

    def limited(self, limit: int | None) -> Splits:
        """With `limit` training images only, as many of each class as may be; the other parts stay whole. What is encoded is
        encoded the same way, fitted on those alone."""
        if limit is None:
            return self
        fewer = replace(self, train=self.train[balanced(self.train.labels, limit)])
        return fewer if self.train.normalise is None else fewer.encoded(self.train.normalise.encoding)


def balanced(labels: np.ndarray, limit: int) -> np.ndarray:
    """`limit` rows in a fixed order that mixes the images and takes the classes in turn."""
    if not 1 <= limit <= len(labels):
        raise ValueError(f"limit must lie between 1 and the {len(labels)} training images, got {limit}")
    order = np.random.default_rng(0).permutation(len(labels))
    mixed, turn = labels[order], np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        mine = np.flatnonzero(mixed == label)
        turn[mine] = np.arange(len(mine))
    return order[np.argsort(turn, kind="stable")[:limit]]
