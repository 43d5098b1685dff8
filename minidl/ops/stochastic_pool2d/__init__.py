"""Stochastic pooling: in training each window passes on one of its values, drawn in proportion to what it is.

    p_i = a_i / sum_j a_j      over the values a_i >= 0 that a window sees; the padding is 0, so it is never drawn

    training     y = a_l,  l drawn with the probabilities p       dx_l += dy, and nothing anywhere else
    evaluation   y = sum_i p_i a_i = P / S                        dx_i += dy (2 a_i - y) / S
                     S = sum_i a_i,  P = sum_i a_i^2

    x [N, C, H, W]   y [N, C, P, Q]   key [N, 2], one per image, so that an image draws the same in any batch

kernel_size  R, S; with stride (kernel_size if not given) an int or a pair
padding      in every form of conv2d, at most half of the window
ceil_mode    True rounds P up: one more window for a rest, as max_pool2d has it

saved : training:   (which of the R*S positions was drawn, R*S for none, a byte each for windows of up to 255; shape of x)
        evaluation: (x, y)

Kernels: `philox` (the formulas, the default), `cuda` (a thread for eight channels of a window).

The paper: the activations of a region, normalised, are its probabilities p; a location l is drawn from the multinomial
distribution that they make; in testing the activations are weighted by p and added up. It pools behind a ReLU, and so must
you: a negative value is an error. Our readings: a window without a positive value gives 0 and takes no gradient (in evaluation,
one whose sum is at most 1e-30). Where a window sees NaN or infinity, y is NaN. In evaluation y is infinite where the squares
overflow: in float32 from about 1e19 on.

How l is drawn: one uniform u in (0, 1) for each window from the key's Philox stream, windows row by row, their channels
fastest. l is the first position in reading order whose running sum exceeds u S. The running sum adds up each row of the
window by itself, and then the rows: windows that overlap share the sums of their rows. It is taken in float32 whatever
the type of x (u has 23 bits), so that an image draws the same positions in every type. That neither over- nor underflows, for
a map [H, W] whose largest value is above 1e30 or below 1e-18 is first divided by it; what is then below 1e-38, or is so in a
map that needed no division, may count as 0.

The key may be left out: then the op takes the next N keys of the stream that minidl.manual_seed sets. It is not used in
evaluation.

>>> x, key = Tensor([[[[1.0, 0.0, 3.0]]]], requires_grad=True), minidl.random.Stream(seed=0).keys(1)
>>> y = minidl.stochastic_pool2d(x, key=key, kernel_size=(1, 3))  # 1 with probability 1/4, else 3
>>> y.item()
1.0
>>> y.backward()
>>> x.grad.tolist()
[[[[1.0, 0.0, 0.0]]]]
>>> minidl.stochastic_pool2d(x, key=key, kernel_size=(1, 3), training=False).item()  # 1/4 1 + 3/4 3
2.5

Source: Zeiler, Fergus 2013, "Stochastic pooling for regularization of deep convolutional neural networks", sections 3 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product, repeat
from typing import Any

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops import pooling
from minidl.ops.half import narrow, widen
from minidl.ops.stochastic_pool2d import cuda
from minidl.random import random_uniforms
from minidl.signature import Shape
from minidl.window import Pair, Sides, Windows, channels_first, channels_last, fold, pad

EMPTY = 1e-30  # in evaluation a window whose sum is no more counts as all zero: float32 would lose its squares, and 1 / S


def forward(
    x: Array, key: Array, *, kernel_size: Pair, stride: Pair, padding: Sides, ceil_mode: bool, training: bool
) -> tuple[Array, tuple]:
    windows = Windows.over(x.shape, kernel_size, stride, padding, ceil_mode=ceil_mode)
    if not training:
        a = pad(widen(x), windows)  # [N, H', W', C]
        y = channels_first(narrow(window_sums(a * a, windows) * one_over(window_sums(a, windows)), x))
        return y, (x, y)
    a = pad(x, windows)
    code = drawn(within_float32(a, x.max(axis=(2, 3))), key, windows)
    y = xp_of(x).zeros(code.shape, dtype=x.dtype)
    for position, chosen in zip(windows.positions(), masks(code, x, windows), strict=True):
        y += a[windows.at(*position)] * chosen  # all but one are 0, or NaN
    return channels_first(y), (code, x.shape)


def backward(
    dy: Array, saved: tuple, needs: tuple, *, kernel_size: Pair, stride: Pair, padding: Sides, ceil_mode: bool, training: bool
) -> tuple:
    x_shape = saved[1] if training else saved[0].shape
    windows, g = Windows.over(x_shape, kernel_size, stride, padding, ceil_mode=ceil_mode), channels_last(widen(dy))
    if training:
        dx = fold((g * chosen for chosen in masks(saved[0], g, windows)), x_shape, windows, like=g)
        return narrow(dx, dy), None
    x, y = (widen(a) for a in saved)
    share = g * one_over(window_sums(pad(x, windows), windows))  # dy / S [N, P, Q, C]
    twice, less = (fold(repeat(s, math.prod(kernel_size)), x_shape, windows, like=g) for s in (share, share * channels_last(y)))
    return narrow(2 * x * twice - less, dy), None


def within_float32(a: Array, largest: Array) -> Array:
    """The padded a [N, H', W', C] in float32, maps with a very large or very small largest value [N, C] divided by it."""
    xp, largest = xp_of(a), largest.astype(np.float64)
    far = ((largest > 1e30) & (largest < math.inf)) | ((largest < 1e-18) & (largest > 0))
    if xp is not np or far.any():  # on a GPU asking would wait for the device; to divide by 1 changes nothing
        a = a / xp.where(far, largest, 1).astype(a.dtype)[:, None, None]
    return a.astype(np.float32, copy=False)


def drawn(a: Array, key: Array, windows: Windows) -> Array:
    """The number of the position that each window draws, R*S where nothing is positive: [N, P, Q, C], of the padded a >= 0."""
    xp, (P, Q), (N, _, _, C) = xp_of(a), windows.grid, a.shape
    within = running_sums([a[:, :, windows.at(0, s)[2]] for s in range(windows.size[1])])  # along a row, each [N, H', Q, C]
    cuts = [windows.at(r, 0)[1] for r in range(windows.size[0])]
    rows = running_sums([within[-1][:, cut] for cut in cuts])  # of whole rows, each [N, P, Q, C]
    drop = random_uniforms(key, P * Q * C).reshape(N, P, Q, C) * rows[-1]
    code = xp.zeros(drop.shape, dtype=np.min_scalar_type(math.prod(windows.size)))
    for r, cut in enumerate(cuts):
        for along in within[:-1]:
            bound = along[:, cut] if r == 0 else rows[r - 1] + along[:, cut]
            code += (bound <= drop).view(np.uint8)
        code += (rows[r] <= drop).view(np.uint8)
    return code


def masks(code: Array, like: Array, windows: Windows) -> Iterator[Array]:
    """For each window position 1 where it was drawn, else 0; [N, P, Q, C] in the type of `like`."""
    return ((code == i).astype(like.dtype) for i in range(math.prod(windows.size)))


def running_sums(terms: list[Array]) -> list[Array]:
    """The first, the first two, the first three, ..."""
    sums = terms[:1]
    for term in terms[1:]:
        sums.append(sums[-1] + term)
    return sums


def window_sums(a: Array, windows: Windows) -> Array:
    """What each window sees of the padded a, added up: along the rows, then the rows. [N, P, Q, C]"""
    row = sum(a[:, :, windows.at(0, s)[2]] for s in range(windows.size[1]))
    return sum(row[:, windows.at(r, 0)[1]] for r in range(windows.size[0]))


def one_over(total: Array) -> Array:
    """1 / S, and 0 where a window is empty."""
    return 1 / xp_of(total).where(total <= EMPTY, math.inf, total)


# ---- the definition ----------------------------------------------------------------------------------------------------


def definition(
    x: np.ndarray, key: np.ndarray, *, kernel_size: Pair, stride: Pair, padding: Sides, ceil_mode: bool, training: bool
) -> np.ndarray:
    (N, C, H, W), (R, S) = x.shape, kernel_size
    rows = pooling.starts(H, R, stride[0], padding[:2], 1, ceil_mode)
    columns = pooling.starts(W, S, stride[1], padding[2:], 1, ceil_mode)
    y = np.zeros((N, C, len(rows), len(columns)))
    for n in range(N):
        u = iter(random_uniforms(key[n : n + 1], y[n].size)[0])
        for (p, h), (q, v), c in product(enumerate(rows), enumerate(columns), range(C)):
            window = [[inside(x[n, c], h + r, v + s) for s in range(S)] for r in range(R)]
            y[n, c, p, q] = chosen_of(window, next(u)) if training else expected_of(window)
    return y


def inside(image: np.ndarray, h: int, v: int) -> float:
    """The value at (h, v), 0 in the padding."""
    return image[h, v] if 0 <= h < image.shape[0] and 0 <= v < image.shape[1] else 0.0


def expected_of(window: list[list[float]]) -> float:
    """sum_i p_i a_i."""
    total = sum(a for row in window for a in row)
    return sum(a / total * a for row in window for a in row) if total > EMPTY else 0.0


def chosen_of(window: list[list[float]], u: np.float32) -> float:
    """The first value whose running sum exceeds u times the whole."""
    bounds, above = [], np.float32(0)
    for row in window:
        along = np.float32(0)
        for a in row:
            along += np.float32(a)
            bounds.append((above + along, a))
        above += along
    return next((a for bound, a in bounds if bound > u * above), 0.0)


# ---- the op ------------------------------------------------------------------------------------------------------------


def shape(x: Shape, key: Shape, *, training: bool, **attrs: Any) -> Shape:
    return pooling.shape(x, **attrs)


def domain(x: Array, key: Array, **_: Any) -> None:
    if (least := x.min()) < 0:
        raise ValueError(
            f"stochastic_pool2d: x must be 0 or more, got {float(least):.4g}; values are drawn in proportion to what they are: "
            "put a ReLU before it"
        )


def problem(d: Draw) -> Problem:
    """Values so large that the small steps of a measured derivative change no draw, and no window without one: there the
    derivative does not exist."""
    x, attrs = pooling.ask(d)
    return Problem((100 * d.positive(*x) ** 3, d.keys(x[0])), {**attrs, "training": d.one_of("training", (True, False))})


def cost(x: Shape, key: Shape, **attrs: Any) -> Cost:
    return Cost(other=3 * math.prod(shape(x, key, **attrs)) * math.prod(attrs["kernel_size"]))


SAME = {"N": 32, "kernel_size": 3, "stride": 1, "padding": "same"}
WORKLOADS: dict[str, dict[str, Any]] = {
    "alphanet.32.stage1": {**SAME, "C": 16, "H": 32, "W": 32},
    "alphanet.32.stage2": {**SAME, "C": 32, "H": 16, "W": 16},
    "alphanet.32.stage3": {**SAME, "C": 64, "H": 8, "W": 8},
    "alphanet.224.stage1": {**SAME, "C": 64, "H": 56, "W": 56},
    "alphanet.224.stage4": {**SAME, "C": 512, "H": 7, "W": 7},
    "evaluation": {**SAME, "C": 64, "H": 56, "W": 56, "training": False},
}

stochastic_pool2d = Op(
    "stochastic_pool2d",
    "x[N,C,H,W] key[N,2]:key -> y[N,C,P,Q]",
    definition,
    problem,
    doc=__doc__,
    attrs={"kernel_size": None, "stride": None, "padding": 0, "ceil_mode": False, "training": True},
    shape=shape,
    canonical=pooling.canonical,
    domain=domain,
    workloads=WORKLOADS,
    cost=cost,
    sees=lambda x, key, **attrs: pooling.sees(x, **attrs),
)
stochastic_pool2d.kernel("philox", forward, backward)
stochastic_pool2d.kernel("cuda", cuda.forward, cuda.backward, source=cuda.SOURCE)
