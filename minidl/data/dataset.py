"""Labelled images in memory, and the three parts every experiment keeps apart.

training     what the parameters are fitted to (and the mean and deviation that normalise the images)
validation   what anything else is chosen on: epochs, learning rate, kind of network
test         read once, at the end
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Normalise:
    """y = (x - mean) / std, per channel: training images come out with zero mean and unit variance."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(map(float, self.mean)))  # lists, where they come from JSON
        object.__setattr__(self, "std", tuple(map(float, self.std)))
        if not len(self.mean) == len(self.std) > 0 or not all(map(math.isfinite, self.mean + self.std)) or min(self.std) <= 0:
            raise ValueError(f"Normalise: expected a mean and a positive std per channel, got mean={self.mean}, std={self.std}")

    @classmethod
    def fit(cls, images: np.ndarray) -> Normalise:
        """The mean and standard deviation of each channel of images [n, C, H, W]; a constant channel keeps its scale."""
        std = images.std(axis=(0, 2, 3), dtype=np.float64)
        return cls(tuple(images.mean(axis=(0, 2, 3), dtype=np.float64)), tuple(np.where(std > 0, std, 1)))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Images [..., C, H, W], normalised."""
        if images.shape[-3] != len(self.mean):
            raise ValueError(f"Normalise: fitted on {len(self.mean)} channel(s), got images {list(images.shape)}")
        column = np.array([self.mean, self.std], np.float32)[..., None, None]  # [2, C, 1, 1]
        return (images - column[0]) / column[1]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and their labels. `len(data)`; `data[3]` is (image, label); `data[:100]` is a smaller Dataset.

    images     float32 [n, C, H, W], 0 black to 1 white
    labels     int64 [n], numbered from 0
    normalise  what a DataLoader does to the images last, fitted on the training images alone; or None
    """

    images: np.ndarray
    labels: np.ndarray
    normalise: Normalise | None = None

    def __post_init__(self) -> None:
        images, labels = np.asarray(self.images), np.asarray(self.labels)
        if images.ndim != 4 or images.dtype.kind != "f":
            raise ValueError(f"Dataset: images must be floating point [n, C, H, W], got {images.dtype} {list(images.shape)}")
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
            raise ValueError(
                f"Dataset: labels must be integers [n], one per image, got {labels.dtype} {list(labels.shape)} "
                f"for {len(images)} images"
            )
        if labels.size and labels.min() < 0:
            raise ValueError(f"Dataset: labels are numbered from 0, got {labels.min()}")
        if not np.isfinite(images).all():
            where = int(np.argmax(~np.isfinite(images).all(axis=(1, 2, 3))))
            raise ValueError(f"Dataset: image {where} holds NaN or infinity")
        object.__setattr__(self, "images", images.astype(np.float32, copy=False))
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer):
            return self.images[index], int(self.labels[index])
        return Dataset(self.images[index], self.labels[index], self.normalise)

    def __repr__(self) -> str:
        n, C, H, W = self.images.shape
        return f"Dataset({n:,} images [{C}, {H}, {W}])"


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set in its three parts. `train, validation, test = splits`."""

    train: Dataset
    validation: Dataset
    test: Dataset
    classes: list[str]

    def __iter__(self) -> Iterator[Dataset]:
        return iter((self.train, self.validation, self.test))

    @property
    def normalise(self) -> Normalise:
        """Fitted on the training images; predictions for new images must use the same."""
        return self.train.normalise or Normalise((0.0,) * self.channels, (1.0,) * self.channels)

    @property
    def channels(self) -> int:
        """C of the images [C, H, W]."""
        return self.train.images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the images."""
        H, W = self.train.images.shape[2:]
        return H, W
