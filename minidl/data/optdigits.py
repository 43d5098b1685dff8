"""Handwritten digits, 1,797 of them, shipped with the package.

    E. Alpaydin, C. Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
    doi 10.24432/C50P49, CC BY 4.0 (DIGITS-NOTICE.txt). White ink on black: 8x8 counts of inked pixels, 0..16, of 4x4
    blocks of a 32x32 scan. Thirteen people wrote them; every row of the file is one digit and, last, its label.

Two ways to part them, both per class and in file order:

    digits          of each five images, the 4th is validation and the 5th test: all writers are in all parts
    digits:writers  the file's last 360 rows are test: other writers, and much harder. Of the rest, each 5th image is
                    validation: it shares its writers with training, so it does not foresee the fall. That is the lesson.
"""

from __future__ import annotations

import gzip
import hashlib
from importlib.resources import files

import numpy as np

from minidl.data.dataset import Dataset, Splits
from minidl.data.encoding import Encoding

FILE = "digits.csv.gz"
SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
CLASSES = tuple("0123456789")
OTHER_WRITERS = 360
LARGEST = 2**28  # bytes of one image


def digits(
    size: int | tuple[int, int] | None = None,
    *,
    channels: int = 1,
    writers: bool = False,
    encode: str | Encoding = "zscore",
) -> Splits:
    """`train, validation, test = digits(size=32)`: the digits in three parts, normalised on the first.

    size      side, or (H, W), that the images are resized to, bilinearly; None leaves them at 8x8
    channels  the grey image is repeated so often
    writers   test on writers that training has not seen
    encode    how a DataLoader encodes them, such as "alpha=0.5" (minidl/data/encoding.py)

    In memory they stay grey and 8x8, whatever the size: a DataLoader enlarges those of its batch.

    >>> list(data.digits())
    [Dataset(1,085 images [1, 8, 8]), Dataset(357 images [1, 8, 8]), Dataset(355 images [1, 8, 8])]
    """
    shape = (channels, *_checked_size(size, channels))
    pixels, labels = _read()
    part = _parts(labels, writers)
    train, validation, test = (Dataset(pixels[part == i], labels[part == i], shape=shape) for i in range(3))
    return Splits(train, validation, test, list(CLASSES)).encoded(encode)


def _read() -> tuple[np.ndarray, np.ndarray]:
    """(float32 [1797, 1, 8, 8] in 0..1, int64 [1797])."""
    packed = files("minidl.data").joinpath(FILE).read_bytes()
    if (found := hashlib.sha256(packed).hexdigest()) != SHA256:
        raise ValueError(f"digits: {FILE} is damaged (SHA-256 {found[:12]}..., not {SHA256[:12]}...); reinstall minidl")
    table = np.loadtxt(gzip.decompress(packed).decode().splitlines(), np.uint8, delimiter=",")
    return table[:, :-1].reshape(-1, 1, 8, 8).astype(np.float32) / 16, table[:, -1].astype(np.int64)


def _parts(labels: np.ndarray, writers: bool) -> np.ndarray:
    """0 training, 1 validation, 2 test, for each row of the file."""
    part = np.zeros(len(labels), np.uint8)
    seen = labels[:-OTHER_WRITERS] if writers else labels
    for digit in range(10):
        rows = np.flatnonzero(seen == digit)
        if writers:
            part[rows[4::5]] = 1
        else:
            part[rows[3::5]], part[rows[4::5]] = 1, 2
    if writers:
        part[-OTHER_WRITERS:] = 2
    return part


def _checked_size(size: int | tuple[int, int] | None, channels: int) -> tuple[int, int]:
    """(H, W), or a ValueError before any memory is taken."""
    H, W = (8, 8) if size is None else (size, size) if isinstance(size, int) else size
    if not all(isinstance(value, int) and value > 0 for value in (H, W, channels)):
        raise ValueError(f"digits: size and channels must be positive integers, got size={size!r}, channels={channels!r}")
    if (needed := 4 * channels * H * W) > LARGEST:
        raise ValueError(
            f"digits: one image [{channels}, {H}, {W}] would take {needed / 2**20:,.0f} MiB; "
            f"the limit is {LARGEST / 2**20:.0f} MiB, so choose a smaller size"
        )
    return H, W
