"""Pictures drawn from keys: uint8 [n, c, H, W], image i from keys[i] alone, whatever it is drawn together with.

A drawn one is a kind (figures.py) at a place, size, angle and period of its own, in colours apart in brightness:

    figure, ground = the colours 0 and 1 of k mixed by the texture's mask, or one colour
    image          = ground + (figure - ground) * (the shape's mask) + noise of up to +- 0.1

The k colours take the k rungs of a ladder of brightness in random order, near their middles: any two differ, in grey too.
"""

from __future__ import annotations

import numpy as np

from minidl.data.figures import SHAPES, TEXTURES, Kind, covered
from minidl.random import random_uniforms

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # how bright red, green, blue are: grey is their weighted sum
TINT, GRAIN = np.float32(0.7), np.float32(0.2)  # how far a colour may lie from its grey; the noise from end to end
PLACE, FILL, GROUND, NOISE, COLOURS = slice(0, 4), slice(4, 8), slice(8, 12), 12, slice(13, 33)
DRAWN = 33  # random numbers of an image, beside those of its pixels
OF_PIXELS = np.array([0, 1 << 62], np.uint64)  # what is flipped in a key for the numbers of the pixels
HALF = np.float32(0.5)


def draw(kind: Kind, keys: np.ndarray, size: tuple[int, int], channels: int) -> np.ndarray:
    """Images of one kind, one per key uint64 [n, 2]: uint8 [n, channels, H, W] with 1 or 3 channels."""
    p = random_uniforms(keys, DRAWN)[:, :, None, None]  # [n, DRAWN, 1, 1]
    many = 2 + bool(kind.shape and kind.fill) + bool(kind.ground)
    colours = iter(_colours(p[:, COLOURS, 0, 0], many, channels))

    def painted(texture: str, own: np.ndarray) -> np.ndarray:
        one = next(colours)
        return _mixed(one, next(colours), _texture(texture, own, size)) if texture else one

    if kind.shape:
        ground, figure = painted(kind.ground, p[:, GROUND]), painted(kind.fill, p[:, FILL])
        image = _mixed(ground, figure, _shape(kind.shape, p[:, PLACE], size))
    else:
        image = painted(kind.fill, p[:, FILL])
    grain = random_uniforms(keys ^ OF_PIXELS, size[0] * size[1]) - HALF
    return _as_bytes(image + grain.reshape(-1, 1, *size) * (p[:, NOISE, None] * GRAIN))


def noise(keys: np.ndarray, size: tuple[int, int], channels: int) -> np.ndarray:
    """Random images, one per key: cells of 1, 2, 4, ... pixels in random shades, sharp or smooth, grey or coloured."""
    return np.stack([_noise(key, size, channels) for key in keys])


def _noise(key: np.ndarray, size: tuple[int, int], channels: int) -> np.ndarray:
    (H, W), own = size, key[None]
    grain, smooth, coloured = random_uniforms(own, 3)[0]
    cell = 1 << int(grain * max(1, min(size).bit_length() - 1))
    rows, columns = -(-H // cell) + 1, -(-W // cell) + 1
    c = channels if coloured < HALF else 1
    cells = random_uniforms(own ^ OF_PIXELS, c * rows * columns).reshape(c, rows, columns)
    at = [np.arange(length, dtype=np.float32) / np.float32(cell) for length in size]
    for axis, t in zip((1, 2), at, strict=True):
        here = t.astype(np.int64)
        near, part = np.take(cells, here, axis), (t - here.astype(np.float32)).reshape(-1, *(1,) * (2 - axis))
        cells = near + (np.take(cells, here + 1, axis) - near) * part if smooth < HALF else near
    return np.broadcast_to(_as_bytes(cells), (channels, H, W))


def _shape(name: str, p: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Its mask [n, H, W]: about a half to all of the smaller side wide, and whole inside the image."""
    scale = np.float32(0.26) + np.float32(0.2) * p[:, 2]  # of the smaller side, [n, 1, 1]
    return covered(SHAPES[name](*_coordinates(p, size, scale, inside=True)), _pixel(size, scale))


def _texture(name: str, p: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Its mask [n, H, W]: three to six periods across the smaller side."""
    period = np.float32(0.17) + np.float32(0.17) * p[:, 2]
    return TEXTURES[name](*_coordinates(p, size, period, inside=False), _pixel(size, period))


def _coordinates(p: np.ndarray, size: tuple[int, int], scale: np.ndarray, *, inside: bool) -> tuple[np.ndarray, np.ndarray]:
    """(u, v) of every pixel, [n, H, W] each: turned by any angle, in units of `scale`, from a point in the image's middle half,
    or wherever the unit circle around it lies inside."""
    least, sides = min(size), []
    for length, u in zip(size, (p[:, 0], p[:, 1]), strict=True):
        side = np.float32(length / least)
        room = side - 2 * scale if inside else side / 2
        centres = (np.arange(length, dtype=np.float32) + HALF - np.float32(length / 2)) / np.float32(least)
        sides.append(centres - ((u - HALF) * room)[:, 0])  # [n, length]
    y, x = sides[0][:, :, None], sides[1][:, None, :]
    turn = 2 * np.pi * p[:, 3].astype(np.float64)
    cos, sin = (f(turn).astype(np.float32) / scale for f in (np.cos, np.sin))
    return cos * x + sin * y, cos * y - sin * x


def _pixel(size: tuple[int, int], scale: np.ndarray) -> np.ndarray:
    """A pixel's side in units of `scale`."""
    return 1 / (scale * np.float32(min(size)))


def _colours(u: np.ndarray, many: int, channels: int) -> list[np.ndarray]:
    """`many` colours [n, channels, 1, 1] from uniforms [n, 20]: 4 for their order, 4 for brightness, 12 for tint."""
    rungs = np.argsort(u[:, :many], axis=1, kind="stable").astype(np.float32)
    bright = (rungs + HALF + np.float32(0.4) * (u[:, 4 : 4 + many] - HALF)) / np.float32(many)
    if channels == 1:
        return [bright[:, i, None, None, None] for i in range(many)]
    tint = u[:, 8:].reshape(-1, 4, 3)[:, :many] - HALF
    grey = tint[..., 0] * LUMA[0] + tint[..., 1] * LUMA[1] + tint[..., 2] * LUMA[2]
    colours = np.clip(bright[..., None] + TINT * (tint - grey[..., None]), 0, 1)  # [n, many, 3]
    return [colours[:, i, :, None, None] for i in range(many)]


def _mixed(one: np.ndarray, other: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """one where the mask [n, H, W] is 0, other where it is 1: [n, c, H, W]."""
    return one + (other - one) * mask[:, None]


def _as_bytes(images: np.ndarray) -> np.ndarray:
    return (np.clip(images, 0, 1) * np.float32(255) + HALF).astype(np.uint8)
