"""Batches, in a new order every epoch.

An epoch draws one key from `minidl.random.stream()`, and the order and every augmentation follow from it: the same seed
gives the same batches, bit for bit. A loader that neither shuffles nor augments draws nothing, so evaluating between
two epochs does not change the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minidl.backend import Array, check_device, to_device
from minidl.data.augment import Augment
from minidl.data.dataset import Dataset
from minidl.random import stream
from minidl.tensor import Tensor


class DataLoader:
    """`for images, labels in DataLoader(train, batch_size=64, shuffle=True):` one epoch.

    images  Tensor float32 [n, C, H, W] on `device`: augmented, then normalised as the data set says
    labels  int64 array [n] on the same device

    `len(loader)` counts batches. The last may be smaller, unless `drop_last` leaves it out. With `join_last`, a last batch of
    one image joins the one before: batch norm cannot train on one image, where that gives one value a channel.

    >>> ten = data.digits().train[:10]
    >>> [len(labels) for images, labels in data.DataLoader(ten, batch_size=4)]
    [4, 4, 2]
    >>> [len(labels) for images, labels in data.DataLoader(ten, batch_size=3, join_last=True)]
    [3, 3, 4]
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        augment: Augment | None = None,
        drop_last: bool = False,
        join_last: bool = False,
        device: str = "cpu",
    ):
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be a positive integer, got {batch_size!r}")
        if not isinstance(dataset, Dataset):
            raise TypeError(f"DataLoader: expected a minidl.data.Dataset, got {type(dataset).__name__}")
        self.dataset, self.batch_size, self.shuffle = dataset, int(batch_size), shuffle
        self.augment, self.device = augment, check_device(device)
        self.drop_last, self.join_last = drop_last, join_last
        if len(self) == 0:
            raise ValueError(f"DataLoader: {len(dataset)} images make no batch of {batch_size} (drop_last={drop_last})")

    def __len__(self) -> int:
        n, size = len(self.dataset), self.batch_size
        joins = self.join_last and n % size == 1 and n > size
        return n // size if self.drop_last or joins else -(-n // size)

    @property
    def sizes(self) -> list[int]:
        """Images in each batch of an epoch."""
        before = (len(self) - 1) * self.batch_size
        last = self.batch_size if self.drop_last else len(self.dataset) - before
        return [self.batch_size] * (len(self) - 1) + [last]

    def __iter__(self) -> Iterator[tuple[Tensor, Array]]:
        rng: Any = stream().generator() if self.shuffle or self.augment else None
        n = len(self.dataset)
        order = rng.permutation(n) if self.shuffle else np.arange(n)
        for rows in np.split(order, np.cumsum(self.sizes))[:-1]:  # after the last batch comes what drop_last leaves out
            images, labels = self.dataset.take(rows), self.dataset.labels[rows]
            if self.augment:
                images = self.augment(images, rng)
            if self.dataset.normalise:
                images = self.dataset.normalise(images)
            yield Tensor(images, device=self.device), to_device(labels, self.device)
