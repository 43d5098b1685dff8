"""The hybrid data set: real images, drawn images and random images, as many of each as wanted, in any size, from a seed.

Of its data the paper says 'real images + generated images + random images' (Shaikh, Sharma, Chouhan, Mahawar 2020, arXiv
2007.07221), and no more. All below is our reading. Of N classes

    the first  are real: the ten digits, or the classes of a folder of images, as they are
    then come  drawn ones, each a kind of picture (figures.py): disc, stripes, ring, checks, ..., disc of stripes, ... Place,
               size, angle, colours, period and noise differ from image to image; the kind alone makes the class
    the last   is called random: noise of any grain, sharp or smooth, grey or coloured. It is a class of its own, so that a
               network may learn to say 'nothing', and so that no label is false

Every class has `per_class` images: a fifth validation, a fifth test, the rest training. The real ones keep the parts of the set
they come from. A drawn or random image follows from its key alone (seed; kind, part, number; Philox), whatever the number of
classes and of images, and no key is used twice: the parts are disjoint by construction.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from minidl.data.dataset import Dataset, Splits
from minidl.data.encoding import Encoding
from minidl.data.figures import KINDS
from minidl.data.folder import LARGEST, PARTS, OnRead, check_parts
from minidl.data.pictures import draw, noise
from minidl.data.real import DIGITS, NONE, Real, real_images, real_names
from minidl.data.settings import is_whole, read_settings

RANDOM = "random"  # the name of the last class
RANDOM_KIND = 2**20  # its number in a key
SMALLEST, MOST = 5, 1_000_000  # images of a class
AT_ONCE = 2**16  # pixels drawn together: what the processor's cache holds


def hybrid(
    size: int | tuple[int, int] = 32,
    *,
    channels: int = 3,
    classes: int = 20,
    per_class: int = 140,
    seed: int = 0,
    real: str | Path = "digits",
    parts: Sequence[str] = PARTS,
    on_read: OnRead = lambda done, total: None,
    encode: str | Encoding = "zscore",
) -> Splits:
    """`train, validation, test = hybrid(32)`: real, drawn and random images in three parts, as many of every class.

    size       side, or (H, W); below 16 the drawn kinds are hard to tell apart
    channels   3 for colour; with any other number they are grey, repeated so often
    classes    how many, the real ones and random included
    per_class  images of a class in all parts together, 5 or more: 3/5 training, 1/5 validation, 1/5 test
    seed       of all that is drawn
    real       digits, digits:writers, none, or a folder of images laid out as image_folder takes it
    parts      the parts to make; the others stay empty
    on_read    hears how far the making is
    encode     how a DataLoader encodes them, such as "alpha=0.5" (minidl/data/encoding.py)

    >>> splits = data.hybrid(24, classes=14, per_class=10)
    >>> list(splits)
    [Dataset(84 images [3, 24, 24]), Dataset(28 images [3, 24, 24]), Dataset(28 images [3, 24, 24])]
    >>> splits.classes[8:]
    ['8', '9', 'disc', 'stripes', 'ring', 'random']
    """
    code, mixture = Encoding.named(encode), Mixture(classes, per_class, seed, str(real))
    return mixture.splits(_checked_shape(size, channels), parts, on_read).encoded(code)


@dataclass(frozen=True)
class Mixture:
    """What a hybrid data set is made of. As text: `classes=20,per_class=140,seed=0,real=digits`."""

    classes: int = 20
    per_class: int = 140
    seed: int = 0
    real: str = "digits"

    def __post_init__(self) -> None:
        for name, least, most in (("classes", 2, RANDOM_KIND), ("per_class", SMALLEST, MOST), ("seed", 0, 2**64 - 1)):
            if not is_whole(value := getattr(self, name), least, most):
                raise ValueError(f"hybrid: {name} must be a whole number from {least} to {most}, got {value!r}")
        if self.real not in (*DIGITS, NONE):
            if not self.real or "," in str(Path(self.real).absolute()):
                raise ValueError(
                    f"hybrid: real must be {', '.join(DIGITS)}, none or a folder without a comma, got {self.real!r}"
                )
            object.__setattr__(self, "real", str(Path(self.real).absolute()))

    @classmethod
    def named(cls, text: str) -> Mixture:
        """The mixture of `classes=20,seed=3`; '' for all as it is by default."""
        readers = {"classes": int, "per_class": int, "seed": int, "real": str}
        return cls(**read_settings(text, readers, "hybrid")) if text else cls()

    def __str__(self) -> str:
        """Every setting: `Mixture.named(str(it)) == it`."""
        return ",".join(f"{option.name}={getattr(self, option.name)}" for option in fields(self))

    def count(self, part: str) -> int:
        """Images of a class in a part."""
        fifth = self.per_class // 5
        return self.per_class - 2 * fifth if part == "train" else fifth

    def names(self) -> list[str]:
        """The classes: real ones, drawn ones, random. ValueError where the number asked for does not fit."""
        found = real_names(self.real)
        drawn = self.classes - len(found) - 1
        if not 1 <= drawn <= len(KINDS):
            bound = f"at least {len(found) + 2}" if drawn < 1 else f"at most {len(found) + len(KINDS) + 1}"
            made = f"{len(found)} real ones, " * bool(found) + f"1 to {len(KINDS)} drawn ones and random"
            raise ValueError(f"hybrid: classes must be {bound} with real={self.real} ({made}), got {self.classes}")
        names = found + [str(kind) for kind in KINDS[:drawn]] + [RANDOM]
        if twice := set(found) & set(names[len(found) :]):
            raise ValueError(f"hybrid: {self.real} has a class {min(twice)!r}, and so has hybrid; rename that folder")
        return names

    # ---- the images ------------------------------------------------------------------------------------------------------

    def splits(self, shape: tuple[int, int, int], parts: Sequence[str], on_read: OnRead) -> Splits:
        """The images [C, H, W], made now. Whatever does not fit is said before the first is drawn."""
        names, kept = self.names(), (3 if shape[0] == 3 else 1, *shape[1:])
        check_parts("hybrid", parts)
        counts = {part: self.count(part) if part in parts else 0 for part in PARTS}
        total, real = len(names) * sum(counts.values()), real_images(self.real, kept)
        self._check_room(total, kept)
        self._check_real(real)
        made, done = {}, 0
        for part, n in counts.items():
            pixels = np.empty((len(names), n, *kept), np.uint8)
            for label, rows in ((label, rows) for label in range(len(names)) for rows in _pieces(n, kept)):
                pixels[label, rows] = self._images(label, part, rows, kept, real)
                on_read(done := done + rows.stop - rows.start, total)
            made[part] = Dataset(pixels.reshape(-1, *kept), np.repeat(np.arange(len(names)), n), shape=shape)
        return Splits(made["train"], made["validation"], made["test"], names, real.note, real.files)

    def _images(self, label: int, part: str, rows: slice, kept: tuple[int, int, int], real: Real) -> np.ndarray:
        """uint8 [n, *kept]: some images of a class and a part."""
        if label < len(real.classes):
            return real.read(label, part, rows)
        number = label - len(real.classes)
        is_random = label == self.classes - 1
        keys = self._keys(RANDOM_KIND if is_random else number, part, rows)
        return noise(keys, kept[1:], kept[0]) if is_random else draw(KINDS[number], keys, kept[1:], kept[0])

    def _keys(self, kind: int, part: str, rows: slice) -> np.ndarray:
        """uint64 [n, 2], one per image: seed; kind, part, number. Bit 63: a stream (minidl/random.py) never has these keys."""
        keys = np.empty((rows.stop - rows.start, 2), np.uint64)
        keys[:, 0] = self.seed
        keys[:, 1] = [1 << 63 | kind << 34 | PARTS.index(part) << 32 | i for i in range(rows.start, rows.stop)]
        return keys

    def _check_room(self, total: int, kept: tuple[int, int, int]) -> None:
        if (needed := total * math.prod(kept)) > LARGEST:
            raise ValueError(
                f"hybrid: {total:,} images {list(kept)} would take {needed / 2**30:,.1f} GiB as bytes, the limit is "
                f"{LARGEST / 2**30:.0f} GiB; choose a smaller per_class, fewer classes or a smaller size"
            )

    def _check_real(self, real: Real) -> None:
        """ValueError where there are fewer real images than `per_class` asks for."""
        short = [part for part, least in real.least.items() if least < self.count(part)]
        if not short:
            return
        smaller = (replace(self, per_class=n) for n in range(self.per_class, SMALLEST - 1, -1))
        enough = (m.per_class for m in smaller if all(least >= m.count(part) for part, least in real.least.items()))
        best = next(enough, None)
        remedy = f"choose per_class={best} or less" if best else "give it more images"
        raise ValueError(
            f"hybrid: per_class={self.per_class} takes {self.count(short[0])} {short[0]} images of each class, and some class "
            f"of {self.real} has {real.least[short[0]]}; {remedy}"
        )


def _pieces(n: int, kept: tuple[int, int, int]) -> Iterator[slice]:
    """Rows 0..n, so many at a time as the cache holds."""
    step = max(1, AT_ONCE // math.prod(kept[1:]))
    return (slice(i, min(i + step, n)) for i in range(0, n, step))


def _checked_shape(size: int | tuple[int, int], channels: int) -> tuple[int, int, int]:
    """(C, H, W), or a ValueError."""
    sides = size if isinstance(size, tuple) else (size, size)
    if len(sides) != 2 or not all(is_whole(value, 1, 2**31) for value in (*sides, channels)):
        raise ValueError(f"hybrid: size and channels must be positive integers, got size={size!r}, channels={channels!r}")
    return channels, *sides
