"""Windows that slide over images: where they lie, what is seen through them, and the way back.

P x Q windows of R x S positions lie over an image of H x W that is padded by (top, bottom, left, right):

    window (p, q), position (r, s)   sees   row p * sh + r * dh - top,   column q * sw + s * dw - left

    P = floor((H + top + bottom - span) / sh) + 1       span = dh * (R - 1) + 1, the rows that one window covers

    pad      [N, C, H, W] -> [N, H', W', C]             the padding added
    unfold   [N, C, H, W] -> [N*P*Q, R*S*C]             every window as a row (im2col)
    fold     R*S planes [N*P*Q, C] -> [N, C, H, W]      its adjoint: what was seen goes back and is added (col2im)

Inside, arrays are channels-last: what one window position sees is then R*S runs of C numbers, or R runs of S*C, and a
position seen by all windows of a row is one run of Q*C. Outside they are viewed as [N, C, H, W].

Padding is an int, a pair (rows, columns), four numbers (top, bottom, left, right), 'valid' (none) or 'same': P = ceil(H / sh),
as few zeros as that takes, the odd one at the bottom or right. At stride 1 that is PyTorch's 'same', which refuses larger
strides; there it is TensorFlow's.

Source of the arithmetic of sizes: Dumoulin, Visin 2016, "A guide to convolution arithmetic for deep learning".
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from minidl.backend import Array, xp_of
from minidl.signature import Shape, ShapeError

Pair = tuple[int, int]
Sides = tuple[int, int, int, int]
PADDING = "an int, (rows, columns), (top, bottom, left, right), 'same' or 'valid'"


# ---- attributes in their one form ------------------------------------------------------------------------------------


def pair(name: str, value: Any, least: int = 1) -> Pair:
    """An int or a pair of ints as a pair; a ShapeError if it is neither, or below `least`."""
    numbers = _numbers(value)
    if len(numbers) not in (1, 2) or min(numbers) < least:
        raise ShapeError(f"{name} must be an int or a pair of ints, {least} or more; got {value!r}")
    return numbers[0], numbers[-1]


def sides(padding: Any, image: Pair, size: Pair, stride: Pair, dilation: Pair) -> Sides:
    """Padding in any form as (top, bottom, left, right)."""
    if isinstance(padding, str) and padding in ("same", "valid"):
        return _same(image, size, stride, dilation) if padding == "same" else (0, 0, 0, 0)
    numbers = _numbers(padding)
    if len(numbers) not in (1, 2, 4) or min(numbers) < 0:
        raise ShapeError(f"padding must be {PADDING}, no number negative; got {padding!r}")
    if len(numbers) == 4:
        return numbers[0], numbers[1], numbers[2], numbers[3]
    return numbers[0], numbers[0], numbers[-1], numbers[-1]


def span(size: Pair, dilation: Pair) -> Pair:
    """Rows and columns that one window covers, gaps included."""
    return dilation[0] * (size[0] - 1) + 1, dilation[1] * (size[1] - 1) + 1


def least_image(padding: Any, size: Pair, stride: Pair, dilation: Pair) -> Pair:
    """The smallest image that, padded, still holds one window."""
    high, wide = span(size, dilation)
    top, bottom, left, right = sides(padding, (1, 1), size, stride, dilation)
    return max(1, high - top - bottom), max(1, wide - left - right)


def _numbers(value: Any) -> tuple[int, ...]:
    """An int, or a tuple or list of ints, as a tuple; () for anything else."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return tuple(int(v) for v in values) if all(isinstance(v, Integral) for v in values) else ()


def _same(image: Pair, size: Pair, stride: Pair, dilation: Pair) -> Sides:
    total = [
        max(0, (-(-length // step) - 1) * step + covered - length)
        for length, step, covered in zip(image, stride, span(size, dilation), strict=True)
    ]
    return total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2


# ---- the windows -----------------------------------------------------------------------------------------------------


class Windows(NamedTuple):
    """P x Q windows of R x S positions."""

    grid: Pair  # P, Q
    size: Pair  # R, S
    stride: Pair  # sh, sw
    padding: Sides  # top, bottom, left, right
    dilation: Pair = (1, 1)  # dh, dw

    @classmethod
    def over(
        cls, image: Shape, size: Shape, stride: Pair, padding: Sides, dilation: Pair = (1, 1), ceil_mode: bool = False
    ) -> Windows:
        """As many windows as fit on an image [..., H, W]; a ShapeError if not even one does.

        size       [..., R, S]
        ceil_mode  one more where a rest is left over, if it starts inside the image or the padding before it; also the first,
                   if less than a step is lacking
        """
        image, size = image[-2:], size[-2:]
        P, Q = (
            _along(axis, image[axis], padding[2 * axis : 2 * axis + 2], size[axis], stride[axis], dilation[axis], ceil_mode)
            for axis in (0, 1)
        )
        return cls((P, Q), (size[0], size[1]), stride, padding, dilation)

    def positions(self) -> Iterable[Pair]:
        """(r, s) in reading order."""
        return product(range(self.size[0]), range(self.size[1]))

    def at(self, r: int, s: int) -> tuple[slice, slice, slice]:
        """The index at which a padded array [N, H', W', C] shows what position (r, s) of every window sees: [N, P, Q, C]."""
        rows, columns = (
            slice(first * gap, first * gap + step * (count - 1) + 1, step)
            for first, gap, step, count in zip((r, s), self.dilation, self.stride, self.grid, strict=True)
        )
        return slice(None), rows, columns

    def padded(self, image: Shape) -> Pair:
        """H' and W': the image [..., H, W] with its padding, and with what a last window of `ceil_mode` sees beyond that."""
        (P, Q), (sh, sw), (high, wide) = self.grid, self.stride, span(self.size, self.dilation)
        top, bottom, left, right = self.padding
        return max(top + image[-2] + bottom, sh * (P - 1) + high), max(left + image[-1] + right, sw * (Q - 1) + wide)

    def image(self, more: Pair = (0, 0)) -> Pair:
        """H and W of the image that the windows lie on: what they cover and `more`, without the padding."""
        (P, Q), (sh, sw), (high, wide) = self.grid, self.stride, span(self.size, self.dilation)
        top, bottom, left, right = self.padding
        return sh * (P - 1) + high + more[0] - top - bottom, sw * (Q - 1) + wide + more[1] - left - right


def _along(axis: int, length: int, padding: tuple[int, ...], size: int, step: int, gap: int, ceil_mode: bool) -> int:
    """How many windows lie along one axis of the image."""
    (before, after), covered = padding, gap * (size - 1) + 1
    rest = length + before + after - covered
    if (lacking := -rest - (step - 1 if ceil_mode else 0)) > 0:  # rounded up, less than a step may be lacking
        what, H, R = ("rows", "H", "R") if axis == 0 else ("columns", "W", "S")
        spread = f" at dilation {gap}" if gap > 1 else ""
        raise ShapeError(
            f"a window of {covered} {what} ({R}={size}{spread}) does not fit into {length + before + after} "
            f"({H}={length}, padding {before} + {after}); pad by {lacking} more, or use a smaller window"
        )
    if not ceil_mode:
        return rest // step + 1
    last = -(-rest // step) * step  # where the last window would start, counted from the first
    return last // step + (last < length + before)


# ---- what is seen, and the way back ----------------------------------------------------------------------------------


def channels_last(x: Array) -> Array:
    """[N, C, H, W] -> [N, H, W, C], contiguous; no copy where it is so in memory already."""
    return xp_of(x).ascontiguousarray(x.transpose(0, 2, 3, 1))


def channels_first(x: Array) -> Array:
    """[N, H, W, C] -> [N, C, H, W], a view."""
    return x.transpose(0, 3, 1, 2)


def pad(x: Array, windows: Windows, value: float = 0.0) -> Array:
    """[N, C, H, W] -> [N, H', W', C] with `value` around it. Not to be written to: it may be x itself."""
    N, C, H, W = x.shape
    rows, columns = windows.padded(x.shape)
    if (rows, columns) == (H, W):
        return channels_last(x)
    top, _, left, _ = windows.padding
    padded = xp_of(x).full((N, rows, columns, C), value, dtype=x.dtype)
    padded[:, top : top + H, left : left + W] = x.transpose(0, 2, 3, 1)
    return padded


def unfold(x: Array, windows: Windows) -> Array:
    """[N, C, H, W] -> [N*P*Q, R*S*C]: row (n, p, q) is what window (p, q) sees of image n. R*S times the memory of x."""
    xp, (N, C), (P, Q), (R, S) = xp_of(x), x.shape[:2], windows.grid, windows.size
    (sh, sw), (dh, dw) = windows.stride, windows.dilation
    seen = xp.lib.stride_tricks.sliding_window_view(pad(x, windows), span(windows.size, windows.dilation), axis=(1, 2))
    seen = seen[:, : sh * (P - 1) + 1 : sh, : sw * (Q - 1) + 1 : sw, :, ::dh, ::dw]  # [N, P, Q, C, R, S], a view
    if C == 1:  # grey images: runs of Q copy faster than runs of S
        return seen.transpose(4, 5, 3, 0, 1, 2).reshape(R * S * C, N * P * Q).T
    return seen.transpose(0, 1, 2, 4, 5, 3).reshape(N * P * Q, R * S * C)


def fold(planes: Iterable[Array], shape: Shape, windows: Windows, like: Array) -> Array:
    """The adjoint of unfold: [N, C, H, W] in which every plane is added where its position saw.

    planes   for each position (r, s) in reading order what goes back through it, [N*P*Q, C] or [N, P, Q, C]; a generator
             will do, so that the planes need not be in memory together
    like     an array of the wanted type and library; half types are added up in float32
    """
    (N, C, H, W), (P, Q), (sh, sw), (dh, dw) = shape, windows.grid, windows.stride, windows.dilation
    rows, columns = windows.padded(shape)
    wide = np.float32 if like.dtype.itemsize == 2 else like.dtype
    # apart by what is left of row / sh and column / sw: every plane then meets whole rows, not every sw-th pixel
    total = xp_of(like).zeros((sh, sw, N, -(-rows // sh), -(-columns // sw), C), dtype=wide)
    for (r, s), plane in zip(windows.positions(), planes, strict=True):
        (p, i), (q, j) = divmod(r * dh, sh), divmod(s * dw, sw)
        total[i, j, :, p : p + P, q : q + Q] += plane.reshape(N, P, Q, C)
    image = total.transpose(2, 3, 0, 4, 1, 5).reshape(N, total.shape[3] * sh, total.shape[4] * sw, C)
    top, _, left, _ = windows.padding
    return channels_first(image[:, top : top + H, left : left + W].astype(like.dtype, copy=False))
