"""Encodings: how pixels become the numbers that a network reads. First a curve, then blocks, then a ruler.

    g(x) = ((x + e)^alpha - 1) / alpha       the curve; x from 0 (black) to 1 (white)
    z    = mean of g over reduce x reduce    blocks of neighbours, so that the network reads fewer numbers; reduce = 1: g itself
    y    = (z - zero) / unit                 the ruler, per channel, measured on z of the training images alone

    named        alpha    zero, unit
    zscore       1        mean and standard deviation; what is done where no other is asked for
    alpha=0.5    0.5      mean and standard deviation: alpha-encoding
    log          -> 0     mean and standard deviation: log-scaling, g = ln(x + e)
    minmax       1        least value, and the range from least to greatest: y lies in 0..1 on the training images

At alpha = 1 the curve is a straight line, g(x) = x + e - 1, and the ruler takes the constant off: x itself is measured, which
is exactly the z-score. Towards alpha = 0 it bends into the logarithm: g = expm1(alpha ln(x + e)) / alpha -> ln(x + e), and
nothing cancels for a tiny alpha. The smaller alpha, the more of the range goes to the dark: g'(x) = (x + e)^(alpha - 1).

e = 0.01, two and a half of the 255 grey levels, keeps black finite, ln e = -4.6, and stretches no pixel more than g'(0) = 100
times (the logarithm; 10 times for alpha = 0.5). With a much smaller e the noise of black would take up most of the range.

reduce comes after the curve: the mean of g is not g of the mean, else it were mere resizing. Images are made `reduce` times as
large each way as the network reads.

Source: Shaikh, Sharma, Chouhan, Mahawar 2020, arXiv 2007.07221, name alpha-encoding, its rivals log-scaling and z-score, and a
'lesser feature vector size'. The family that joins them (that of Box and Cox 1964), the order of curve, blocks and ruler, and
min-max as another ruler are our reading.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.data.settings import is_number, is_whole, read_settings

PIECE = 32  # images that are floats at the same time while they are measured
FLAT = 1e-6  # a deviation or range below this is rounding: the channel is constant
ALPHA, E = 0.5, 0.01
STRAIGHT = 1.0  # the alpha that bends nothing
MOST_ALPHA, MOST_REDUCE = 10, 64
NEARLY_LOG = 1e-9  # below it the power and the logarithm are one float32
RULERS = ("deviation", "range")
NAMED: dict[str, dict[str, Any]] = {
    "zscore": {"alpha": STRAIGHT, "ruler": "deviation"},
    "minmax": {"alpha": STRAIGHT, "ruler": "range"},
    "log": {"alpha": None},
    "alpha": {"alpha": ALPHA},
}
SETTINGS = {"alpha": float, "e": float, "reduce": int, "ruler": str}


@dataclass(frozen=True)
class Encoding:
    """Which member of the family, not yet fitted: a name with settings, `Encoding.named("alpha=0.5,reduce=2")`.

    alpha   bends the curve: above 0 and at most 10; None is its limit at 0, the logarithm
    e       what is added to black, above 0 and at most 1; of no use where alpha is 1
    reduce  side of the blocks whose mean is taken: 2 leaves a quarter of the numbers
    ruler   "deviation" (zero the mean, unit the standard deviation) or "range" (zero the least, unit the range)

    >>> print(data.Encoding.named("alpha=0.5"), data.Encoding.named("minmax"), data.Encoding(reduce=2))
    alpha=0.5 minmax zscore,reduce=2
    >>> [round(float(data.Encoding(alpha).curve(0.0)), 2) for alpha in (None, 0.01, 0.5, 2.0)]  # what becomes of black
    [-4.61, -4.5, -1.8, -0.5]
    """

    alpha: float | None = STRAIGHT
    e: float = E
    reduce: int = 1
    ruler: str = "deviation"

    def __post_init__(self) -> None:
        if self.alpha is not None and not (is_number(self.alpha) and 0 < self.alpha <= MOST_ALPHA):
            remedy = "its limit at 0 is called log" if self.alpha == 0 else "0.5 is usual, and 1 the z-score"
            raise ValueError(f"encoding: alpha must be above 0 and at most {MOST_ALPHA}, got {self.alpha!r}; {remedy}")
        if not (is_number(self.e) and 0 < self.e <= 1):
            raise ValueError(f"encoding: e must be above 0 and at most 1, got {self.e!r}; {E} is usual")
        if self.alpha == STRAIGHT and self.e != E:
            raise ValueError(
                f"encoding: e={self.e!r} changes nothing where alpha is 1; leave it out, or choose log or alpha=0.5"
            )
        if not is_whole(self.reduce, 1, MOST_REDUCE):
            raise ValueError(f"encoding: reduce must be a whole number from 1 to {MOST_REDUCE}, got {self.reduce!r}")
        if self.ruler not in RULERS:
            raise ValueError(f"encoding: ruler must be deviation or range, got {self.ruler!r}")

    @classmethod
    def named(cls, text: str | Encoding) -> Encoding:
        """zscore, minmax, log or alpha=0.5, and after a comma the settings reduce=, e=, ruler=."""
        if isinstance(text, Encoding):
            return text
        if not isinstance(text, str):
            raise TypeError(f"encoding: expected a name such as 'alpha=0.5', got {type(text).__name__}")
        name, comma, rest = text.partition(",")
        if name not in NAMED:
            if name.partition("=")[0] not in SETTINGS:
                raise ValueError(f"encoding: expected zscore, minmax, log or alpha=0.5, then perhaps ,reduce=2; got {text!r}")
            return cls(**read_settings(text, SETTINGS, "encoding"))
        settings = read_settings(rest, SETTINGS, "encoding") if comma else {}
        if twice := settings.keys() & NAMED[name].keys():
            raise ValueError(f"encoding: {name} has its own {min(twice)}; leave {min(twice)}= out, or the name")
        return cls(**NAMED[name], **settings)

    def __str__(self) -> str:
        """The shortest name: `Encoding.named(str(it)) == it`."""
        plain = self.alpha == STRAIGHT
        words = ["log" if self.alpha is None else f"alpha={self.alpha!r}"]
        if plain:
            words = ["zscore" if self.ruler == "deviation" else "minmax"]
        words += [f"reduce={self.reduce}"] * (self.reduce > 1) + [f"e={self.e!r}"] * (self.e != E)
        return ",".join(words + ["ruler=range"] * (self.ruler == "range" and not plain))

    def size_read(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of the images that are reduced to `size`."""
        return size[0] * self.reduce, size[1] * self.reduce

    def curve(self, x: Any) -> Any:
        """g(x), or x where alpha is 1; ValueError for values below 0, which have no power, and for NaN."""
        if self.alpha == STRAIGHT:
            return x
        least = np.min(x)
        if not least >= 0:
            where = f" in channel {np.argmin(np.min(x, axis=(0, 2, 3)))}" if np.ndim(x) == 4 else ""  # argmin finds NaN first
            remedy = "clip after augmenting" if least < 0 else "leave that image out"
            raise ValueError(f"encoding {self}: expected values from 0 (black) to 1 (white), got {least:g}{where}; {remedy}")
        z = np.asarray(x + self.e)  # changed in place from here on: fresh memory for every step would cost more than the step
        np.log(z, out=z)
        if self.alpha is not None and self.alpha >= NEARLY_LOG:
            z *= self.alpha
            np.expm1(z, out=z)
            z /= self.alpha
        return z

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """z of images [..., C, H, W]: [..., C, H / reduce, W / reduce]."""
        r, (H, W) = self.reduce, images.shape[-2:]
        if H % r or W % r:
            raise ValueError(f"encoding {self}: reduce={r} does not divide images of {H}x{W}; resize them")
        z = self.curve(images)
        if r == 1:
            return z
        total = z[..., ::r, ::r].copy()
        for i in range(1, r * r):
            total += z[..., i // r :: r, i % r :: r]
        total /= r * r
        return total


@dataclass(frozen=True)
class Normalise:
    """y = (z - mean) / std, per channel, of encoded images z. By default z = x: training images get mean 0 and variance 1.

    mean, std  the ruler's zero and unit: mean and deviation of the training images, encoded; or their least value and range
    encoding   the curve and the blocks that come first

    >>> images = data.digits().train.images
    >>> encoded = data.Normalise.fit(images, "minmax,reduce=2")(images)
    >>> encoded.shape, float(encoded.min()), float(encoded.max())
    ((1085, 1, 4, 4), 0.0, 1.0)
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    encoding: Encoding = Encoding()

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(map(float, self.mean)))  # lists, where they come from JSON
        object.__setattr__(self, "std", tuple(map(float, self.std)))
        if isinstance(self.encoding, Mapping):
            object.__setattr__(self, "encoding", Encoding(**self.encoding))
        if not len(self.mean) == len(self.std) > 0 or not all(map(math.isfinite, self.mean + self.std)) or min(self.std) <= 0:
            raise ValueError(f"Normalise: expected a mean and a positive std per channel, got mean={self.mean}, std={self.std}")

    @classmethod
    def fit(cls, images: Any, encoding: str | Encoding = "zscore") -> Normalise:
        """Measured on images [n, C, H, W], an array or a Dataset.

        A constant channel has no unit of its own. The z-score lets it keep its scale, so that a set with an empty channel can
        still be read; the encodings that are asked for by name refuse it, for they would encode nothing.
        """
        code = Encoding.named(encoding)
        zero, unit = _range(images, code) if code.ruler == "range" else _deviation(images, code)
        if not np.isfinite(zero + unit).all():
            channel = int(np.argmin(np.isfinite(zero + unit)))
            raise ValueError(f"encoding {code}: channel {channel} of the images holds NaN or infinity; leave those images out")
        flat = ~(unit > FLAT)
        if flat.any() and (code.alpha, code.ruler) != (STRAIGHT, "deviation"):
            channel = int(np.argmax(flat))
            raise ValueError(
                f"encoding {code}: channel {channel} is constant in all {len(images)} training images, so there is nothing to "
                "encode; leave the channel out, or use zscore, which keeps its scale"
            )
        return cls(tuple(zero), tuple(np.where(flat, 1, unit)), code)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Images [..., C, H, W], encoded and normalised: float32 [..., C, H / reduce, W / reduce]."""
        if images.shape[-3] != len(self.mean):
            raise ValueError(f"Normalise: fitted on {len(self.mean)} channel(s), got images {list(images.shape)}")
        column = np.array([self.mean, self.std], np.float32)[..., None, None]  # [2, C, 1, 1]
        normal = self.encoding(images) - column[0]
        normal /= column[1]
        return normal


def is_named(value: Any) -> bool:
    """Is it the name of an encoding?"""
    try:
        return bool(Encoding.named(value))
    except (TypeError, ValueError):
        return False


def brightness(images: Any) -> float:
    """The mean of images [n, C, H, W], an array or a Dataset, as they are before any encoding."""
    return float(_means(images, Encoding(), 0.0, 1).mean())


def _deviation(images: Any, code: Encoding) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the standard deviation of z, float64 [C] each."""
    mean = _means(images, code, 0.0, 1)
    return mean, np.sqrt(_means(images, code, mean[:, None, None], 2))


def _range(images: Any, code: Encoding) -> tuple[np.ndarray, np.ndarray]:
    """The least z and the range, float64 [C] each."""
    least = np.min([z.min(axis=(0, 2, 3)) for z in _encoded(images, code)], axis=0)
    most = np.max([z.max(axis=(0, 2, 3)) for z in _encoded(images, code)], axis=0)
    return least.astype(np.float64), most.astype(np.float64) - least


def _means(images: Any, code: Encoding, middle: Any, power: int) -> np.ndarray:
    """The mean of (z - middle)^power of each channel, float64 [C]: image by image, so the pieces leave no trace in it."""
    sums = [((z - np.float64(middle)) ** power).mean(axis=(2, 3)) for z in _encoded(images, code)]  # [<= PIECE, C] each
    return np.concatenate(sums).mean(axis=0)


def _encoded(images: Any, code: Encoding) -> Iterator[np.ndarray]:
    """z of a few images at a time; a Dataset's are made of its pixels."""
    if not len(images):
        raise ValueError(f"encoding {code}: no images to measure; give at least one")
    for i in range(0, len(images), PIECE):
        piece = images[i : i + PIECE]
        yield code(getattr(piece, "images", piece))
