"""A batch in parts, for GPU kernels that make arrays larger than the image: never more of them at once than PART allows.

Parts follow one another in the order of the batch, and what they give is added up in it: the bits are the same always.
"""

from __future__ import annotations

from minidl.cuda import MOST

PART = 1 << 26  # numbers of an array that is made for a part of the batch: 256 MB of float32. A single image may have more


def parts_of(N: int, each: int) -> list[slice]:
    """N images, of which each has so many numbers, in parts of about as many images: within PART, or of one image."""
    count = -(-N // max(1, PART // each))
    return [slice(N * i // count, N * (i + 1) // count) for i in range(count)]


def too_large(each: int) -> str | None:
    """Why even one image cannot be done, or None."""
    return f"a launch counts to {MOST:,}, but what is made of one image has {each:,} numbers" if each > MOST else None
