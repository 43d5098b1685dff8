"""The nets of `benchmarks.models`: how large, on what images, and how they are trained. The same for every rival."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LR, MOMENTUM, WEIGHT_DECAY = 1e-3, 0.9, 5e-4  # AlexNet's; the rate is small, so that no loss goes astray on random labels


class Net(NamedTuple):
    """A net of models/ and the job it is measured on."""

    title: str
    ours: str  # module:Class
    images: tuple[int, int, int]  # channels, height, width
    classes: int
    batch: int
    goal: tuple[float, float | None]  # PyTorch's time / ours: as it comes, and tuned
    rounding: float = 0.25  # the part of a first gradient's norm by which rivals may differ: through 50 layers float32 differs
    # from itself, in another layout, by 0.09. That a rival is the same net at all is tested in float64, to 1e-6


NETS = {
    "alexnet": Net("AlexNet 2012", "models.alexnet:AlexNet", (3, 227, 227), 1000, 32, (2.2, 1.7)),
    "vgg16": Net("VGG-16", "models.vgg:VGG16", (3, 224, 224), 1000, 8, (1.5, 1.3)),
    "googlenet": Net("GoogLeNet", "models.inception:GoogLeNet", (3, 224, 224), 1000, 16, (1.2, 1.0)),
    "resnet50": Net("ResNet-50", "models.resnet:ResNet50", (3, 224, 224), 1000, 8, (0.9, None)),
    "resnet20": Net("ResNet-20", "models.resnet:ResNet20", (3, 32, 32), 10, 128, (0.9, None)),
    "alphanet": Net("Alpha-Net v1", "models.alphanet:AlphaNet32", (3, 32, 32), 10, 32, (0.9, None), rounding=0.5),  # 0.29 seen
    "lenet": Net("LeNet-5", "models.lenet:LeNet5", (1, 32, 32), 10, 128, (0.7, None)),
}


def batch_of(net: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [count, C, H, W] and labels [count], always the same."""
    rng, about = np.random.default_rng(0), NETS[net]
    images = rng.standard_normal((count, *about.images), dtype=np.float32)
    return images, rng.integers(about.classes, size=count)


def batches_up_to(batch: int) -> list[int]:
    """Sizes for a crossover chart: one image, an eighth of the batch, a quarter, a half, all."""
    return sorted({1, *(max(1, batch // part) for part in (8, 4, 2, 1))})
