"""Random changes that leave the label true. Each is a function `augment(images, rng) -> images` on a batch
float32 [n, C, H, W] with values 0..1: a DataLoader applies it before it normalises, at the network's input size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def shifts(pixels: int = 3, *, fill: float = 0.0) -> Augment:
    """Move each image by -pixels..pixels whole pixels down and across, each as likely; `fill` (0: black) comes in."""
    if pixels < 0:
        raise ValueError(f"shifts: pixels must be 0 or more, got {pixels}")

    def shift(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n, _, H, W = images.shape
        down, across = rng.integers(0, 2 * pixels + 1, size=(2, n))
        border = ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels))
        padded = np.pad(images, border, constant_values=fill)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (H, W), axis=(2, 3))  # [n, C, 2p+1, 2p+1, H, W]
        return windows[np.arange(n), :, down, across]

    return shift


def flips(probability: float = 0.5) -> Augment:
    """Mirror each image left to right with this probability. For photographs; a mirrored digit is no digit."""
    if not 0 <= probability <= 1:
        raise ValueError(f"flips: probability must lie in 0..1, got {probability}")

    def flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mirrored = rng.random(len(images)) < probability
        return np.where(mirrored[:, None, None, None], images[..., ::-1], images)

    return flip


def compose(*augments: Augment) -> Augment:
    """One after the other."""

    def composed(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for augment in augments:
            images = augment(images, rng)
        return images

    return composed
