"""Images as arrays: float32 [C, H, W], values from 0 (black) to 1 (white).

Resizing is bilinear with half-pixel centres (PyTorch's align_corners=False). Along one axis it is a matrix A:

    scale = n_in / n_out        centre_i = (i + 1/2) scale - 1/2        (in input pixels)
    A_ij  = max(0, 1 - |j - centre_i| / max(scale, 1)),  each row divided by its sum
    y     = A_H x A_W^T

Enlarging, a row of A holds the weights of two neighbours. Shrinking, the triangle widens with the scale, so that no
pixel is skipped (antialiasing, as in Pillow and in PyTorch's antialias=True).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from minidl.extras import install

ORIENTATION = 0x0112  # EXIF's tag; above 4 the image lies on its side
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # Pillow knows more; some of them run other programs


def resize(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Images [..., H, W] at another size (H, W), bilinearly."""
    H, W = images.shape[-2:]
    if tuple(size) == (H, W):
        return images
    return (_weights(H, size[0]) @ images @ _weights(W, size[1]).T).astype(images.dtype, copy=False)


def _weights(n_in: int, n_out: int) -> np.ndarray:
    """The matrix A of one axis, float32 [n_out, n_in]."""
    scale = n_in / n_out
    centre = (np.arange(n_out)[:, None] + 0.5) * scale - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(n_in) - centre) / max(scale, 1))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def read_image(path: str | Path, *, size: tuple[int, int], channels: int) -> np.ndarray:
    """An image file as a network with input_shape (channels, *size) takes it: float32 [C, H, W], 0 black to 1 white.

    Upright as its EXIF says; grey for one channel, RGB for three, grey repeated for any other number; transparent parts
    are laid on white. Normalising is left to the caller. Beware: digits are white ink on black, so a network that
    learnt them wants a photograph of ink on paper inverted, `1 - read_image(...)`.

    Raises ValueError, one line, for a file that is missing, broken, too large or no image; ImportError without Pillow.
    """
    with opened(path) as image:
        bands = _bands(image, "RGB" if channels == 3 else "L", size)
    return bands if len(bands) == channels else np.repeat(bands, channels, axis=0)


def read_pixels(path: str | Path, *, size: tuple[int, int], channels: int) -> np.ndarray:
    """The same in a quarter of the memory: uint8 [3, H, W] for three channels, [1, H, W] for any other number of them."""
    with opened(path) as image:
        return np.rint(255 * _bands(image, "RGB" if channels == 3 else "L", size)).astype(np.uint8)


def size_of(path: str | Path) -> tuple[int, int]:
    """(H, W) of an image file, upright; its pixels are not decoded."""
    with opened(path) as image:
        W, H = image.size
        return (W, H) if image.getexif().get(ORIENTATION, 1) > 4 else (H, W)


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """The file as an open Pillow image; whatever goes wrong with it inside the block is one line, a ValueError."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"reading images needs Pillow: {install('train')}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # its size is known before it is decoded
            with Image.open(path, formats=FORMATS) as image:
                yield image
    except Exception as error:  # a decoder that is fed broken bytes may raise anything
        raise ValueError(f"image {str(path)!r} cannot be read: {_reason(error)}") from None


def _bands(image: Any, mode: str, size: tuple[int, int]) -> np.ndarray:
    """The channels of an open image, resized one after the other: a large photograph is never held whole as floats."""
    from PIL import Image, ImageOps

    if image.mode in ("I", "F"):
        raise ValueError(f"the range of its pixels is unknown (mode {image.mode!r}); save it as an 8-bit PNG")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return np.repeat(resize(np.asarray(image, np.float32) / 65535, size)[None], len(mode), axis=0)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    bands = (band.convert("F").resize(size[::-1], Image.Resampling.BILINEAR) for band in image.convert(mode).split())
    return np.stack([np.asarray(band) for band in bands]) / np.float32(255)


def _reason(error: Exception) -> str:
    """What is wrong with the file, in a few words."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "it is a folder; name the image files in it"
    if isinstance(error, OSError) and error.strerror:  # its text would name the file again
        return f"{error.strerror[0].lower()}{error.strerror[1:]}"
    if isinstance(error, UnidentifiedImageError):
        return f"it is not a sound {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file"
    if isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
        return f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller first"
    return (str(error) or type(error).__name__).splitlines()[0]
