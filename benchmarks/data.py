"""How long the hybrid data set takes to make, and the encodings to compute: milliseconds per image.

python -m benchmarks.data
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from minidl import data

SIZES, ROUNDS = (32, 224), 5
ENCODINGS = ("zscore", "minmax", "log", "alpha=0.5", "alpha=0.5,reduce=2")


def seconds(work: Callable[[], object]) -> float:
    """The median of a few rounds, after one that does not count."""
    taken = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def main() -> None:
    """A line per size and kind of work."""
    for size in SIZES:
        per_class = 5 if size > 100 else 50
        for name, kinds in (("shapes and textures", 23), ("filled shapes too", 60)):
            sets = {"classes": kinds, "per_class": per_class, "real": "none"}
            work = seconds(lambda sets=sets, size=size: data.hybrid(size, **sets, parts=("train",), encode="minmax"))
            images = len(data.hybrid(size, **sets, parts=("train",)).train)
            print(f"hybrid, {name:<20} {size}x{size}x3  {1e3 * work / images:8.3f} ms an image")
        batch = np.random.default_rng(0).random((32, 3, size, size), np.float32)
        for name in ENCODINGS:
            fitted = data.Normalise.fit(batch, name)
            print(f"encode, {name:<20} {size}x{size}x3  {1e3 * seconds(lambda f=fitted, b=batch: f(b)) / 32:8.3f} ms an image")


if __name__ == "__main__":
    main()
